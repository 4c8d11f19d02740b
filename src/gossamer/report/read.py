"""A run folder, read and checked.

A finished run holds ``config.toml`` (the resolved options), ``metrics.jsonl`` (`EpochLine`), ``results.json``
(`Results`) and, if the connectivity was recorded, ``connectivity.npz``: ``strength`` (snapshots, features), the sum of
|w| over the connections that leave each input; ``degree`` (snapshots, features), their number; ``epochs`` (snapshots,).
Inputs of image data are in row-major order of ``data.image`` = (height, width, channels). After ``gossamer evaluate``
there is ``robustness.json`` (`Robustness`).

Everything that is missing, damaged or of a newer format raises `InputError` with the file, the field and the remedy.
"""

from __future__ import annotations

import io
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.errors import InputError
from gossamer.io.files import read_bytes, read_sealed, written
from gossamer.io.seal import BrokenSealError, unseal
from gossamer.runs.folder import RunFolder
from gossamer.runs.robustness import Robustness
from gossamer.runs.schema import Data, EpochLine, Layer, Network, NetworkName, Results, parse

__all__ = ["Connectivity", "Data", "EpochLine", "Layer", "Network", "NetworkName", "Run", "read"]


@dataclass(frozen=True, slots=True)
class Connectivity:
    """How strongly each input of the sparse network of the first seed is connected, at each recorded epoch."""

    strength: NDArray[np.float32]
    degree: NDArray[np.int32]
    epochs: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run.

    Attributes:
        folder: of the run.
        config: the options as strings; nested tables have dotted keys.
        gossamer: version of gossamer.
        torch: version of PyTorch.
        machine: description of the machine.
        data: the data set.
        sparse: the sparse networks, ordered by seed.
        dense: the dense twins, ordered by seed; empty if none was trained.
        epochs: all epochs of all networks.
        connectivity: the strength of each input's connections by epoch, if recorded.
        robustness: accuracy under noise, corruptions and attacks, if it was measured.

    Example:
        >>> from gossamer import report
        >>> report.read("runs/digits-1").sparse[0].test_accuracy  # doctest: +SKIP
        0.97
    """

    folder: Path
    config: dict[str, str]
    gossamer: str
    torch: str
    machine: dict[str, str]
    data: Data
    sparse: tuple[Network, ...]
    dense: tuple[Network, ...]
    epochs: tuple[EpochLine, ...]
    connectivity: Connectivity | None
    robustness: Robustness | None = None

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.folder.resolve().name

    def networks(self, name: NetworkName) -> tuple[Network, ...]:
        """Return the networks of one kind.

        Args:
            name: ``"sparse"`` or ``"dense"``.

        Returns:
            The networks, ordered by seed.
        """
        return self.sparse if name == "sparse" else self.dense


def _epochs(path: Path, networks: tuple[Network, ...], remedy: str) -> tuple[EpochLine, ...]:
    """All lines of ``metrics.jsonl``; of a repeated (network, seed, epoch), as after a resumption, the last one."""
    epochs: dict[tuple[str, int, int], EpochLine] = {}
    for number, line in enumerate(read_bytes(path).splitlines(keepends=True), start=1):
        where = f"{path}, line {number}"
        try:
            epoch = parse(unseal(line), EpochLine, where)
        except BrokenSealError as error:
            raise InputError(f"{where} is damaged: {error}{remedy}") from None
        epochs[epoch.network, epoch.seed, epoch.epoch] = epoch
    for network in networks:
        found = [epoch for name, seed, epoch in epochs if (name, seed) == (network.network, network.seed)]
        if sorted(found) != list(range(1, network.epochs + 1)):
            raise InputError(
                f"{path} is damaged: the {network.network} network of seed {network.seed} has {network.epochs} epochs, "
                f"of which it holds {len(found)}{remedy}"
            )
    return tuple(epochs[key] for key in sorted(epochs))


def _connectivity(path: Path, features: int, remedy: str) -> Connectivity:
    content = read_sealed(path, remedy)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            strength = np.asarray(arrays["strength"], dtype=np.float32)
            degree = np.asarray(arrays["degree"], dtype=np.int32)
            epochs = np.asarray(arrays["epochs"], dtype=np.int64)
    except Exception as error:  # damaged bytes may raise anything in zlib, zipfile and NumPy
        raise InputError(f"{path} is damaged: {error}{remedy}") from None
    expected = (epochs.size, features)
    if epochs.ndim != 1 or strength.shape != expected or degree.shape != expected:
        raise InputError(
            f"{path}: strength and degree must have shape {expected}, got {strength.shape} and {degree.shape}"
        )
    return Connectivity(strength, degree, epochs)


def _config(path: Path, remedy: str) -> dict[str, str]:
    """The options as strings, one for each key; nested tables become dotted keys."""
    try:
        options = tomllib.loads(read_sealed(path).decode())
    except InputError as error:
        raise InputError(f"{error}. Was it edited? Remove it{remedy}") from None
    except (ValueError, RecursionError) as error:  # TOMLDecodeError or UnicodeDecodeError
        raise InputError(f"{path} is damaged: {error}") from None

    def show(value: object) -> str:
        if isinstance(value, list):
            return ", ".join(map(show, value))
        return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)

    def flatten(table: Mapping[str, Any], prefix: str) -> dict[str, str]:
        flat: dict[str, str] = {}
        for key, value in table.items():
            flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": show(value)}
        return flat

    return flatten(options, "")


def read(folder: Path | str) -> Run:
    """Read a finished run.

    Args:
        folder: of the run.

    Returns:
        The run.

    Raises:
        InputError: the run is missing, unfinished, damaged or of a newer format.

    Example:
        >>> from gossamer import report
        >>> options = gs.runs.Options(data="wine", hidden=(20,), epochs=2, batch_size=20, threads=1, twin=False)
        >>> run = report.read(gs.runs.train(options, gs.runs.load_data(options)).path)
        >>> len(run.sparse), run.dense, len(run.epochs)
        (1, (), 2)
    """
    folder = Path(folder)
    names = ("results.json", "metrics.jsonl", "config.toml", "connectivity.npz")
    with written(folder):
        there = {name: (folder / name).exists() for name in (*names, "checkpoint/start.json")}
        if not folder.is_dir():
            raise InputError(f"run must be the folder of a training run, got {str(folder)!r}, which doesn't exist")
    results, metrics, config, connectivity = (folder / name for name in names)
    resume = f"gossamer train --resume {shlex.quote(str(folder))}"
    if not there["results.json"] or not there["metrics.jsonl"]:
        if not (there["metrics.jsonl"] or there["config.toml"] or there["checkpoint/start.json"]):
            raise InputError(f"run must be the folder of a training run, got {str(folder)!r}, which holds none")
        missing = metrics if not there["metrics.jsonl"] else results
        raise InputError(f"{folder} holds no {missing.name}: its training isn't finished. Resume it with: {resume}")
    remedy = f". Write it anew from the checkpoints: {resume}"
    found = parse(read_sealed(results, remedy), Results, str(results))
    networks = tuple(sorted(found.networks, key=lambda network: network.seed))
    return Run(
        folder=folder,
        config=_config(config, f", and write it anew: {resume}") if there["config.toml"] else {},
        gossamer=found.gossamer,
        torch=found.torch,
        machine={name: str(value) for name, value in asdict(found.machine).items() if value is not None},
        data=found.data,
        sparse=tuple(network for network in networks if network.network == "sparse"),
        dense=tuple(network for network in networks if network.network == "dense"),
        epochs=_epochs(metrics, networks, remedy),
        connectivity=_connectivity(connectivity, found.data.features, remedy) if there["connectivity.npz"] else None,
        robustness=RunFolder(folder).read_robustness(),
    )
