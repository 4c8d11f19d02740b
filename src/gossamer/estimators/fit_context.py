"""Device, threads and progress of an estimator, without side effects on the rest of the process."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from numbers import Integral
from typing import Concatenate, ParamSpec, TypeVar, cast

import numpy as np
from sklearn.utils import check_random_state

from gossamer import device
from gossamer.errors import InputError
from gossamer.training import Epoch

__all__ = ["all_or_nothing", "draw_seed", "progress", "threads"]

_IMPORTED_BY = os.getpid()

Given = ParamSpec("Given")
Estimator = TypeVar("Estimator")


def all_or_nothing(
    method: Callable[Concatenate[Estimator, Given], Estimator],
) -> Callable[Concatenate[Estimator, Given], Estimator]:
    """Decorate a method that fits: after an error or Ctrl-C the estimator has all attributes that it had before.

    ``method`` has to restore changes in place, such as those of a network that continues to learn.
    """

    @functools.wraps(method)
    def whole(self: Estimator, *args: Given.args, **kwargs: Given.kwargs) -> Estimator:
        before = dict(vars(self))
        try:
            return method(self, *args, **kwargs)
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    return cast(Callable[Concatenate[Estimator, Given], Estimator], whole)


def draw_seed(random_state: int | np.random.RandomState | None) -> int:
    """Return a seed in [0, 2³¹ − 1) drawn by ``random_state``; None differs each time."""
    given = int(np.random.SeedSequence().generate_state(1)[0]) if random_state is None else random_state
    return int(check_random_state(given).randint(2**31 - 1))


@contextlib.contextmanager
def threads(n_jobs: int | None) -> Iterator[None]:
    """Compute with so many threads, counted as joblib counts jobs (−1 for all); None leaves their number unchanged.

    In a process that was forked, as by joblib's "multiprocessing", the number is one for any ``n_jobs``.
    """
    from joblib import effective_n_jobs

    if n_jobs is not None and (not isinstance(n_jobs, Integral) or n_jobs == 0):
        raise InputError(f"n_jobs must be None or a whole number other than 0, got {n_jobs!r}")
    forked = os.getpid() != _IMPORTED_BY
    with device.threads(1 if forked else None if n_jobs is None else effective_n_jobs(n_jobs)):
        yield


@contextlib.contextmanager
def progress(verbose: bool, epochs: int, name: str) -> Iterator[Callable[[Epoch], None]]:
    """Yield the progress callback for each epoch: a bar of rich if it is installed, else a line."""
    if not verbose:
        yield lambda epoch: None
        return
    try:
        from rich import progress as rich
    except ModuleNotFoundError:
        yield lambda epoch: print(f"{name}: epoch {epoch.epoch} of {epochs}, {_losses(epoch)}")
        return
    columns = (
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TextColumn("{task.fields[losses]}"),
        rich.TimeRemainingColumn(),
    )
    with rich.Progress(*columns) as bar:
        task = bar.add_task(name, total=epochs, losses="")
        yield lambda epoch: bar.update(task, completed=epoch.epoch, losses=_losses(epoch))


def _losses(epoch: Epoch) -> str:
    text = f"loss {epoch.train_loss:.4f}"
    return f"{text}, validation {epoch.validation_loss:.4f}" if epoch.validation_loss else text
