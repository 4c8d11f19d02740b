"""Replica theory of associative learning in the limit of many inputs."""

from gossamer.extras import needs

with needs("associative", "gossamer.associative.theory"):
    from gossamer.associative.theory.continuation import ConvergenceError
    from gossamer.associative.theory.distribution import WeightDistribution, weight_distribution
    from gossamer.associative.theory.limits import Limit, balanced_l1, dilution, l2_capacity, without_robustness
    from gossamer.associative.theory.pruning import l1_pruning_error, l2_pruning_error
    from gossamer.associative.theory.replica import capacity, max_robustness
    from gossamer.associative.theory.solution import Solution

__all__ = [
    "ConvergenceError",
    "Limit",
    "Solution",
    "WeightDistribution",
    "balanced_l1",
    "capacity",
    "dilution",
    "l1_pruning_error",
    "l2_capacity",
    "l2_pruning_error",
    "max_robustness",
    "weight_distribution",
    "without_robustness",
]
