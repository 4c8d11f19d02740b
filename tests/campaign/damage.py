"""Flipped bits of every file of a run, and files that somebody made to do harm."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from tests.campaign.common import Figure, finished_run

from gossamer import report
from gossamer.errors import InputError
from gossamer.io.seal import EMPTY_SEAL, seal
from gossamer.runs import RunFolder, load_model
from gossamer.runs.run import jobs_of

__all__ = ["flips", "hostile"]


def _readers(folder: RunFolder) -> dict[Path, Callable[[], object]]:
    """For each file of a run, the call that reads it."""
    page = partial(report.read, folder.path)
    readers: dict[Path, Callable[[], object]] = {
        folder.results: page,
        folder.path / "metrics.jsonl": page,
        folder.connectivity: page,
        folder.path / "config.toml": folder.options,
        folder.path / "checkpoint" / "start.json": folder.options,
        folder.model: partial(load_model, folder.model),
    }
    for job in jobs_of(folder.options()):
        readers[folder.checkpoint(job)] = partial(folder.load, job)
    files = {path for path in folder.path.rglob("*") if path.is_file() and path.name != ".lock"}
    assert files == readers.keys(), files ^ readers.keys()
    return readers


def _verdict(read: Callable[[], object]) -> str | None:
    """What is wrong if ``read`` doesn't raise an `InputError`."""
    try:
        read()
    except InputError:
        return None
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "silent"


def flips(folder: Path, scale: float, seed: int) -> Iterator[Figure]:
    """One bit of one file is flipped: the reader must refuse the file."""
    run = finished_run(folder)
    rng = np.random.default_rng(seed)
    for path, read in _readers(run).items():
        content, figure = path.read_bytes(), Figure(f"flipped bits of `{path.name}`")
        bits = 8 * len(content)
        chosen = rng.choice(bits, min(bits, max(1, round(1500 * scale))), replace=False)
        for bit in chosen.tolist():
            flipped = bytearray(content)
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(flipped)
            figure.trials += 1
            if (wrong := _verdict(read)) is not None:
                figure.failures.append(f"bit {bit} of {path.name}: {wrong}")
        path.write_bytes(content)
        read()  # the whole file is taken
        yield figure


def hostile(folder: Path, scale: float, seed: int) -> Iterator[Figure]:
    """Every file is replaced by content that is no run's, with a whole seal or without."""
    run = finished_run(folder)
    rng = np.random.default_rng(seed)
    deep = b'{"a":' * 100_000
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("strength.npy", b"x" * 10_000)
    corrupt = bytearray(archive.getvalue())
    corrupt[60] ^= 0xFF  # inside the deflated stream
    pickled = io.BytesIO()
    torch.save({"format": 1, "state": {"model": {"w": torch.ones(3)}}, "more": [1]}, pickled)
    contents: list[bytes] = [
        b"", b"{}", b"[]", b"null", b"\xff\xfe", b"\0" * 1000, deep, b"x = " + b"[" * 100_000, b"[" * 100_000,
        bytes(corrupt), archive.getvalue(), b"PK\x03\x04", pickled.getvalue()[:-100],
        (2**63).to_bytes(8, "little") + b"{}", (2).to_bytes(8, "little") + b"{}",
        json.dumps({"digest": EMPTY_SEAL, "format": 10**30, "networks": [{}] * 3}).encode(),
    ]  # fmt: skip
    contents += [rng.bytes(int(rng.integers(1, 2000))) for _ in range(round(100 * scale))]
    for path, read in _readers(run).items():
        whole, figure = path.read_bytes(), Figure(f"hostile `{path.name}`")
        damaged = [whole[: len(whole) // 2], whole[1:], whole + b"x"]
        for bad in [*damaged, *contents, *map(seal, contents)]:
            path.write_bytes(bad)
            figure.trials += 1
            if (wrong := _verdict(read)) is not None:
                figure.failures.append(f"{path.name} of {bad[:40]!r}: {wrong}")
        path.write_bytes(whole)
        yield figure
