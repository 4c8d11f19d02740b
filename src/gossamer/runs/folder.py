"""The folder of a run: its files, and how it stays whole when the process is killed.

=========================  =========================================================================================
``config.toml``            the options, all of them (see `gossamer.runs.Options`)
``checkpoint/``            ``start.json``: the options and a fingerprint of the samples; ``NETWORK-SEED.pt``: the state
                           of each network after its last finished epoch
``metrics.jsonl``          a line for each epoch of each network
``results.json``           the measurements at the end
``connectivity.npz``       how strongly each input of the first sparse network was connected, epoch by epoch
``model.safetensors``      the first sparse network, ready to predict
``robustness.json``        accuracy under noise, corruptions and attacks, as far as it was measured
``report.html``            the page
=========================  =========================================================================================

Every file but the page carries a checksum of all its bytes, and so does each line of ``metrics.jsonl`` (see
`gossamer.io.seal`), and every file is replaced as a whole. ``metrics.jsonl`` grows line by line. ``checkpoint`` is
authoritative; a resumed run writes all other files anew from it. A run lives in one process at a time: see
`RunFolder.locked`.
"""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from torch import Tensor

from gossamer.errors import InputError
from gossamer.io.files import is_partial, lock, read_sealed, remove_partial, write_atomically, written
from gossamer.io.seal import seal
from gossamer.runs.checkpoint import read_checkpoint, taking_apart, write_checkpoint
from gossamer.runs.options import Options
from gossamer.runs.robustness import Robustness
from gossamer.runs.schema import EpochLine, Results, dump, parse
from gossamer.runs.start import check_config, read_start, write_config, write_start
from gossamer.training import Epoch

__all__ = ["Job", "RunFolder"]

_LOCK = ".lock"
_FILES = ("config.toml", "metrics.jsonl", "results.json", "connectivity.npz", "model.safetensors", "robustness.json")
_OURS = {*_FILES, "checkpoint", "report.html", "comparison.html"}


class Job(NamedTuple):
    """One network to train."""

    network: Literal["sparse", "dense"]
    seed: int


