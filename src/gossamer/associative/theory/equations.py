"""The replica-symmetric equations as one system that is regular at zero robustness.

Unknowns of each point, in this order: ρ = log r with r = (u₊ + u₋)/κ̃ = √(2/q), z, η, λ = log Q, κ̃ and, for l0, the
cut x. The field of input i and sign s is a = −s F_i z − η/(2σ_i), with σ_i² = f_i (1 − f_i) and F_i = f_i/σ_i. With
⟨·⟩ the sum over sites, each weighted by the share of inputs that it stands for, and the moments of
`gossamer.associative.theory.moments`:

    (l1)          log ⟨m₁/σ⟩ = log 2Q
    (mean input)  ⟨F s m₁⟩ / ⟨m₁/σ⟩ = h̃
    (variance)    log ⟨m₂⟩ = 2 log(2Q/r)
    (work)        ⟨R⟩/Q = 2 h̃ z + η − 2κ̃ (Q/r) F̄/Ē
    (l0)          log ⟨P⟩ = log p
    α_c = (D̄/Ē²) (2Q/r)²

where F̄, Ē, D̄ are the averages of `outputs` at U = κ̃ r. One more equation sets either κ̃, or log α_c where the load is
given and the robustness wanted. Dividing u₊ + u₋ by κ̃ removes the singularity of the usual form at κ̃ = 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gossamer.associative.theory.moments import Moments, gap_moments, l0_moments
from gossamer.associative.theory.outputs import Outputs, outputs
from gossamer.associative.theory.special import Floats

__all__ = ["EQUATIONS", "RHO", "System"]

EQUATIONS = ("l1 norm", "mean input", "variance", "work", "robustness or load", "density")
"""What the residuals are about, in the order of the system."""

RHO, Z, ETA, LAMBDA, KAPPA, CUT = range(6)
_LARGEST = 50.0


@dataclass(frozen=True, eq=False)
class System:
    """The equations of B points at once; n inputs (or classes of equal inputs) with 2 signs each.

    Args:
        f: f_i, (B, n).
        share: the fraction of all weights that a site stands for, (B, n, 2), index 0 for s = +1 and 1 for s = −1: for
            free signs both carry the share of their input, else they add up to it.
        threshold: h̃, (B,).
        f_out: (B,).
        target: κ̃, or log α_c where ``by_load``, (B,).
        by_load: which of the two ``target`` is.
        density: log p, (B,), with the cut x as unknown; None without l0.
        gap: δ̃, (B,).
    """

    f: Floats
    share: Floats
    threshold: Floats
    f_out: Floats
    target: Floats
    by_load: bool
    density: Floats | None
    gap: Floats

    @property
    def size(self) -> int:
        """How many unknowns a point has."""
        return 5 if self.density is None else 6

    def at(self, points: NDArray[np.intp] | NDArray[np.bool_]) -> System:
        """The system of some of the points."""
        density = None if self.density is None else self.density[points]
        return replace(
            self,
            f=self.f[points],
            share=self.share[points],
            threshold=self.threshold[points],
            f_out=self.f_out[points],
            target=self.target[points],
            density=density,
            gap=self.gap[points],
        )

    def fields(self, unknowns: Floats) -> Floats:
        """a, (B, n, 2)."""
        sigma = np.sqrt(self.f * (1 - self.f))
        mean = (self.f / sigma * unknowns[:, Z, None])[..., None] * np.array([-1.0, 1.0])
        result: Floats = mean - (unknowns[:, ETA, None] / (2 * sigma))[..., None]
        return result

    def moments(self, unknowns: Floats) -> tuple[Moments, Moments, Moments]:
        """The moments at each site, their derivatives by a, and those by λ (gap) or x (l0)."""
        a = self.fields(unknowns)
        if self.density is not None:
            return l0_moments(a, unknowns[:, CUT, None, None])
        sigma = np.sqrt(self.f * (1 - self.f))
        y = (self.gap * np.exp(unknowns[:, LAMBDA]))[:, None, None] * sigma[..., None]
        value, by_a, by_y = gap_moments(a, y)
        return value, by_a, Moments(*(y * part for part in by_y))

    def outputs(self, unknowns: Floats) -> Outputs:
        """The averages over the targets, (B,) each."""
        return outputs(np.exp(np.minimum(unknowns[:, RHO], _LARGEST)) * unknowns[:, KAPPA], self.f_out)

    def log_capacity(self, unknowns: Floats) -> Floats:
        """Return log α_c, (B,)."""
        ratio = self.outputs(unknowns).log_ratio
        result: Floats = ratio + 2 * (np.log(2) + unknowns[:, LAMBDA] - unknowns[:, RHO])
        return result

    def residuals(self, unknowns: Floats) -> tuple[Floats, Floats]:
        """The left sides less the right sides, (B, size), and their Jacobian, (B, size, size).

        Where the unknowns are so far off that a function isn't finite, neither is the residual.
        """
        with np.errstate(all="ignore"):
            return self._residuals(unknowns)

    def _residuals(self, unknowns: Floats) -> tuple[Floats, Floats]:
        count, size = len(unknowns), self.size
        rho, z, eta, lam, kappa = (unknowns[:, i] for i in range(5))
        sigma = np.sqrt(self.f * (1 - self.f))
        inverse, ratio = 1 / sigma, self.f / sigma
        scale = inverse.mean(1)
        sign = np.array([1.0, -1.0])
        value, by_a, by_last = self.moments(unknowns)
        l1_weight = self.share * inverse[..., None]
        mean_weight = self.share * ratio[..., None] * sign
        last = LAMBDA if self.density is None else CUT

        def total(weight: Floats, part: Floats) -> Floats:
            result: Floats = np.einsum("bns,bns->b", weight, part)
            return result

        def slopes(weight: Floats, by_field: Floats, by_other: Floats) -> dict[int, Floats]:
            return {
                Z: -total(weight * ratio[..., None] * sign, by_field),
                ETA: -total(weight * inverse[..., None], by_field) / 2,
                last: total(weight, by_other),
            }

        result, jacobian = np.zeros((count, size)), np.zeros((count, size, size))
        l1, mean = total(l1_weight, value.m1), total(mean_weight, value.m1)
        variance, work = total(self.share, value.m2), total(self.share, value.R)
        l1_slopes = slopes(l1_weight, by_a.m1, by_last.m1)
        mean_slopes = slopes(mean_weight, by_a.m1, by_last.m1)
        Q = np.exp(lam)

        result[:, 0] = np.log(l1) - np.log(2) - lam
        for i, slope in l1_slopes.items():
            jacobian[:, 0, i] += slope / l1
        jacobian[:, 0, LAMBDA] -= 1

        result[:, 1] = mean / l1 - self.threshold
        for i, slope in mean_slopes.items():
            jacobian[:, 1, i] += (slope - mean / l1 * l1_slopes[i]) / l1

        result[:, 2] = np.log(variance) - 2 * (np.log(2) + lam - rho)
        for i, slope in slopes(self.share, by_a.m2, by_last.m2).items():
            jacobian[:, 2, i] += slope / variance
        jacobian[:, 2, LAMBDA] -= 2
        jacobian[:, 2, RHO] += 2

        targets = self.outputs(unknowns)
        r = np.exp(rho)
        pull = 2 * kappa * Q / r * targets.tail
        pull_slope = 2 * kappa * Q / r * targets.tail_slope
        result[:, 3] = (work / Q - 2 * self.threshold * z - eta + pull) * scale
        for i, slope in slopes(self.share, by_a.R, by_last.R).items():
            jacobian[:, 3, i] += slope / Q
        jacobian[:, 3, LAMBDA] += pull - work / Q
        jacobian[:, 3, Z] -= 2 * self.threshold
        jacobian[:, 3, ETA] -= 1
        jacobian[:, 3, RHO] += pull_slope * kappa * r - pull
        jacobian[:, 3, KAPPA] += 2 * Q / r * targets.tail + pull_slope * r
        jacobian[:, 3] *= scale[:, None]

        if self.by_load:
            result[:, 4] = targets.log_ratio + 2 * (np.log(2) + lam - rho) - self.target
            jacobian[:, 4, LAMBDA] = 2
            jacobian[:, 4, RHO] = targets.log_ratio_slope * kappa * r - 2
            jacobian[:, 4, KAPPA] = targets.log_ratio_slope * r
        else:
            result[:, 4] = kappa - self.target
            jacobian[:, 4, KAPPA] = 1

        if self.density is not None:
            connected = total(self.share, value.P)
            result[:, 5] = np.log(connected) - self.density
            for i, slope in slopes(self.share, by_a.P, by_last.P).items():
                jacobian[:, 5, i] += slope / connected
        return result, jacobian
