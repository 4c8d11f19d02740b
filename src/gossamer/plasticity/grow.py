"""Grow rules: which empty positions a rewiring step fills.

============================  ======================================================  ==================================
rule                          empty positions to fill                                 source
============================  ======================================================  ==================================
`uniform`                     uniformly at random                                     SET, Mocanu et al. 2018
`cosine`                      largest similarity C of the two units                   CoDASET, arXiv 1903.07138v1
`cosine_proportional`         at random, weight C, without replacement                CoPASET, arXiv 1903.07138v1
`gradient`                    largest |∂L/∂W|                                         RigL, Evci et al. 2020
`momentum`                    largest momentum of ∂L/∂W                               Dettmers & Zettlemoyer 2019
`sequential`                  one rule until validation stops improving, then another CTRE, Atashgahi et al. 2022
`none`                        none: the network shrinks                               pruning
============================  ======================================================  ==================================

A rule proposes positions of positive score (see `proposals`); where they are too few, the rest are drawn uniformly from
the other empty positions, so the number of connections never changes. Of equal scores the lowest flat index, out · n_in
+ in, comes first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from gossamer.errors import InputError, check_count
from gossamer.kernels import merge
from gossamer.plasticity.evidence import Evidence, Statistic
from gossamer.plasticity.flat_indices import EmptyIndices
from gossamer.plasticity.gradient import LossGradient
from gossamer.plasticity.proposals import at_random, highest, in_proportion, nowhere
from gossamer.plasticity.similarity import Activation, Cosine

__all__ = ["Grow", "cosine", "cosine_proportional", "gradient", "momentum", "none", "sequential", "uniform"]


@dataclass(frozen=True)
class Grow:
    """A grow rule: ``propose(evidence, empty, count)`` are at most ``count`` distinct empty positions, ascending.

    Attributes:
        name: for messages.
        propose: from the evidence of a layer, its empty positions and a count to flat indices.
        needs: statistics that the proposal reads.
        exclude_removed: take positions that the same step has emptied only if there are not enough others.
        grows: False if no position is filled, so that the number of connections falls.

    Example:
        >>> gs.grow.uniform().name
        'uniform'
    """

    name: str
    propose: Callable[[Evidence, EmptyIndices, int], Tensor]
    needs: tuple[Statistic, ...] = ()
    exclude_removed: bool = False
    grows: bool = True

    def at(self, scores: Sequence[float]) -> Grow:
        """Return the rule in force after some validations: this one.

        Args:
            scores: all validation scores so far.

        Returns:
            This rule.
        """
        return self

    def __call__(self, evidence: Evidence, kept: Tensor, dropped: Tensor, count: int) -> Tensor:
        """Return the positions to fill, (count) ascending, given those that stay and those that were just dropped."""
        everywhere = EmptyIndices(kept, evidence.layer.out_features * evidence.layer.in_features)
        elsewhere = everywhere.without(dropped) if self.exclude_removed else everywhere
        grown = self.propose(evidence, elsewhere, min(count, elsewhere.count))
        for empty in (elsewhere, everywhere):
            if grown.numel() < count:
                left = empty.without(grown)
                more = left.sample(min(count - grown.numel(), left.count), evidence.generator)
                grown = merge(grown, more)[0]
        return grown


@dataclass(frozen=True)
class Sequential:
    """The rule ``first`` until ``patience`` validations in a row had no new best score, and ``then`` afterwards.

    Attributes:
        first: the rule at the start.
        then: the rule after that.
        patience: number of validations without a new best, ≥ 1.

    Example:
        >>> rule = gs.grow.sequential(gs.grow.cosine(), patience=2)
        >>> rule.at([0.5, 0.4]).name, rule.at([0.5, 0.4, 0.5]).name
        ('cosine', 'uniform')
    """

    first: Grow
    then: Grow
    patience: int

    @property
    def name(self) -> str:
        """The names of both rules."""
        return f"sequential({self.first.name}, {self.then.name})"

    @property
    def needs(self) -> tuple[Statistic, ...]:
        """The statistics that either rule needs."""
        return self.first.needs + self.then.needs

    def at(self, scores: Sequence[float]) -> Grow:
        """Return the rule in force after some validations.

        Args:
            scores: all validation scores so far, higher is better.

        Returns:
            ``first`` or ``then``.

        Raises:
            InputError: there are no scores.
        """
        if not scores:
            raise InputError("sequential growth needs the score of validation: step(score=…)")
        best, waited = -math.inf, 0
        for score in scores:
            best, waited = (score, 0) if score > best else (best, waited + 1)
            if waited >= self.patience:
                return self.then
        return self.first


# ---- the rules -----------------------------------------------------------------------------------------------------


def uniform(*, exclude_removed: bool = False) -> Grow:
    """Grow at empty positions drawn uniformly (SET), in O(nnz) time and memory.

    Args:
        exclude_removed: take positions that the same step has emptied only if there are not enough others.

    Returns:
        The rule.

    Example:
        >>> net = gs.SparseLinear(10, 5, density=0.4)
        >>> (change,) = gs.Rewire(net, grow=gs.grow.uniform(exclude_removed=True)).step()
        >>> bool(torch.isin(change.grown, change.dropped).any())
        False

    References:
        Mocanu et al., Nature Communications 9:2383 (2018).
    """
    return Grow("uniform", at_random, (), exclude_removed)


def cosine(activation: Activation = "pre", *, absolute: bool = True, exclude_removed: bool = False) -> Grow:
    """Grow between the units that respond most alike (CoDASET).

    Args:
        activation: ``"pre"`` or ``"post"``, the activations that C compares; see `gossamer.plasticity.similarity`.
        absolute: whether opposite units count as alike.
        exclude_removed: take positions that the same step has emptied only if there are not enough others.

    Returns:
        The rule.

    Example:
        >>> net = gs.SparseLinear(10, 5, density=0.4)
        >>> (change,) = gs.Rewire(net, grow=gs.grow.cosine(), inputs=torch.randn(100, 10)).step()
        >>> len(change.grown) == len(change.dropped)
        True

    References:
        Pieterse, Mocanu, arXiv 1903.07138v1 (2019).
    """
    statistic = Cosine(activation, absolute)
    return Grow("cosine", partial(highest, statistic=statistic), (statistic,), exclude_removed)


def cosine_proportional(
    activation: Activation = "pre", *, absolute: bool = True, exclude_removed: bool = False, tries: int = 20
) -> Grow:
    """Grow at positions drawn without replacement, each with probability proportional to C (CoPASET).

    Uniform empty positions are accepted with probability C. If ``tries`` of them for each new connection don't suffice,
    all positions get a key E / C, with E from the unit exponential distribution, and the smallest keys win: the same
    law.

    Args:
        activation: ``"pre"`` or ``"post"``, the activations that C compares; see `gossamer.plasticity.similarity`.
        absolute: whether opposite units count as alike.
        exclude_removed: take positions that the same step has emptied only if there are not enough others.
        tries: proposals for each new connection, ≥ 0.

    Returns:
        The rule.

    Raises:
        InputError: ``activation`` or ``tries`` is outside its range.

    Example:
        >>> gs.grow.cosine_proportional().name
        'cosine_proportional'

    References:
        Pieterse, Mocanu, arXiv 1903.07138v1 (2019).
    """
    statistic = Cosine(activation, absolute)
    propose = partial(in_proportion, statistic=statistic, tries=check_count("tries", tries))
    return Grow("cosine_proportional", propose, (statistic,), exclude_removed)


def gradient(*, exclude_removed: bool = False) -> Grow:
    """Grow where the loss falls fastest, by |∂L/∂W| of the last training pass, summed over ranks (RigL).

    Call ``step()`` after ``backward()``; Evci et al. do it instead of the optimizer's step.

    Args:
        exclude_removed: take positions that the same step has emptied only if there are not enough others.

    Returns:
        The rule.

    Example:
        >>> net = gs.SparseLinear(10, 5, density=0.4)
        >>> rewire = gs.Rewire(net, grow=gs.grow.gradient())
        >>> net(torch.randn(8, 10)).square().sum().backward()
        >>> (change,) = rewire.step()
        >>> len(change.grown) == len(change.dropped)
        True

    References:
        Evci et al., "Rigging the lottery: making all tickets winners", ICML 2020, equation 1.
    """
    statistic = LossGradient()
    return Grow("gradient", partial(highest, statistic=statistic), (statistic,), exclude_removed)


def momentum(decay: float = 0.9, window: int = 32, *, exclude_removed: bool = False) -> Grow:
    """Grow as `gradient`, with a momentum of gradients, truncated after ``window`` training passes.

    Args:
        decay: weight of each pass relative to the one after it, in (0, 1].
        window: number of passes, ≥ 1.
        exclude_removed: take positions that the same step has emptied only if there are not enough others.

    Returns:
        The rule.

    Raises:
        InputError: ``decay`` or ``window`` is outside its range.

    Example:
        >>> gs.grow.momentum(0.9, window=16).name
        'momentum'

    References:
        Dettmers, Zettlemoyer, "Sparse networks from scratch: faster training without losing performance", arXiv
        1907.04840 (2019).
    """
    statistic = LossGradient(window, decay)
    return Grow("momentum", partial(highest, statistic=statistic), (statistic,), exclude_removed)


def sequential(first: Grow, then: Grow | None = None, *, patience: int = 40) -> Sequential:
    """Grow by ``first`` until ``step(score=…)`` had ``patience`` scores without a new best, then by ``then`` (CTRE).

    Args:
        first: the rule at the start.
        then: the rule after that (default `uniform`).
        patience: number of scores in a row without a new best, ≥ 1.

    Returns:
        The rule.

    Raises:
        InputError: ``patience`` is less than 1.

    Example:
        >>> rule = gs.grow.sequential(gs.grow.cosine(), patience=2)
        >>> rule.at([0.5, 0.4]).name, rule.at([0.5, 0.4, 0.5]).name
        ('cosine', 'uniform')

    References:
        Atashgahi et al., Machine Learning (2022), arXiv 1903.07138 (CTRE).
    """
    return Sequential(first, uniform() if then is None else then, check_count("patience", patience, low=1))


def none() -> Grow:
    """No growth: a step drops connections for good, and weights, optimizer state and pattern shrink.

    Layers of density 1 take part too. Not inside DistributedDataParallel, whose buffers have fixed lengths.

    Returns:
        The rule.

    Example:
        >>> layer = gs.SparseLinear(100, 10, density=0.5, generator=torch.Generator().manual_seed(0))
        >>> _ = gs.Rewire(layer, drop=gs.drop.magnitude(0.2), grow=gs.grow.none()).step()
        >>> layer.nnz
        400
    """
    return Grow("none", nowhere, grows=False)
