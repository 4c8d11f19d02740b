"""The plan of an evaluation: the conditions under which the networks of a run are measured."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gossamer.errors import InputError, check_choice, check_count, check_fraction
from gossamer.evaluate import attacks, corruptions
from gossamer.runs.robustness import Condition
from gossamer.runs.units import UnitRows

__all__ = ["Plan", "attack_of", "passes_of"]

_IMAGES = tuple(corruptions.CORRUPTIONS)
_TABLES = ("missing_values", "zeroed_features")
_NOISE = {True: (0.1, 0.2, 0.3), False: (0.1, 0.3, 0.5, 1.0)}  # of images, of tables
_RADII = {
    ("linf", 1): (0.05, 0.1),  # by the number of channels, 0 for tables
    ("l2", 1): (0.5, 1.0),
    ("linf", 3): (2 / 255, 8 / 255),
    ("l2", 3): (0.25, 0.5),
    ("linf", 0): (0.1, 0.3),
    ("l2", 0): (0.5, 1.0),
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The measurements. With no noise, corruption or attack: Gaussian noise, and APGD-CE at two radii with its checks.

    Attributes:
        noise: standard deviations of Gaussian noise.
        uniform_noise: standard deviations of uniform noise.
        corruptions: names of corruptions, each in all severities (see `gossamer.evaluate.corruptions`); for tables
            ``"missing_values"`` and ``"zeroed_features"``; ``"all"`` for all of the kind.
        attacks: as `gossamer.evaluate.attacks.parse` reads them, without norm and radius.
        norm: of the attacks, ``"linf"`` or ``"l2"``.
        radii: of the attacks, in the units of the inputs; none for two that suit the data.
        sanity: of each attack, at the smallest radius: ``"quick"`` checks the networks of the first seed on some rows,
            ``"full"`` those of all seeds on all rows with a larger budget, ``"none"`` nothing.
        rows: number of test rows; None for those of the file, or `gossamer.runs.units.DEFAULT_ROWS` at most.
        seed: of rows, noise, corruptions and attacks; None for that of the file, or 0.
        draws: of noise for each row; None for those of the file, or 3.

    Raises:
        InputError: an option is outside its range.

    Example:
        >>> gs.runs.Plan(noise=(0.1, 0.2), rows=100).norm
        'linf'
    """

    noise: tuple[float, ...] = ()
    uniform_noise: tuple[float, ...] = ()
    corruptions: tuple[str, ...] = ()
    attacks: tuple[str, ...] = ()
    norm: str = "linf"
    radii: tuple[float, ...] = ()
    sanity: str = "quick"
    rows: int | None = None
    seed: int | None = None
    draws: int | None = None

    def __post_init__(self) -> None:
        for name in ("noise", "uniform_noise"):
            for sigma in getattr(self, name):
                check_fraction(name, sigma, high=float("inf"), open_low=True, open_high=True)
        check_choice("norm", self.norm, ("linf", "l2"))
        for radius in self.radii:
            check_fraction("radius", radius, high=float("inf"), open_low=True, open_high=True)
        check_choice("sanity", self.sanity, ("quick", "full", "none"))
        for name in self.corruptions:
            check_choice("corruptions", name, ("all", *_IMAGES, *_TABLES))
        for name in self.attacks:
            attack_of(name, self.norm, 1.0)
        if self.rows is not None:
            check_count("rows", self.rows, low=1)
        if self.seed is not None:
            check_count("seed", self.seed, high=2**31)
        if self.draws is not None:
            check_count("draws", self.draws, low=1, high=1000)

    def completed(self, inputs: UnitRows) -> Plan:
        """Return the plan with all that follows from the inputs.

        Args:
            inputs: of the run.

        Returns:
            The plan, with radii and the names of corruptions.

        Raises:
            InputError: a corruption is not for such inputs.
        """
        plan, images = self, inputs.images
        if not (plan.noise or plan.uniform_noise or plan.corruptions or plan.attacks):
            plan = replace(plan, noise=_NOISE[images], attacks=("apgd-ce",))
        own = _IMAGES if images else _TABLES
        for name in plan.corruptions:
            if name not in ("all", *own):
                kind, is_of = ("images", "a table") if name in _IMAGES else ("tables", "images")
                raise InputError(
                    f"corruptions must be for the rows of the run, got {name!r}, which is for {kind}, and the rows are "
                    f"{is_of}: choose from {', '.join(own)}"
                )
        names = own if "all" in plan.corruptions else tuple(dict.fromkeys(plan.corruptions))
        radii = plan.radii
        if plan.attacks and not radii:
            channels = (3 if inputs.x.shape[1] == 3 else 1) if images else 0
            radii = _RADII[plan.norm, channels]
        return replace(plan, corruptions=names if plan.corruptions else (), radii=tuple(dict.fromkeys(radii)))

    def conditions(self) -> list[Condition]:
        """List the conditions under which each network is measured.

        Returns:
            The conditions, clean inputs first.
        """
        found = [Condition("clean")]
        found += [Condition("noise", "gaussian", "", float(sigma)) for sigma in self.noise]
        found += [Condition("noise", "uniform", "", float(sigma)) for sigma in self.uniform_noise]
        found += [
            Condition("corruption", name, "", float(severity))
            for name in self.corruptions
            for severity in corruptions.SEVERITIES
        ]
        found += [
            Condition("attack", name, self.norm, float(radius)) for name in self.attack_names for radius in self.radii
        ]
        return list(dict.fromkeys(found))

    @property
    def attack_names(self) -> tuple[str, ...]:
        """The attacks, each written in one way."""
        return tuple(dict.fromkeys(_name_of(attack_of(name, self.norm, 1.0)) for name in self.attacks))

    @property
    def checked_radius(self) -> float:
        """The radius at which attacks are checked, the smallest: where most is left to claim."""
        return min(self.radii)


def attack_of(name: str, norm: str, radius: float) -> attacks.Attack:
    """The attack of that name; `InputError` if the name holds norm or radius itself."""
    if any(part.strip().startswith(("norm", "radius")) for part in name.lower().partition(":")[2].split(",")):
        raise InputError(f"attack must leave norm and radius to their own options, got {name!r}")
    return attacks.parse(name, norm=norm, radius=radius)


def _name_of(attack: attacks.Attack) -> str:
    """The attack as a string, without norm and radius."""
    name, _, settings = attacks.text(attack).partition(":")
    kept = [part for part in settings.split(",") if not part.startswith(("radius=", "norm="))]
    return ":".join([name, ",".join(kept)]) if kept else name


def passes_of(attack: attacks.Attack) -> float:
    """About how many forward passes an attack takes for each row; backward ones count twice."""
    steps = getattr(attack, "queries", 0) or 3 * getattr(attack, "steps", 1)
    return float(steps * getattr(attack, "restarts", 1) * attack.expectation)
