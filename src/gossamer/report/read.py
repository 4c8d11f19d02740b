"""A run folder, read and checked.

A finished run holds ``config.toml`` (the resolved options), ``metrics.jsonl`` (one object a line: network, seed, epoch,
losses, accuracies, connections, seconds, connections grown and dropped in all and by layer), ``results.json`` (what was
measured at the end, for each network and seed) and, if the connectivity was recorded, ``connectivity.npz``:
``strength`` (snapshots, features), the sum of |w| over the connections that leave each input; ``degree`` (snapshots,
features), their number; ``epochs`` (snapshots,). Inputs of image data are in row-major order of ``data.image`` =
(height, width, channels).

Everything that is missing, damaged or of a newer format raises `InputError` with the file, the field and the remedy.
"""

from __future__ import annotations

import json
import shlex
import tomllib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gossamer.errors import InputError

from .fields import Fields

__all__ = ["FORMAT", "Connectivity", "Data", "Epoch", "Histogram", "Layer", "Network", "NetworkName", "Run", "read"]

FORMAT = 1
"""The newest format of ``results.json`` that this version reads."""

NetworkName = Literal["sparse", "dense"]


@dataclass(frozen=True, slots=True)
class Data:
    """The data set: numbers of samples, of features and classes; ``image`` is (height, width, channels)."""

    name: str
    train: int
    validation: int
    test: int
    features: int
    classes: tuple[str, ...]
    image: tuple[int, int, int] | None
    feature_names: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Histogram:
    """``counts[i]`` units lie between ``edges[i]`` and ``edges[i + 1]``."""

    counts: tuple[int, ...]
    edges: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer as trained; ``active_fraction`` is None where activation isn't defined, as at the output."""

    name: str
    in_features: int
    out_features: int
    density: float
    connections: int
    active_fraction: float | None
    dead_units: int
    isolated_units: int
    fan_in: Histogram
    fan_out: Histogram


@dataclass(frozen=True, slots=True)
class Network:
    """What one network of one seed achieved on the test set, and what it cost; multiply-adds not known are NaN."""

    network: NetworkName
    seed: int
    test_accuracy: float
    test_loss: float
    test_correct: int
    parameters: int
    connections: int
    weight_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    index_bytes: int
    macs_per_sample: float
    macs_per_sample_active: float
    training_seconds: float
    epochs: int
    latency_ms: dict[int, float]
    noise: dict[float, float]
    layers: tuple[Layer, ...]

    @property
    def training_bytes(self) -> int:
        """Weights, gradients, optimizer state and indices together."""
        return self.weight_bytes + self.gradient_bytes + self.optimizer_bytes + self.index_bytes


