"""Associative learning under constraints: theory, exact solvers, the online rule, and estimators.

The model is a binary threshold unit that stores associations robustly with weights of a given mean magnitude (l1), and
optionally with fixed signs, a given number of connections (l0) or a minimum magnitude (gap).

==============  =====================================================================================================
``theory``      capacity, robustness, density and weight distribution in the limit of many inputs
``solve``       the most robust weights for given associations, by linear and mixed-integer programs or greedily
``online``      the online rule, compiled, for many units at once: `learn_online`
``estimator``   `AssociativeUnit` and `AssociativeNetwork` for scikit-learn
``recall``      recall of stored sequences under noise
``fit``         the constraint that explains measured weights best: `fit_statistics`
==============  =====================================================================================================

References:
    M. M. J. Baig, A. Stepanyants, "Sparse learning enabled by constraints on connectivity and function",
    arXiv 2409.04946.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gossamer.associative.problem import Associations, random_associations, random_signs

if TYPE_CHECKING:
    from gossamer.associative.estimator import AssociativeNetwork as AssociativeNetwork
    from gossamer.associative.estimator import AssociativeUnit as AssociativeUnit
    from gossamer.associative.fit import fit_statistics as fit_statistics
    from gossamer.associative.online import learn_online as learn_online

_HOME = {"AssociativeNetwork": "estimator", "AssociativeUnit": "estimator", "fit_statistics": "fit"}
_HOME |= {"learn_online": "online"}
"""Public names by the module that is imported at their first use: they need scikit-learn or SciPy."""

__all__ = [
    "Associations",
    "AssociativeNetwork",
    "AssociativeUnit",
    "fit_statistics",
    "learn_online",
    "random_associations",
    "random_signs",
]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"gossamer.associative.{_HOME[name]}"), name)
