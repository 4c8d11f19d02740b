"""Results of the replica theory: the numbers of a curve, and its order parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.associative.theory.special import Floats

__all__ = ["Solution"]


@dataclass(frozen=True, eq=False)
class Solution:
    """The replica-symmetric solution at each point of a curve; all arrays have the broadcast shape of the parameters.

    The order parameters u₊, u₋, z, η, Q and x are those of the equations in the paper's supplement.

    Attributes:
        load: α_c, the capacity: the largest m/N.
        robustness: κ̃, the largest at that load.
        density: the fraction of non-zero weights, 1 − S with the sparsity S of the paper.
        margin: the fraction of associations that are stored exactly at the margin, s (J·X − h) = κ.
        variance: q = ⟨f_i (1 − f_i) J̃_i²⟩.
        binding: False where a density was asked for that l1 (with the signs) already falls short of. Such a point has
            no cut; its solution is that of l1.
        threshold: h̃.
        f_out: the probability of y = 1.
        gap: δ̃, 0 without a gap.
        u_plus: u₊.
        u_minus: u₋.
        z: z.
        eta: η.
        Q: Q.
        cut: x, 0 without l0.
        f: f_i of the classes of inputs, shape + (n,).
        share: the fraction of all inputs of each class that may have a positive (index 0) or a negative weight (1),
            shape + (n, 2). With free signs both hold the whole fraction of the class.
        free_signs: whether weights may have either sign.

    Example:
        >>> from gossamer.associative.theory import capacity
        >>> capacity([0.0, 0.5]).shape
        (2,)

    References:
        M. M. J. Baig, A. Stepanyants, "Sparse learning enabled by constraints on connectivity and function", arXiv
        2409.04946.
    """

    load: Floats
    robustness: Floats
    density: Floats
    margin: Floats
    variance: Floats
    binding: NDArray[np.bool_]
    threshold: Floats
    f_out: Floats
    gap: Floats
    u_plus: Floats
    u_minus: Floats
    z: Floats
    eta: Floats
    Q: Floats
    cut: Floats
    f: Floats
    share: Floats
    free_signs: bool

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the curve; () for one point."""
        return self.load.shape

    def __getitem__(self, index: Any) -> Solution:
        """The solution at some points of the curve."""
        values: dict[str, Any] = {
            name: np.asarray(value[index])
            for name, value in vars(self).items()
            if name not in ("f", "share", "free_signs")
        }
        ends = {"f": 1, "share": 2}
        kept: dict[str, Any] = {
            name: np.asarray(value[(*(index if isinstance(index, tuple) else (index,)), ..., *[slice(None)] * n)])
            for name, n in ends.items()
            for value in [getattr(self, name)]
        }
        return replace(self, **values, **kept)

    def fields(self) -> Floats:
        """a_s = −s F_i z − η/(2σ_i), shape + (n, 2), of the sites in the order of ``share``.

        Returns:
            The fields, shape + (n, 2).
        """
        sigma = np.sqrt(self.f * (1 - self.f))
        result: Floats = (
            -(self.f / sigma * self.z[..., None])[..., None] * np.array([1.0, -1.0])
            - (self.eta[..., None] / (2 * sigma))[..., None]
        )
        return result
