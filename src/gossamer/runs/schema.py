"""The schema of ``results.json`` and of the lines of ``metrics.jsonl``, for writers and readers.

A record is a dataclass that checks its ranges; `dump` writes it as sealed JSON, `parse` reads it or raises an error
that names file and field. Fields that a newer version added are ignored.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, TypeVar

from gossamer.errors import InputError, check_count, check_fraction
from gossamer.extras import needs
from gossamer.io.seal import EMPTY_SEAL, seal
from gossamer.training import Epoch

__all__ = [
    *("FORMAT", "Data", "EpochLine", "Histogram", "Layer", "Machine", "Network", "NetworkName", "NoiseLevel"),
    *("Results", "convert", "dump", "parse"),
]

FORMAT = 1
"""The newest format of ``results.json`` that this version reads and the one that it writes."""

NetworkName = Literal["sparse", "dense"]

Record = TypeVar("Record")


def _check_whole(record: Any) -> None:
    """No whole number is negative."""
    for field in fields(record):
        value = getattr(record, field.name)
        if type(value) is int:
            check_count(field.name, value)


@dataclass(frozen=True, slots=True)
class Data:
    """The data set: numbers of samples, of features and classes; ``image`` is (height, width, channels)."""

    name: str
    train: int
    validation: int
    test: int
    features: int
    classes: tuple[str, ...]
    image: tuple[int, int, int] | None = None
    features_names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        _check_whole(self)
        check_count("test", self.test, low=1)
        check_count("features", self.features, low=1)
        if self.image is not None and (min(self.image) < 1 or math.prod(self.image) != self.features):
            raise InputError(f"image must be [height, width, channels] of {self.features}, got {list(self.image)}")
        if self.features_names is not None and len(self.features_names) != self.features:
            raise InputError(f"features_names must have {self.features} names, got {len(self.features_names)}")


@dataclass(frozen=True, slots=True)
class Histogram:
    """A histogram: ``counts[i]`` units lie between ``edges[i]`` and ``edges[i + 1]``."""

    counts: tuple[int, ...]
    edges: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.edges) != len(self.counts) + 1 and (self.counts or self.edges):
            raise InputError(f"edges must be one more than counts ({len(self.counts)}), got {len(self.edges)}")


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

    def __post_init__(self) -> None:
        _check_whole(self)


@dataclass(frozen=True, slots=True)
class NoiseLevel:
    """The accuracy under Gaussian noise of standard deviation ``sigma`` on the preprocessed inputs."""

    sigma: float
    accuracy: float

    def __post_init__(self) -> None:
        check_fraction("accuracy", self.accuracy)


@dataclass(frozen=True, slots=True)
class Network:
    """Accuracy of one network of one seed on the test set, and its cost.

    Multiply-adds that aren't known and a loss that isn't finite are None. ``latency_ms`` is by batch size. ``fallback``
    says why autograd took the last steps, if the compiled one was to. ``model`` is the title of the network, such as
    ``"VGG 32-32-M-64-64-M, 3 HaH blocks"``, None of a run before there were several.
    """

    network: NetworkName
    seed: int
    test_accuracy: float
    test_loss: float | None
    test_correct: int
    parameters: int
    connections: int
    weight_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    index_bytes: int
    macs_per_sample: float | None
    macs_per_sample_active: float | None
    training_seconds: float
    epochs: int
    latency_ms: dict[int, float]
    noise: tuple[NoiseLevel, ...]
    layers: tuple[Layer, ...]
    step: Literal["compiled", "autograd"] = "autograd"
    fallback: str | None = None
    model: str | None = None
    hebbian_blocks: int = 0

    def __post_init__(self) -> None:
        _check_whole(self)
        check_fraction("test_accuracy", self.test_accuracy)

    @property
    def training_bytes(self) -> int:
        """Weights, gradients, optimizer state and indices together."""
        return self.weight_bytes + self.gradient_bytes + self.optimizer_bytes + self.index_bytes

    @property
    def noise_accuracy(self) -> dict[float, float]:
        """The accuracy by the noise's standard deviation."""
        return {level.sigma: level.accuracy for level in self.noise}


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine that times belong to; ``busy`` is a reason to distrust them, None if there is none."""

    processor: str
    threads: int
    system: str
    device: str
    busy: str | None = None


@dataclass(frozen=True, slots=True)
class Results:
    """The contents of ``results.json``."""

    format: int
    gossamer: str
    torch: str
    machine: Machine
    data: Data
    networks: tuple[Network, ...]

    def __post_init__(self) -> None:
        if not any(network.network == "sparse" for network in self.networks):
            raise InputError(f"networks must hold a sparse network, got {len(self.networks)} dense")
        for number, network in enumerate(self.networks):
            if network.test_correct > self.data.test:
                raise InputError(
                    f"networks[{number}]: test_correct must be at most the {self.data.test} test samples, "
                    f"got {network.test_correct}"
                )


@dataclass(frozen=True, kw_only=True)
class EpochLine(Epoch):
    """One line of ``metrics.jsonl``."""

    network: NetworkName
    seed: int

    def __post_init__(self) -> None:
        _check_whole(self)
        check_count("epoch", self.epoch, low=1)
        for layer, counts in self.moved.items():
            if min(counts) < 0:
                raise InputError(f"moved must hold numbers of connections for layer {layer!r}, got {list(counts)}")


def dump(record: Any, *, indent: int | None = None) -> bytes:
    """Return a record as JSON, sealed, with a newline at the end."""
    values = {"digest": EMPTY_SEAL} | (record if isinstance(record, dict) else asdict(record))
    return seal(json.dumps(values, indent=indent, ensure_ascii=False, allow_nan=False).encode() + b"\n")


def parse(content: bytes, kind: type[Record], where: str) -> Record:
    """Read a record that `dump` wrote; `InputError` names ``where`` and the field."""
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is damaged: {error}") from None
    newest = FORMAT if kind is Results else getattr(kind, "newest", None)
    if newest is not None and isinstance(values, dict):
        version = values.get("format")
        if isinstance(version, int) and version > newest:
            raise InputError(
                f"{where}: format must be at most {newest}, got {version}: it was written by a newer gossamer "
                f"({values.get('gossamer', 'unknown')}). Upgrade to read it"
            )
    return convert(values, kind, where)


def convert(values: Mapping[str, Any], kind: type[Record], where: str) -> Record:
    """Make a record from plain values; `InputError` names ``where`` and the field."""
    with needs("report", "reading a run"):
        import msgspec
    try:
        return msgspec.convert(values, kind, str_keys=True)
    except (msgspec.ValidationError, RecursionError) as error:
        reason, _, place = str(error).partition(" - at `$")
        place = place.strip("`.")
        raise InputError(f"{where} is damaged: {f'{place}: ' if place else ''}{reason}") from None
