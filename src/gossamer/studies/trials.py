"""Trials, carried out one by one or in several processes, each written down as soon as it is over.

``trials.jsonl`` grows by one line for each finished trial:

    {"variant": "SET", "dataset": "digits", "seed": 0, "settings": {...}, "seconds": 3.1, "machine": "...", ...}

where the dots stand for the result of the trial's function. A second call of `run` with the same trials returns these
records back, and only missing ones are computed: the process may be killed at any moment.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gossamer.errors import InputError, check_count
from gossamer.io.files import lock, written

__all__ = ["FILE", "Record", "Trial", "Watch", "read", "run", "where"]

FILE = "trials.jsonl"

Record = dict[str, Any]
"""A trial's fields, ``seconds`` and ``machine``, and the result of its function."""


@dataclass(frozen=True)
class Trial:
    """One cell of a study: a variant, a data set and a seed.

    ``settings`` are all other settings that decide the outcome, in values that JSON has.
    """

    variant: str
    dataset: str
    seed: int
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """All of its content as one text, the same in every process."""
        return _key(asdict(self))

    def __str__(self) -> str:
        return f"{self.variant} on {self.dataset}, seed {self.seed}"


class Watch:
    """Callbacks of a study; override those that you need. The defaults do nothing."""

    def begin(self, trials: Sequence[Trial], done: Sequence[Record], jobs: int) -> None:
        """``done`` of ``trials`` were finished before; the rest starts in ``jobs`` processes."""

    def start(self, trial: Trial) -> None:
        """Handle the start of ``trial``; called with one process only."""

    def end(self, trial: Trial, record: Record) -> None:
        """Handle the end of ``trial``, which is stored."""


def run(
    trials: Sequence[Trial],
    function: Callable[[Trial], Mapping[str, Any]],
    folder: Path,
    *,
    jobs: int = 1,
    watch: Watch | None = None,
) -> list[Record]:
    """Run the trials that ``folder`` doesn't hold yet, and return the records of all ``trials`` in their order.

    Args:
        trials: all different.
        function: computes one trial from its content alone and returns numbers (finite, or None), strings, lists
            and dicts. With several ``jobs`` it travels to other processes: a function of a module, or a `partial` of
            one.
        folder: where ``trials.jsonl`` grows; made if it doesn't exist.
        jobs: processes, which share PyTorch's threads evenly. Times measured in several at once are not reliable.
        watch: is notified of each trial.

    Raises `InputError` if the folder holds a record of the same variant, data set and seed with other settings: the
    study's definition has changed, and old and new records must not be mixed.
    """
    check_count("jobs", jobs, low=1)
    watch = watch or Watch()
    keys = [trial.key for trial in trials]
    if len(set(keys)) < len(keys):
        raise InputError("trials must differ from each other, got the same one twice")
    with written(folder):
        folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    with lock(path):
        _drop_torn_line(path)
        found = {_key(record): record for record in read(path)}
        _check_definition(trials, found, path)
        waiting = [trial for trial, key in zip(trials, keys, strict=True) if key not in found]
        watch.begin(trials, [found[key] for key in keys if key in found], min(jobs, max(1, len(waiting))))
        for trial, outcome in _carried_out(waiting, function, jobs, watch):
            record = asdict(trial) | outcome
            with written(path), path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record, allow_nan=False, ensure_ascii=False) + "\n")
            found[trial.key] = record
            watch.end(trial, record)
    return [found[key] for key in keys]


def read(path: Path) -> list[Record]:
    """The records in ``path``; `InputError` for a line that isn't one."""
    records = []
    with written(path):
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            _key(record)
        except (ValueError, KeyError, TypeError):
            raise InputError(f"{path}, line {number} is no record of a trial: remove it to try that again") from None
        records.append(record)
    return records


def where(records: Sequence[Record], **fields: Any) -> list[Record]:
    """The records with these values, such as ``where(records, variant="SET", dataset="digits")``."""
    return [record for record in records if all(record[name] == value for name, value in fields.items())]


def _key(content: Mapping[str, Any]) -> str:
    parts = [content["variant"], content["dataset"], content["seed"], content["settings"]]
    try:
        return json.dumps(parts, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"settings must hold values that JSON has, got {content['settings']!r}: {error}") from None


def _drop_torn_line(path: Path) -> None:
    """Cut off a line that a killed process had not finished."""
    with written(path), path.open("r+b") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)


def _check_definition(trials: Sequence[Trial], found: Mapping[str, Record], path: Path) -> None:
    wanted = {trial.key for trial in trials}
    cells = {(trial.variant, trial.dataset, trial.seed) for trial in trials}
    for key, record in found.items():
        if key not in wanted and (record["variant"], record["dataset"], record["seed"]) in cells:
            raise InputError(
                f"{path} holds {record['variant']} on {record['dataset']}, seed {record['seed']}, with other settings "
                "than are asked for now: the study has changed since. Choose another folder, or remove the file"
            )


# ---- one after another, or in processes ------------------------------------------------------------------------------


def _carried_out(
    trials: Sequence[Trial], function: Callable[[Trial], Mapping[str, Any]], jobs: int, watch: Watch
) -> Iterator[tuple[Trial, Record]]:
    if jobs == 1 or len(trials) < 2:
        for trial in trials:
            watch.start(trial)
            yield trial, _outcome(trial, function)
        return
    import torch
    from joblib import Parallel, delayed, parallel_config

    jobs = min(jobs, len(trials))
    threads = max(1, torch.get_num_threads() // jobs)
    with parallel_config("loky", n_jobs=jobs, inner_max_num_threads=threads):
        tasks = (delayed(_elsewhere)(trial, function, threads) for trial in trials)
        yield from Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch=jobs)(tasks)


def _elsewhere(trial: Trial, function: Callable[[Trial], Mapping[str, Any]], threads: int) -> tuple[Trial, Record]:
    import torch

    torch.set_num_threads(threads)
    return trial, _outcome(trial, function)


def _outcome(trial: Trial, function: Callable[[Trial], Mapping[str, Any]]) -> Record:
    start = time.perf_counter()
    try:
        outcome = dict(function(trial))
    except InputError as error:
        raise InputError(f"{trial}: {error}") from error
    seconds = time.perf_counter() - start
    own = {"variant", "dataset", "seed", "settings", "seconds", "machine"} & set(outcome)
    if own:
        raise InputError(f"a trial's outcome must leave the name {min(own)!r} to the trial")
    return {"seconds": round(seconds, 3), "machine": _machine(), **_plain(outcome)}


def _machine() -> str:
    import torch

    from gossamer.machine import processor

    threads = torch.get_num_threads()
    return f"{processor() or 'unknown processor'}, {threads} thread{'s' * (threads > 1)}"


def _plain(value: Any) -> Any:
    """NumPy's and PyTorch's numbers and arrays as JSON has them; None for a number that isn't finite."""
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
