"""Replica theory of associative learning in the limit of many inputs."""

from gossamer.extras import needs

with needs("associative", "gossamer.associative.theory"):
    from gossamer.associative.theory.replica import ConvergenceError, Solution, capacity, max_robustness

__all__ = ["ConvergenceError", "Solution", "capacity", "max_robustness"]
