"""Several assignments that are carried out all or not at all, also where they are interrupted."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

__all__ = ["commit"]


@torch.no_grad()
def commit(changes: Iterable[Callable[[], object]], attempts: int = 3) -> None:
    """Call each of ``changes``, which must give the same when it is called again, even if an exception interrupts.

    After an exception such as Ctrl-C all of them are called again, up to ``attempts`` times, before it is raised.
    """
    changes = tuple(changes)
    try:
        for change in changes:
            change()
    except BaseException:
        if attempts:
            commit(changes, attempts - 1)
        raise