@dataclass(frozen=True, slots=True)
class Epoch:
    """One line of ``metrics.jsonl``; ``moved``: connections grown and dropped by layer, absent in older versions."""

    network: NetworkName
    seed: int
    epoch: int
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    connections: int
    seconds: float
    grown: int
    dropped: int
    moved: dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Connectivity:
    """How strongly each input of the sparse network of the first seed is connected, at each recorded epoch."""

    strength: NDArray[np.float32]
    degree: NDArray[np.int32]
    epochs: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run; ``sparse`` and ``dense`` are ordered by seed, ``dense`` is empty if no twin was trained."""

    folder: Path
    config: dict[str, str]
    gossamer: str
    torch: str
    machine: dict[str, str]
    data: Data
    sparse: tuple[Network, ...]
    dense: tuple[Network, ...]
    epochs: tuple[Epoch, ...]
    connectivity: Connectivity | None

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    def networks(self, name: NetworkName) -> tuple[Network, ...]:
        return self.sparse if name == "sparse" else self.dense


def _network_name(fields: Fields) -> NetworkName:
    value = fields.values.get("network")
    if value not in ("sparse", "dense"):
        raise InputError(f"{fields.where}: network must be 'sparse' or 'dense', got {value!r:.60}")
    return "sparse" if value == "sparse" else "dense"


def _histogram(fields: Fields) -> Histogram:
    counts, edges = fields.items("counts"), fields.items("edges")
    try:
        histogram = Histogram(tuple(int(count) for count in counts), tuple(float(edge) for edge in edges))
    except (TypeError, ValueError):
        raise InputError(f"{fields.where}: counts and edges must be numbers") from None
    if len(edges) != len(counts) + 1 and (counts or edges):
        raise InputError(f"{fields.where}: edges must be one more than counts ({len(counts)}), got {len(edges)}")
    return histogram


def _layer(fields: Fields) -> Layer:
    active = fields.values.get("active_fraction")
    return Layer(
        name=fields.text("name"),
        in_features=fields.count("in_features"),
        out_features=fields.count("out_features"),
        density=fields.number("density"),
        connections=fields.count("connections"),
        active_fraction=None if active is None else fields.number("active_fraction"),
        dead_units=fields.count("dead_units"),
        isolated_units=fields.count("isolated_units"),
        fan_in=_histogram(fields.object("fan_in")),
        fan_out=_histogram(fields.object("fan_out")),
    )


def _network(fields: Fields, test: int) -> Network:
    latency = fields.object("latency_ms")
    try:
        batches = sorted(latency.values, key=int)
    except ValueError:
        raise InputError(f"{latency.where} must have batch sizes as names, got {list(latency.values)}") from None
    correct = fields.count("test_correct")
    if correct > test:
        raise InputError(f"{fields.where}: test_correct must be at most the {test} test samples, got {correct}")
    return Network(
        network=_network_name(fields),
        seed=fields.count("seed"),
        test_accuracy=fields.share("test_accuracy"),
        test_loss=fields.number("test_loss"),
        test_correct=correct,
        parameters=fields.count("parameters"),
        connections=fields.count("connections"),
        weight_bytes=fields.count("weight_bytes"),
        gradient_bytes=fields.count("gradient_bytes"),
        optimizer_bytes=fields.count("optimizer_bytes"),
        index_bytes=fields.count("index_bytes"),
        macs_per_sample=fields.known("macs_per_sample"),
        macs_per_sample_active=fields.known("macs_per_sample_active"),
        training_seconds=fields.number("training_seconds"),
        epochs=fields.count("epochs"),
        latency_ms={int(batch): latency.number(batch) for batch in batches},
        noise={level.number("sigma"): level.share("accuracy") for level in fields.objects("noise")},
        layers=tuple(_layer(layer) for layer in fields.objects("layers")),
    )


def _data(fields: Fields) -> Data:
    features = fields.count("features", low=1)
    image, names = fields.values.get("image"), fields.values.get("features_names")
    if image is not None:
        image = tuple(fields.items("image"))
        whole = all(isinstance(side, int) and side > 0 for side in image)
        if len(image) != 3 or not whole or image[0] * image[1] * image[2] != features:
            raise InputError(
                f"{fields.where}: image must be [height, width, channels] of {features}, got {list(image)}"
            )
    if names is not None:
        names = tuple(map(str, fields.items("features_names")))
        if len(names) != features:
            raise InputError(f"{fields.where}: features_names must have {features} names, got {len(names)}")
    return Data(
        name=fields.text("name"),
        train=fields.count("train"),
        validation=fields.count("validation"),
        test=fields.count("test", low=1),
        features=features,
        classes=tuple(map(str, fields.items("classes"))),
        image=image,
        feature_names=names,
    )


def _epoch(fields: Fields) -> Epoch:
    return Epoch(
        network=_network_name(fields),
        seed=fields.count("seed"),
        epoch=fields.count("epoch", low=1),
        train_loss=fields.number("train_loss"),
        train_accuracy=fields.number("train_accuracy"),
        validation_loss=fields.number("validation_loss"),
        validation_accuracy=fields.number("validation_accuracy"),
        connections=fields.count("connections"),
        seconds=fields.number("seconds"),
        grown=fields.count("grown"),
        dropped=fields.count("dropped"),
        moved=_moved(fields),
    )


def _moved(fields: Fields) -> dict[str, tuple[int, int]]:
    moved = fields.object("moved").values if "moved" in fields.values else {}
    for layer, pair in moved.items():
        if not (isinstance(pair, list) and len(pair) == 2 and all(type(n) is int and n >= 0 for n in pair)):
            raise InputError(f"{fields.where}: moved must hold two whole numbers for layer {layer!r}, got {pair!r:.60}")
    return {layer: (grown, dropped) for layer, (grown, dropped) in moved.items()}


def _epochs(path: Path) -> tuple[Epoch, ...]:
    """All lines of ``metrics.jsonl``; of a repeated (network, seed, epoch), as after a resumption, the last one."""
    lines = [line for line in path.read_bytes().splitlines() if line.strip()]
    epochs: dict[tuple[str, int, int], Epoch] = {}
    for number, line in enumerate(lines, start=1):
        try:
            values = json.loads(line)
        except ValueError as error:  # a syntax error, or bytes that aren't UTF-8
            if number == len(lines):  # the process was killed while it wrote this line
                break
            raise InputError(f"{path}, line {number} is damaged: {error}") from None
        epoch = _epoch(Fields(values, f"{path}, line {number}"))
        epochs[epoch.network, epoch.seed, epoch.epoch] = epoch
    return tuple(epochs[key] for key in sorted(epochs))


def _connectivity(path: Path, features: int) -> Connectivity:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            strength = np.asarray(arrays["strength"], dtype=np.float32)
            degree = np.asarray(arrays["degree"], dtype=np.int32)
            epochs = np.asarray(arrays["epochs"], dtype=np.int64)
    except (OSError, EOFError, ValueError, TypeError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is damaged: {error}") from None
    expected = (epochs.size, features)
    if epochs.ndim != 1 or strength.shape != expected or degree.shape != expected:
        raise InputError(
            f"{path}: strength and degree must have shape {expected}, got {strength.shape} and {degree.shape}"
        )
    return Connectivity(strength, degree, epochs)


def _config(path: Path) -> dict[str, str]:
    """The options as text, one for each key; nested tables become dotted keys."""
    try:
        options = tomllib.loads(path.read_text("utf-8")) if path.exists() else {}
    except ValueError as error:  # TOMLDecodeError or UnicodeDecodeError
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
    """Read the finished run in ``folder``; raise `InputError` if it is missing, unfinished, damaged or too new."""
    folder = Path(folder)
    results, metrics = folder / "results.json", folder / "metrics.jsonl"
    if not folder.is_dir():
        raise InputError(f"run must be the folder of a training run, got {str(folder)!r}, which doesn't exist")
    if not results.exists() or not metrics.exists():
        if not metrics.exists() and not (folder / "config.toml").exists():
            raise InputError(f"run must be the folder of a training run, got {str(folder)!r}, which holds none")
        missing = metrics if not metrics.exists() else results
        resume = f"gossamer train --resume {shlex.quote(str(folder))}"
        raise InputError(f"{folder} holds no {missing.name}: its training isn't finished. Resume it with: {resume}")
    try:
        fields = Fields(json.loads(results.read_bytes()), str(results))
    except ValueError as error:
        raise InputError(f"{results} is damaged: {error}") from None
    if (version := fields.count("format", low=1)) > FORMAT:
        writer = f"it was written by a newer gossamer ({fields.values.get('gossamer', 'unknown')}). Upgrade to read it"
        raise InputError(f"{results}: format must be at most {FORMAT}, got {version}: {writer}")
    data = _data(fields.object("data"))
    networks = sorted((_network(entry, data.test) for entry in fields.objects("networks")), key=lambda n: n.seed)
    sparse = tuple(network for network in networks if network.network == "sparse")
    if not sparse:
        raise InputError(f"{results}: networks must hold a sparse network, got {len(networks)} dense")
    connectivity = folder / "connectivity.npz"
    return Run(
        folder=folder,
        config=_config(folder / "config.toml"),
        gossamer=fields.text("gossamer"),
        torch=fields.text("torch"),
        machine={name: str(value) for name, value in fields.object("machine").values.items()},
        data=data,
        sparse=sparse,
        dense=tuple(network for network in networks if network.network == "dense"),
        epochs=_epochs(metrics),
        connectivity=_connectivity(connectivity, data.features) if connectivity.exists() else None,
    )
