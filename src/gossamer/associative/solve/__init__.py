"""Exact and greedy solvers: the weights with the largest robustness for given associations."""

from gossamer.extras import needs

with needs("associative", "gossamer.associative.solve"):
    from gossamer.associative.solve.constraints import Certificate
    from gossamer.associative.solve.l2 import L2Weights, l2_weights
    from gossamer.associative.solve.robust import RobustWeights, robust_weights

__all__ = ["Certificate", "L2Weights", "RobustWeights", "l2_weights", "robust_weights"]