class RunFolder:
    """The folder of a run; make one with `create`, find one with `open`.

    Args:
        path: of the folder.

    Example:
        >>> gs.runs.RunFolder.create(None, "digits").path.name
        'digits-1'
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model, self.results, self.report, self.connectivity = (
            path / name for name in ("model.safetensors", "results.json", "report.html", "connectivity.npz")
        )
        self.robustness = path / "robustness.json"
        self._config, self._metrics = path / "config.toml", path / "metrics.jsonl"
        self._checkpoints = path / "checkpoint"
        self._start = self._checkpoints / "start.json"

    @classmethod
    def create(cls, path: Path | None, name: str, *, overwrite: bool = False) -> RunFolder:
        """Make an empty folder at ``path``, or at the next free of ``runs/name-1``, ``runs/name-2`` and so on.

        Files of a process that was killed before its run began are removed in any case.

        Args:
            path: of the folder; None for the next free one.
            name: of the data, for a folder without ``path``.
            overwrite: remove a run that is at ``path``, if there is nothing else beside it.

        Returns:
            The folder.

        Raises:
            InputError: ``path`` is a file or already holds a run.
        """
        if path is None:
            slug = re.sub(r"[^\w.-]+", "-", Path(name).stem).strip("-.")[:60] or "run"
            number = 1
            while True:
                path = Path("runs") / f"{slug}-{number}"
                with written(path):
                    try:
                        path.mkdir(parents=True)
                    except FileExistsError:
                        number += 1
                        continue
                return cls(path)
        with written(path):
            if path.exists() and not path.is_dir():
                raise InputError(f"the run's folder {path} is a file: choose another name")
            path.mkdir(parents=True, exist_ok=True)
        folder = cls(path)
        if not any(path.iterdir()):
            return folder
        folder._contents()  # refuse foreign files before there is a lock beside them
        with folder.locked(), written(path):
            contents = folder._contents()
            if any(entry.is_file() and not is_partial(entry) for entry in contents) and not overwrite:
                raise InputError(f"{path} already holds a run: resume it, overwrite it, or choose another folder")
            # First the file that makes it a run, in case of a kill.
            for entry in sorted(contents, key=lambda entry: (entry != folder._start, entry == folder._checkpoints)):
                entry.rmdir() if entry.is_dir() else entry.unlink()
        return folder

    def _contents(self) -> list[Path]:
        """All that a run left here; `InputError` if there is anything else."""
        with written(self.path):
            entries = [entry for entry in self.path.iterdir() if entry.name != _LOCK]
            inside = list(self._checkpoints.iterdir()) if self._checkpoints.is_dir() else []
        for entry in sorted(entries):
            if not (entry.name in _OURS or is_partial(entry)):
                raise InputError(
                    f"{self.path} must be empty to take a run, it holds {entry.name!r}: choose another folder"
                )
        for entry in sorted(inside):
            if not (entry == self._start or entry.suffix == ".pt" or is_partial(entry)):
                raise InputError(
                    f"{self._checkpoints} must hold nothing but checkpoints to be removed, it holds {entry.name!r}: "
                    "choose another folder"
                )
        return entries + inside

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Find the run at ``path``.

        Args:
            path: of the folder.

        Returns:
            The folder.

        Raises:
            InputError: there is no run.
        """
        folder = cls(path)
        wanted = f"run must be the folder of a training run, got {str(path)!r}, which"
        with written(path):
            if not path.is_dir():
                raise InputError(f"{wanted} doesn't exist" if not path.exists() else f"{wanted} is a file")
            if not folder._start.exists():
                raise InputError(f"{wanted} has no {folder._start.relative_to(path)}: no run has begun there")
        return folder

    def locked(self) -> AbstractContextManager[None]:
        """Hold the folder alone.

        Returns:
            A context manager; it raises `InputError` if another process trains in the folder.
        """
        return lock(self.path / _LOCK)

    # ---- options -----------------------------------------------------------------------------------------------------

    def begin(self, options: Options, fingerprint: str) -> None:
        """Write the options of the run and the fingerprint of its samples.

        Args:
            options: of the run.
            fingerprint: of the samples.
        """
        with written(self._checkpoints):
            self._checkpoints.mkdir(exist_ok=True)
        write_start(self._start, options, fingerprint)  # it makes the folder a run
        write_config(self._config, options)

    def options(self) -> Options:
        """Return the options that the run began with; ``config.toml`` is written if it is missing.

        Returns:
            The options.

        Raises:
            InputError: ``config.toml`` has been changed since.
        """
        options = Options.from_values(read_start(self._start, self._anew()).options, str(self._start))
        if self._config.exists():
            check_config(self._config, options)
        else:
            write_config(self._config, options)
        return options

    def fingerprint(self) -> str:
        """Return the fingerprint of the samples that the run began with.

        Returns:
            The fingerprint.
        """
        return read_start(self._start, self._anew()).fingerprint

    # ---- states and results ------------------------------------------------------------------------------------------

    def save(self, job: Job, state: dict[str, Any]) -> None:
        """Replace the checkpoint of a network.

        Args:
            job: the network.
            state: its state.
        """
        write_checkpoint(self.checkpoint(job), state)

    def load(self, job: Job) -> dict[str, Any] | None:
        """Read the last checkpoint of a network; only data is read from it, never code.

        Args:
            job: the network.

        Returns:
            The state, or None if there is no checkpoint.

        Raises:
            InputError: the checkpoint is damaged or of a newer format.
        """
        return read_checkpoint(self.checkpoint(job))

    def reading(self, job: Job) -> AbstractContextManager[None]:
        """Report errors that occur while a state is taken apart as a damaged checkpoint.

        Args:
            job: the network whose state is read.

        Returns:
            A context manager.
        """
        return taking_apart(self.checkpoint(job))

    def prepare(self, jobs: Iterable[Job]) -> None:
        """Remove half-written files of a killed process, and bring ``metrics.jsonl`` in line with the checkpoints.

        Args:
            jobs: all networks of the run.
        """
        for folder in (self.path, self._checkpoints):
            remove_partial(folder)
        lines = []
        for job in jobs:
            state = self.load(job) or {"history": []}
            with self.reading(job):
                lines += [_line(job, Epoch(**record)) for record in state["history"]]
        write_atomically(self._metrics, b"".join(lines))

    def add_metrics(self, job: Job, epoch: Epoch) -> None:
        """Append a line to ``metrics.jsonl``; it may be lost in a crash, and `prepare` restores it.

        Args:
            job: the network.
            epoch: its last epoch.
        """
        with written(self._metrics), open(self._metrics, "ab") as file:
            file.write(_line(job, epoch))

    def write_connectivity(self, connectivity: dict[int, tuple[Tensor, Tensor]]) -> None:
        """Write ``connectivity.npz``.

        Args:
            connectivity: by epoch, ``strength`` and ``degree`` (features) of each input.
        """
        if not connectivity:
            return
        epochs = sorted(connectivity)
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            strength=np.stack([connectivity[epoch][0].numpy() for epoch in epochs]).astype(np.float32),
            degree=np.stack([connectivity[epoch][1].numpy() for epoch in epochs]).astype(np.int32),
            epochs=np.array(epochs, dtype=np.int64),
        )
        write_atomically(self.connectivity, seal(buffer.getvalue()))

    def write_results(self, results: Results) -> None:
        """Replace ``results.json``, which marks the run as finished.

        Args:
            results: of all networks.
        """
        write_atomically(self.results, dump(results, indent=1))

    def write_robustness(self, robustness: Robustness) -> None:
        """Replace ``robustness.json``.

        Args:
            robustness: all that is known.
        """
        write_atomically(self.robustness, dump(robustness, indent=1))

    def read_robustness(self) -> Robustness | None:
        """Read ``robustness.json``.

        Returns:
            Its contents, or None if there is no such file.

        Raises:
            InputError: the file is damaged or of a newer format.
        """
        with written(self.robustness):
            if not self.robustness.exists():
                return None
        remedy = f". Measure anew: gossamer evaluate {shlex.quote(str(self.path))} --overwrite"
        return parse(read_sealed(self.robustness, remedy), Robustness, str(self.robustness))

    def checkpoint(self, job: Job) -> Path:
        """Return the path of a network's checkpoint.

        Args:
            job: the network.

        Returns:
            The path.
        """
        return self._checkpoints / f"{job.network}-{job.seed}.pt"

    def _anew(self) -> str:
        return f". Train anew: gossamer train DATA --out {shlex.quote(str(self.path))} --overwrite"


def _line(job: Job, epoch: Epoch) -> bytes:
    return dump(EpochLine(**asdict(epoch), network=job.network, seed=job.seed))
