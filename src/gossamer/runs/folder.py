"""The folder of a run: what is in it, and how it stays whole whenever the process is dropped.

==================  ================================================================================================
``config.toml``     the options, all of them (see `gossamer.runs.Options`)
``checkpoint/``     the state of each network after its last finished epoch; ``data.json`` identifies the samples
``metrics.jsonl``   a line for each epoch of each network
``results.json``    what was measured at the end
``connectivity.npz``      how strongly each input of the first sparse network was connected, epoch by epoch
``model.safetensors``  the first sparse network, ready to predict
``report.html``     the page
==================  ================================================================================================

Every file but ``metrics.jsonl`` is replaced as a whole. That one grows line by line, and whoever resumes writes it anew
from the checkpoints, which are the truth. A run lives in one process at a time: see `RunFolder.locked`.
"""

from __future__ import annotations

import io
import json
import pickle
import re
import shutil
import zipfile
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

import gossamer
from gossamer.errors import InputError
from gossamer.io.files import lock, remove_partial, write_atomically, written
from gossamer.runs.options import Options
from gossamer.training.loop import Epoch

__all__ = ["Job", "RunFolder"]

_FORMAT = 1
_LOCK = ".lock"
_OURS = {
    *("config.toml", "checkpoint", "metrics.jsonl", "results.json", "connectivity.npz", "model.safetensors"),
    *("report.html", "comparison.html", ".config.toml.partial"),
}


class Job(NamedTuple):
    """One network to train."""

    network: Literal["sparse", "dense"]
    seed: int


class RunFolder:
    """A run's folder at ``path``; make one with `create`, find one with `open`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model, self.results, self.report = (
            path / name for name in ("model.safetensors", "results.json", "report.html")
        )
        self._config, self._metrics = path / "config.toml", path / "metrics.jsonl"
        self._checkpoints = path / "checkpoint"

    @classmethod
    def create(cls, path: Path | None, name: str, *, overwrite: bool = False) -> RunFolder:
        """An empty folder at ``path``, or at the next free ``runs/name-1``, ``runs/name-2``, …

        With ``overwrite``, a run that is at ``path`` is removed, if there is nothing else beside it.
        """
        if path is None:
            slug = re.sub(r"[^\w.-]+", "-", Path(name).stem).strip("-.") or "run"
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
        if path.exists() and not path.is_dir():
            raise InputError(f"the run's folder {path} is a file: choose another name")
        with written(path):
            path.mkdir(parents=True, exist_ok=True)
            taken = {entry.name for entry in path.iterdir()} - {_LOCK}
        if foreign := sorted(taken - _OURS):
            raise InputError(f"{path} must be empty to take a run, it holds {foreign[0]!r}: choose another folder")
        if taken and not overwrite:
            raise InputError(f"{path} already holds a run: resume it, overwrite it, or choose another folder")
        folder = cls(path)
        with folder.locked(), written(path):
            for entry in sorted(taken, key="config.toml".__ne__):  # first what makes it a run, should we be killed
                shutil.rmtree(path / entry) if entry == "checkpoint" else (path / entry).unlink()
        return folder

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """The run that is at ``path``."""
        folder = cls(path)
        if not path.is_dir():
            raise InputError(f"run must be the folder of a training run, got {str(path)!r}, which doesn't exist")
        if not folder._config.is_file():
            raise InputError(f"run must be the folder of a training run, got {str(path)!r}, which has no config.toml")
        return folder

    def locked(self) -> AbstractContextManager[None]:
        """Hold the folder alone; `InputError` if another process trains in it."""
        return lock(self.path / _LOCK)

    # ---- what was asked --------------------------------------------------------------------------------------------

    def begin(self, options: Options, fingerprint: str) -> None:
        """Write down what is to be trained, on which samples."""
        with written(self._checkpoints):
            self._checkpoints.mkdir(exist_ok=True)
        write_atomically(self._checkpoints / "data.json", json.dumps({"fingerprint": fingerprint}))
        write_atomically(self._config, options.to_toml())  # last: it makes the folder a run

    def options(self) -> Options:
        """What `begin` wrote."""
        try:
            return Options.from_toml(self._config.read_text("utf-8"), str(self._config))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{self._config} can't be read: {error}") from None

    def fingerprint(self) -> str:
        """Of the samples that the run began with."""
        path = self._checkpoints / "data.json"
        try:
            return str(json.loads(path.read_bytes())["fingerprint"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is damaged or missing: {error}") from None

    # ---- what was reached ------------------------------------------------------------------------------------------

    def save(self, job: Job, state: dict[str, Any]) -> None:
        """Replace the checkpoint of ``job``."""
        buffer = io.BytesIO()  # so that a full disk is met by our own file, not inside torch's writer
        torch.save({"format": _FORMAT, "gossamer": gossamer.__version__, "state": state}, buffer)
        write_atomically(self._checkpoint(job), buffer.getvalue())

    def load(self, job: Job) -> dict[str, Any] | None:
        """The last checkpoint of ``job``, or None; nothing but data is read from it, never code."""
        path = self._checkpoint(job)
        if not path.exists():
            return None
        try:
            saved = torch.load(path, map_location="cpu", weights_only=True)
            version, state = int(saved["format"]), saved["state"]
        except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, EOFError) as error:
            raise self._damaged(path, error) from None
        except (pickle.UnpicklingError, zipfile.BadZipFile) as error:
            raise self._damaged(path, error) from None
        if version > _FORMAT:
            raise InputError(
                f"{path} has format {version}, this gossamer reads up to {_FORMAT}: it was written by a newer gossamer "
                f"({saved.get('gossamer')}). Upgrade to go on with it"
            )
        return state  # type: ignore[no-any-return]

    def prepare(self, jobs: Iterable[Job]) -> None:
        """Remove what a killed process left half written, and bring ``metrics.jsonl`` in line with the checkpoints."""
        for folder in (self.path, self._checkpoints):
            remove_partial(folder)
        lines = []
        for job in jobs:
            state = self.load(job) or {"history": []}
            lines += [_line(job, Epoch(**record)) for record in state["history"]]
        write_atomically(self._metrics, "".join(lines))

    def add_metrics(self, job: Job, epoch: Epoch) -> None:
        """Append a line; it may be lost in a crash, and comes back with `prepare`."""
        with written(self._metrics), open(self._metrics, "a", encoding="utf-8") as file:
            file.write(_line(job, epoch))

    def write_connectivity(self, connectivity: dict[int, tuple[Tensor, Tensor]]) -> None:
        """``strength`` and ``degree`` (snapshots, features) and ``epochs`` (snapshots,)."""
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
        write_atomically(self.path / "connectivity.npz", buffer.getvalue())

    def write_results(self, results: dict[str, Any]) -> None:
        write_atomically(self.results, json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False) + "\n")

    def _checkpoint(self, job: Job) -> Path:
        return self._checkpoints / f"{job.network}-{job.seed}.pt"

    def _damaged(self, path: Path, error: Exception) -> InputError:
        reason = (str(error) or type(error).__name__).splitlines()[0].partition(". ")[0].rstrip(".")
        return InputError(f"{path} is damaged ({reason}). Remove it to train this network again from its start")


def _line(job: Job, epoch: Epoch) -> str:
    return json.dumps({"network": job.network, "seed": job.seed, **asdict(epoch)}, allow_nan=False) + "\n"
