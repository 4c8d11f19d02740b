"""Whether an accuracy under attack can be trusted: a strong network, or a weak attack?

The robust accuracy is an upper bound, the accuracy under the best attack that was tried. A network that hides its
gradients (by rounding, by hard gates, by saturation) looks robust to attacks that use them. The checks look for this.

===================  ==============================================================  ==================================
check                measured                                                        limit
===================  ==============================================================  ==================================
zero gradients       share of samples whose gradient is zero in all features         2 %
large radius         share still correct when the ball covers the box                2 %
gradient free        share that `Square` breaks and the attack does not              2 %
more steps           share that more steps and restarts break in addition            2 %
transfer             share that inputs for another network break in addition         2 %
straight through     share that gradients past hard gates break in addition          2 %
other loss           share that another loss breaks in addition                      5 %
===================  ==============================================================  ==================================

Shares are of the samples that are classified correctly without an attack. Two samples are within every limit. The
limits are ours: a long attack with other random starts moves the accuracy by one or two points as well.

References:
    Carlini, Athalye, Papernot, Brendel, Rauber, Tsipras, Goodfellow, Madry, Kurakin, "On evaluating adversarial
    robustness", arXiv 1902.06705, sections 3 to 5.
    Croce, Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks",
    ICML 2020, section 6.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gossamer.errors import InputError, check_choice
from gossamer.evaluate.attacks.apgd import APGD
from gossamer.evaluate.attacks.attack import Attack
from gossamer.evaluate.attacks.ball import Norm
from gossamer.evaluate.attacks.box import Box
from gossamer.evaluate.attacks.gates import has_gates
from gossamer.evaluate.attacks.pgd import PGD
from gossamer.evaluate.attacks.result import evaluate, transfer
from gossamer.evaluate.attacks.square import Square
from gossamer.evaluate.attacks.substitute import substitute
from gossamer.evaluate.attacks.victim import check_samples

__all__ = ["Check", "SanityReport", "sanity"]

_SAMPLES = 2  # that are within every limit
_IMITATED = 500  # samples from which a substitute learns

_CHECKS = {
    "zero gradients": (0.02, "the input gradient is exactly zero for {} of the samples"),
    "large radius": (0.02, "{} of the samples are still classified correctly when the attack may use the whole box"),
    "gradient free": (0.02, "a search without gradients breaks a further {} of the samples"),
    "more steps": (0.02, "more steps and restarts break a further {} of the samples"),
    "transfer": (0.02, "inputs made for another network break a further {} of the samples"),
    "straight through": (0.02, "gradients past the hard gates break a further {} of the samples"),
    "other loss": (0.05, "attacks with other losses break a further {} of the samples"),
}


@dataclass(frozen=True)
class _Budget:
    steps: int
    restarts: int
    more_steps: int
    more_restarts: int
    queries: int


_BUDGETS = {"quick": _Budget(100, 2, 200, 2, 300), "full": _Budget(200, 2, 500, 4, 2000)}


@dataclass(frozen=True)
class Check:
    """One check of a `SanityReport`.

    Args:
        name: as in the table of `gossamer.evaluate.attacks.sanity`.
        passed: whether ``measured`` is at most ``limit``.
        measured: a share of samples, in [0, 1].
        limit: the largest that passes.
        explanation: the measurement as a sentence.

    Example:
        >>> check = gs.evaluate.attacks.Check("large radius", True, 0.0, 0.02, "…")
        >>> check.passed
        True
    """

    name: str
    passed: bool
    measured: float
    limit: float
    explanation: str


@dataclass(frozen=True)
class SanityReport:
    """The checks of an accuracy under attack; as a string, whether it can be trusted, and if not, why.

    Args:
        checks: one after the other.
        clean_accuracy: share of the samples that are classified correctly without an attack.
        accuracy: share that is under all attacks at the radius together, those of the checks among them.
        samples: number of samples.

    Example:
        >>> check = gs.evaluate.attacks.Check("zero gradients", False, 1.0, 0.02, "100.0 % of the gradients are zero")
        >>> print(gs.evaluate.attacks.SanityReport([check], 0.9, 0.8, 100))
        not trustworthy: 100.0 % of the gradients are zero
    """

    checks: Sequence[Check]
    clean_accuracy: float
    accuracy: float
    samples: int

    @property
    def trustworthy(self) -> bool:
        """Whether all checks passed."""
        return all(check.passed for check in self.checks)

    def __str__(self) -> str:
        if self.trustworthy:
            return f"trustworthy: {len(self.checks)} of {len(self.checks)} checks passed"
        return "not trustworthy: " + "; ".join(check.explanation for check in self.checks if not check.passed)


def sanity(
    network: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    box: Box,
    radius: float,
    norm: Norm = "linf",
    generator: torch.Generator,
    budget: Literal["quick", "full"] = "quick",
    attack: Attack | None = None,
    source: nn.Module | None = None,
    batch_size: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> SanityReport:
    """Check whether the accuracy of a network under attack can be trusted.

    Args:
        network: returns logits (N, classes).
        x: samples (N, …), float32 or float64, finite. A few hundred are enough; with n samples, 2/n is within every
            limit.
        y: class numbers (N).
        box: finite range of the inputs.
        radius: r ≥ 0 at which the accuracy was measured.
        norm: of the ball, ``"linf"`` or ``"l2"``.
        generator: source of all random choices.
        budget: ``"quick"`` or ``"full"``. The default attacks have 2 times 100 steps, or 2 times 200. They are compared
            with 2 times 200 steps, or 4 times 500, and 300 queries of the search without gradients, or 2000.
        attack: the attack whose accuracy is judged, with the radius and the norm above. The default is two, `APGD` with
            the cross-entropy and with the difference of logits ratio.
        source: another network of the same classes, such as the dense twin, for the transfer attack. By default a
            network is trained to imitate this one.
        batch_size: samples attacked at a time, ≥ 1.
        progress: called with the numbers of checks done and of all checks.

    Returns:
        The checks. Those that look for samples which another attack breaks start from the samples that are left.

    Raises:
        InputError: an argument is invalid, or the network returns something else than finite logits.

    Example:
        >>> net, x = nn.Linear(4, 3), torch.rand(50, 4)
        >>> g, box = torch.Generator().manual_seed(0), gs.evaluate.attacks.Box(0, 1)
        >>> print(gs.evaluate.attacks.sanity(net, x, net(x).argmax(1), box=box, radius=0.05, generator=g))
        trustworthy: 5 of 5 checks passed

    References:
        Carlini and others, "On evaluating adversarial robustness", arXiv 1902.06705; Croce, Hein, ICML 2020.
    """
    x, y = check_samples(x, y)
    plan = _BUDGETS[check_choice("budget", budget, tuple(_BUDGETS))]
    kept = {} if attack is None else {name: getattr(attack, name) for name in ("expectation", "stochastic")}
    shared: dict[str, Any] = {"radius": radius, "norm": norm, **kept}
    pair = [APGD(steps=plan.steps, restarts=plan.restarts, loss=loss, **shared) for loss in ("ce", "dlr")]
    base = [*pair] if attack is None else [replace(attack, radius=radius, norm=norm)]
    whole = box.diameter(x, norm)
    if not math.isfinite(whole):
        raise InputError(f"box must be finite, for the check at a large radius, got {box!r}")

    trial = _Trial(network, x, y, box, generator, batch_size)
    further: dict[str, Callable[[], float]] = {}
    if not isinstance(attack, Square):
        further["zero gradients"] = lambda: zero_share
        further["gradient free"] = lambda: trial.breaks([Square(queries=plan.queries, **shared)])
    further["large radius"] = lambda: trial.resist([_wider(each, whole) for each in base])
    further["more steps"] = lambda: trial.breaks([_longer(each, plan) for each in base])
    further["transfer"] = lambda: trial.breaks(pair, trial.substitute(norm, radius) if source is None else source)
    if has_gates(network) and not isinstance(attack, Square):
        further["straight through"] = lambda: trial.breaks([replace(each, straight_through=True) for each in base])
    if attack is not None:
        further["other loss"] = lambda: trial.breaks(pair)

    zero_share = trial.start(base)
    checks: list[Check] = []
    for name, measure in further.items():
        limit, sentence = _CHECKS[name]
        measured, limit = measure(), max(limit, _SAMPLES / max(1, trial.count))
        checks.append(Check(name, measured <= limit, measured, limit, sentence.format(f"{100 * measured:.1f} %")))
        if progress is not None:
            progress(len(checks), len(further))
    return SanityReport(tuple(checks), trial.count / len(x), float(trial.unbroken.double().mean()), len(x))


class _Trial:
    """Samples on which attacks follow one another."""

    def __init__(
        self, network: nn.Module, x: Tensor, y: Tensor, box: Box, generator: torch.Generator, batch_size: int
    ) -> None:
        self.network, self.x, self.y = network, x, y
        self.settings: dict[str, Any] = {"box": box, "generator": generator, "batch_size": batch_size}
        self.clean = self.left = self.unbroken = torch.ones_like(y, dtype=torch.bool)
        self.count = 0

    def start(self, attacks: Sequence[Attack]) -> float:
        """Attack all samples; returns the smallest share of gradients that are zero."""
        share = 1.0
        for attack in attacks:
            result = evaluate(self.network, self.x, self.y, attack, **self.settings)
            share = min(share, result.gradient_zero_share)
            self.clean, self.left = result.clean, self.left & result.correct
        self.unbroken, self.count = self.left, int(self.clean.sum())
        return share

    def breaks(self, attacks: Sequence[Attack], source: nn.Module | None = None) -> float:
        """The share of samples that attacks break in addition."""
        resistant = self._after(attacks, self.left, source)
        self.unbroken = self.unbroken & resistant
        return int((self.left & ~resistant).sum()) / max(1, self.count)

    def resist(self, attacks: Sequence[Attack]) -> float:
        """The share of samples that attacks leave correct."""
        return int(self._after(attacks, self.clean).sum()) / max(1, self.count)

    def substitute(self, norm: Norm, radius: float) -> nn.Module:
        """A network that imitates the attacked one."""
        chosen = slice(0, _IMITATED)
        box, generator = self.settings["box"], self.settings["generator"]
        return substitute(self.network, self.x[chosen], box=box, norm=norm, radius=radius, generator=generator)

    def _after(self, attacks: Sequence[Attack], left: Tensor, source: nn.Module | None = None) -> Tensor:
        """Which of the samples ``left`` are classified correctly after the attacks."""
        left = left.clone()
        for attack in attacks:
            if bool(left.any()):
                chosen = self.x[left], self.y[left], attack
                found = transfer(self.network if source is None else source, self.network, *chosen, **self.settings)
                left[left.clone()] = found.correct
        return left


def _wider(attack: Attack, radius: float) -> Attack:
    """The attack with another radius, and steps that suit it."""
    attack = replace(attack, step_size=None) if isinstance(attack, PGD) else attack
    return replace(attack, radius=radius)


def _longer(attack: Attack, plan: _Budget) -> Attack:
    """The attack with more steps and restarts, or more queries."""
    if isinstance(attack, PGD | APGD):
        restarts = max(plan.more_restarts, attack.restarts)
        return replace(attack, steps=max(plan.more_steps, 2 * attack.steps), restarts=restarts)
    if isinstance(attack, Square):
        return replace(attack, queries=4 * attack.queries)
    shared = {field.name: getattr(attack, field.name) for field in fields(Attack)}
    return PGD(steps=plan.more_steps, restarts=plan.more_restarts, **shared)
