"""The schema of ``robustness.json``: accuracy of each network of a run under noise, corruptions and attacks.

The file grows by one cell at a time and is replaced as a whole, so that an evaluation that was killed continues with
the cells that are missing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, NamedTuple

from gossamer.errors import InputError, check_count, check_fraction
from gossamer.runs.schema import NetworkName

__all__ = ["Cell", "Check", "Condition", "Kind", "Measured", "Robustness"]

Kind = Literal["clean", "noise", "corruption", "attack"]


class Condition(NamedTuple):
    """A change of a network's inputs.

    Attributes:
        kind: ``"clean"``, ``"noise"``, ``"corruption"`` or ``"attack"``.
        name: of the noise, corruption or attack; "" of clean inputs.
        norm: ``"linf"`` or ``"l2"``, of an attack; "" of anything else.
        strength: standard deviation, severity or radius; 0 of clean inputs.
    """

    kind: Kind
    name: str = ""
    norm: str = ""
    strength: float = 0.0


@dataclass(frozen=True, slots=True)
class Cell:
    """The accuracy of one network under one condition: ``correct`` of ``draws`` × ``rows`` answers were right.

    ``snr`` is the signal-to-noise ratio at the input of each layer, in decibels, under Gaussian noise; None where it is
    not finite. ``zero_gradients`` is the share of attacked rows whose gradient vanished.
    """

    network: NetworkName
    seed: int
    kind: Kind
    name: str
    norm: str
    strength: float
    rows: int
    draws: int
    correct: int
    seconds: float
    snr: dict[str, float | None] | None = None
    zero_gradients: float | None = None

    def __post_init__(self) -> None:
        check_count("seed", self.seed)
        check_count("rows", self.rows, low=1)
        check_count("draws", self.draws, low=1)
        check_count("correct", self.correct, high=self.rows * self.draws)
        check_fraction("strength", self.strength, high=float("inf"), open_high=True)
        if self.zero_gradients is not None:
            check_fraction("zero_gradients", self.zero_gradients)

    @property
    def condition(self) -> Condition:
        """The change of the inputs."""
        return Condition(self.kind, self.name, self.norm, self.strength)

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return self.correct / (self.rows * self.draws)


@dataclass(frozen=True, slots=True)
class Check:
    """One check of a network's accuracy under an attack (see `gossamer.evaluate.attacks.sanity`)."""

    network: NetworkName
    seed: int
    attack: str
    norm: str
    radius: float
    budget: str
    name: str
    passed: bool
    measured: float
    limit: float
    explanation: str

    def __post_init__(self) -> None:
        check_count("seed", self.seed)
        check_fraction("radius", self.radius, high=float("inf"), open_high=True)


@dataclass(frozen=True, slots=True)
class Measured:
    """A network that was evaluated: ``digest`` is that of its checkpoint."""

    network: NetworkName
    seed: int
    digest: str


@dataclass(frozen=True, slots=True)
class Robustness:
    """The contents of ``robustness.json``.

    All cells are of the same rows, drawn by ``seed``, in the same ``unit``.
    """

    newest: ClassVar[int] = 1  # format that this version reads

    format: int
    gossamer: str
    rows: int
    seed: int
    draws: int
    unit: str
    measured: tuple[Measured, ...] = ()
    cells: tuple[Cell, ...] = ()
    checks: tuple[Check, ...] = ()

    def __post_init__(self) -> None:
        check_count("rows", self.rows, low=1)
        check_count("seed", self.seed)
        check_count("draws", self.draws, low=1)
        for number, cell in enumerate(self.cells):
            if cell.rows != self.rows:
                raise InputError(f"cells[{number}]: rows must be {self.rows}, got {cell.rows}")

    def without(self, network: NetworkName, seed: int) -> Robustness:
        """Return the results of all other networks."""

        def others(records: tuple[Measured, ...] | tuple[Cell, ...] | tuple[Check, ...]) -> tuple[object, ...]:
            return tuple(record for record in records if (record.network, record.seed) != (network, seed))

        return replace(self, measured=others(self.measured), cells=others(self.cells), checks=others(self.checks))  # type: ignore[arg-type]
