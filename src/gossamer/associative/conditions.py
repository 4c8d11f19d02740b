"""The four conditions at which the online rule stops, found from weights alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gossamer.associative.problem import Associations

__all__ = ["StopConditions", "stop_conditions"]


@dataclass(frozen=True, eq=False)
class StopConditions:
    """How far units are from where the online rule stops, each (units,).

    Args:
        violated: associations with s (J·X − h) < κ.
        sign_violations: weights with J_i g_i < 0.
        gap_violations: weights with 0 < |J_i| < δ_i.
        norm_error: mean|J| / w − 1.

    Example:
        >>> from gossamer.associative import Associations
        >>> from gossamer.associative.conditions import stop_conditions
        >>> stop_conditions(Associations([[1, 0]], [1]), np.array([[1.0, -1.0]]), robustness=0.5).met()
        array([ True])
    """

    violated: NDArray[np.int64]
    sign_violations: NDArray[np.int64]
    gap_violations: NDArray[np.int64]
    norm_error: NDArray[np.float64]

    def met(self, tolerance: float = 1e-3) -> NDArray[np.bool_]:
        """Return whether all four conditions hold.

        Args:
            tolerance: largest |mean|J| / w − 1|, ≥ 0.

        Returns:
            (units,) bool.
        """
        counts = self.violated + self.sign_violations + self.gap_violations
        return np.asarray((counts == 0) & (np.abs(self.norm_error) <= tolerance))


def stop_conditions(
    associations: Associations,
    weights: NDArray[np.float64],
    *,
    robustness: ArrayLike,
    threshold: ArrayLike = 0.0,
    weight_norm: ArrayLike = 1.0,
    gap: ArrayLike = 0.0,
    signs: ArrayLike | None = None,
) -> StopConditions:
    """Check ``weights`` (units, N) against the constraints, by their definition.

    Args:
        associations: of the units, targets (m,) for all of them or (m, units).
        weights: J, (units, N).
        robustness: κ, one for all units or (units,).
        threshold: h, likewise.
        weight_norm: w, likewise.
        gap: δ, broadcast to (units, N).
        signs: g of ±1, broadcast to (units, N); None for weights of either sign.

    Returns:
        The distance of each unit from each condition.

    Raises:
        InputError: an argument has another shape or is outside its range.

    Example:
        >>> from gossamer.associative import Associations
        >>> from gossamer.associative.conditions import stop_conditions
        >>> problem = Associations([[1, 0], [0, 1]], [1, 0])
        >>> conditions = stop_conditions(problem, np.array([[1.0, -0.5]]), robustness=0.7, gap=0.6)
        >>> conditions.violated, conditions.gap_violations, conditions.norm_error
        (array([1]), array([1]), array([-0.25]))
    """
    labels = np.atleast_2d(associations.labels.T).T
    fields = associations.inputs @ weights.T  # (m, units)
    size = np.abs(weights)
    return StopConditions(
        violated=(labels * (fields - np.asarray(threshold)) < np.asarray(robustness)).sum(0),
        sign_violations=np.zeros(len(weights), np.int64) if signs is None else (weights * np.asarray(signs) < 0).sum(1),
        gap_violations=((size > 0) & (size < np.asarray(gap))).sum(1),
        norm_error=size.mean(1) / np.asarray(weight_norm) - 1,
    )
