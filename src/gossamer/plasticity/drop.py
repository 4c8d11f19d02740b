"""Drop rules: which connections a rewiring step removes.

A rule gives every connection an importance I, and a way to pick:

*of each sign*   of the positive I the ⌊ζ n₊⌋ smallest, of the negative I the ⌊ζ n₋⌋ nearest zero, and all exact zeros;
*smallest*       the ⌊ζ n⌋ smallest I.

ζ is the ``fraction``: a number in [0, 1] or a schedule, a function from the step 0, 1, … to one. Of equal I the lowest
flat index, out · n_in + in, goes first.

====================  ===================  ============  =============================================================
rule                  importance I         pick          source
====================  ===================  ============  =============================================================
`signed_magnitude`    W                    of each sign  SET, Mocanu et al. 2018
`magnitude_cosine`    W C, C the cosine    of each sign  CoRSET and relatives, Pieterse & Mocanu, arXiv 1903.07138v1
`magnitude`           |W|                  smallest      RigL, Evci et al. 2020; CTRE, Atashgahi et al. 2022
`sensitivity`         |W ∂L/∂W|            smallest      first-order change of the loss (as SNIP, Lee et al. 2019)
`gap`                 |W|                  I < δ         weak connections of Baig & Stepanyants 2024 (some kicked)
`random`, `largest`   –, −|W|              smallest      controls, to compare selection by magnitude with
====================  ===================  ============  =============================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from gossamer.connectivity.constraints import Gap
from gossamer.errors import InputError, check_fraction
from gossamer.plasticity.evidence import Evidence, Statistic
from gossamer.plasticity.flat_indices import share, smallest, smallest_of_each_sign
from gossamer.plasticity.schedule import Fraction
from gossamer.plasticity.similarity import Activation, Cosine

__all__ = ["Drop", "gap", "largest", "magnitude", "magnitude_cosine", "random", "sensitivity", "signed_magnitude"]

Pick = Callable[[Tensor, float], Tensor]


@dataclass(frozen=True)
class Drop:
    """A drop rule: ``pick(importance(evidence), fraction)`` is True for the connections to remove.

    Attributes:
        name: of the importance, for messages.
        fraction: ζ in [0, 1], or a schedule; the width of the gap in `gap`.
        importance: from the evidence of a layer to (nnz) numbers.
        pick: from importances and ζ to (nnz) bool.
        needs: statistics that the importance reads.
        kick: ``kick(evidence, to_drop, fraction)`` are (nnz) the weights after the step; None leaves them unchanged.
        limit: bound of ``fraction``.

    Example:
        >>> gs.drop.magnitude(0.3).fraction
        0.3
    """

    name: str
    fraction: Fraction
    importance: Callable[[Evidence], Tensor]
    pick: Pick
    needs: tuple[Statistic, ...] = ()
    kick: Callable[[Evidence, Tensor, float], Tensor] | None = None
    limit: float = 1.0

    def __post_init__(self) -> None:
        if not callable(self.fraction):
            self.fraction_at(0)

    def fraction_at(self, step: int) -> float:
        """Return the value of ``fraction`` at a step.

        Args:
            step: t = 0, 1, 2, ….

        Returns:
            The number, in [0, ``limit``].
        """
        value = self.fraction(step) if callable(self.fraction) else self.fraction
        if self.limit == 1:
            return check_fraction("fraction", value)
        return check_fraction("width", value, high=self.limit, open_high=True)

    def __call__(self, evidence: Evidence, step: int) -> Tensor:
        """Mark the connections to remove, (nnz) bool."""
        importance = self.importance(evidence)
        if bool(importance.isnan().any()):
            raise InputError(f"{self.name} of layer {evidence.name!r} must be numbers, got NaN")
        return self.pick(importance, self.fraction_at(step))


def _smallest_share(importance: Tensor, fraction: float) -> Tensor:
    return smallest(importance, share(fraction, importance.numel()))


def _weight(e: Evidence) -> Tensor:
    return e.values


def _magnitude(e: Evidence) -> Tensor:
    return e.values.abs()


def _weight_times_cosine(e: Evidence, statistic: Cosine) -> Tensor:
    return e.values * e.statistics[statistic].connections(e.structure)


def _minus_magnitude(e: Evidence) -> Tensor:
    return -e.values.abs()


def _sensitivity(e: Evidence) -> Tensor:
    return (e.values * e.gradient).abs_()


def _chance(e: Evidence) -> Tensor:
    return torch.rand(e.values.shape, generator=e.generator, dtype=torch.float64).to(e.values.device)


def _weakness(e: Evidence, spared: float) -> Tensor:
    magnitude = e.values.abs()
    if spared:
        magnitude[(_chance(e) < spared) & (magnitude > 0)] = math.inf
    return magnitude


def _below(importance: Tensor, width: float) -> Tensor:
    return (importance < width) | (importance == 0)


def _over_the_gap(e: Evidence, to_drop: Tensor, width: float, *, flipped: float) -> Tensor:
    """The weights, with survivors inside the gap moved to its edges, the share ``flipped`` to the opposite one."""
    values = e.values.clone()
    weak = ((values.abs() < width) & ~to_drop).nonzero().flatten()
    turn = torch.rand(weak.shape, generator=e.generator, dtype=torch.float64).to(values.device) < flipped
    edge = Gap(width).edge(values.dtype) if width else 0.0
    values[weak] = torch.copysign(torch.full_like(values[weak], edge), torch.where(turn, -values[weak], values[weak]))
    return values


def signed_magnitude(fraction: Fraction) -> Drop:
    """Drop the share ``fraction`` nearest zero of the positive and of the negative weights, and all zeros (SET).

    Args:
        fraction: ζ in [0, 1], or a schedule.

    Returns:
        The rule.

    Example:
        >>> net = gs.SparseLinear(10, 5, density=0.4)
        >>> _ = net.weight_values.data.copy_(torch.linspace(-1, 1, 20))
        >>> (change,) = gs.Rewire(net, drop=gs.drop.signed_magnitude(0.3)).step()
        >>> len(change.dropped)
        6

    References:
        Mocanu et al., Nature Communications 9:2383 (2018).
    """
    return Drop("signed_magnitude", fraction, _weight, smallest_of_each_sign)


def magnitude_cosine(fraction: Fraction, activation: Activation = "pre", *, absolute: bool = True) -> Drop:
    """Drop as `signed_magnitude`, by weight · C: connections that are weak, or whose two units respond unlike (CoR).

    C in [0, 1] is measured on the connections only; see `gossamer.plasticity.similarity` for its definition.

    Args:
        fraction: ζ in [0, 1], or a schedule.
        activation: ``"pre"`` or ``"post"``, the activations that C compares.
        absolute: whether opposite units count as alike.

    Returns:
        The rule.

    Example:
        >>> gs.drop.magnitude_cosine(0.3).needs
        (Cosine(activation='pre', absolute=True),)

    References:
        Pieterse, Mocanu, "Evolving and understanding sparse deep neural networks using cosine similarity", arXiv
        1903.07138v1 (2019).
    """
    statistic = Cosine(activation, absolute)
    importance = partial(_weight_times_cosine, statistic=statistic)
    return Drop("magnitude_cosine", fraction, importance, smallest_of_each_sign, (statistic,))


def magnitude(fraction: Fraction) -> Drop:
    """Drop the share ``fraction`` of all connections with the smallest |weight|.

    Args:
        fraction: ζ in [0, 1], or a schedule.

    Returns:
        The rule.

    Example:
        >>> net = gs.SparseLinear(10, 5, density=0.4)
        >>> (change,) = gs.Rewire(net, drop=gs.drop.magnitude(0.25)).step()
        >>> len(change.dropped)
        5

    References:
        Evci et al., "Rigging the lottery: making all tickets winners", ICML 2020.
    """
    return Drop("magnitude", fraction, _magnitude, _smallest_share)


def sensitivity(fraction: Fraction) -> Drop:
    """Drop the share ``fraction`` with the smallest |weight · gradient|, the first-order change of the loss.

    The rule reads ``weight_values.grad``: step between ``backward()`` and ``zero_grad()``.

    Args:
        fraction: ζ in [0, 1], or a schedule.

    Returns:
        The rule.

    Example:
        >>> net = gs.SparseLinear(10, 5, density=0.4)
        >>> net(torch.randn(8, 10)).square().sum().backward()
        >>> (change,) = gs.Rewire(net, drop=gs.drop.sensitivity(0.25)).step()
        >>> len(change.dropped)
        5

    References:
        Lee, Ajanthan, Torr, "SNIP: single-shot network pruning based on connection sensitivity", ICLR 2019.
    """
    return Drop("sensitivity", fraction, _sensitivity, _smallest_share)


def gap(width: Fraction, *, kept: float = 0.0, flipped: float = 0.0) -> Drop:
    """Every connection with 0 < |w| < δ is eliminated, or moved over the gap; those of weight 0 go as well.

    For each connection inside the gap independently,

        w ← δ sign(w) with probability ``kept``, −δ sign(w) with probability ``flipped``, dropped otherwise,

    so after the step every weight that is stored has |w| ≥ δ, rounded up in the dtype of the weights. With
    `gossamer.grow.none` a network finds its sparsity itself: connections that training makes weak are eliminated, and
    the storage shrinks with them. With any other rule of growth their number stays the same.

    Args:
        width: δ, finite and ≥ 0, or a schedule, a function from the step 0, 1, … to δ, by which the gap opens while
            the network learns. With 0 only connections of weight 0 are dropped.
        kept: in [0, 1]; 0.02 in the online rule of Baig & Stepanyants.
        flipped: in [0, 1 − kept]; 0.02 there.

    Returns:
        The rule, for `gossamer.Rewire`.

    Raises:
        InputError: an argument outside its range.

    Example:
        >>> import torch
        >>> import gossamer as gs
        >>> layer = gs.SparseLinear(100, 10, density=0.5, generator=torch.Generator().manual_seed(0))
        >>> rewire = gs.Rewire(layer, drop=gs.drop.gap(0.1, kept=0.02, flipped=0.02), grow=gs.grow.none())
        >>> _ = rewire.step()
        >>> layer.nnz < 500, bool((layer.weight_values.abs() >= 0.1).all())
        (True, True)

    References:
        M. M. Junaid Baig, A. Stepanyants, "Sparse learning enabled by constraints on connectivity and function", arXiv
        2409.04946, 2024: the third part of a step of the online rule.
    """
    spared = check_fraction("kept", kept) + check_fraction("flipped", flipped)
    if spared > 1:
        raise InputError(f"kept + flipped must be at most 1, got {kept!r} + {flipped!r}")
    kick = partial(_over_the_gap, flipped=flipped / spared) if spared else None
    return Drop("gap", width, partial(_weakness, spared=spared), _below, kick=kick, limit=math.inf)


def random(fraction: Fraction) -> Drop:
    """Drop the share ``fraction``, chosen at random: a control.

    Args:
        fraction: ζ in [0, 1], or a schedule.

    Returns:
        The rule.

    Example:
        >>> gs.drop.random(0.3).fraction
        0.3
    """
    return Drop("random", fraction, _chance, _smallest_share)


def largest(fraction: Fraction) -> Drop:
    """Drop the share ``fraction`` with the largest |weight|: a control.

    Args:
        fraction: ζ in [0, 1], or a schedule.

    Returns:
        The rule.

    Example:
        >>> gs.drop.largest(0.3).fraction
        0.3
    """
    return Drop("largest", fraction, _minus_magnitude, _smallest_share)
