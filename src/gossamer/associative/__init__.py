"""Associative learning under constraints on connectivity: theory, exact solvers and an online rule.

The model is a binary threshold unit that stores associations robustly with weights of a given mean magnitude (l1), and
with fixed signs, a given number of connections (l0) or a smallest magnitude (gap) besides.

References:
    M. M. J. Baig, A. Stepanyants, "Sparse learning enabled by constraints on connectivity and function",
    arXiv 2409.04946.
"""

from gossamer.associative.problem import Associations, random_associations, random_signs

__all__ = ["Associations", "random_associations", "random_signs"]
