"""Constraints on weights, kept by projection while any optimizer trains them.

`Hoyer`, `AverageHoyer`, `L0`, `L1`, `L1Norm`, `Gap`, `Sign` and their `Intersection` are sets; `attach` keeps a layer
in one of them.
"""

from gossamer.connectivity.constraints.attach import Attached, attach
from gossamer.connectivity.constraints.base import Constraint, Per
from gossamer.connectivity.constraints.intersection import Intersection
from gossamer.connectivity.constraints.parse import parse
from gossamer.connectivity.constraints.sets import L0, L1, Gap, L1Norm
from gossamer.connectivity.constraints.sign import Sign
from gossamer.connectivity.constraints.sparseness import AverageHoyer, Hoyer

__all__ = [
    "L0",
    "L1",
    "Attached",
    "AverageHoyer",
    "Constraint",
    "Gap",
    "Hoyer",
    "Intersection",
    "L1Norm",
    "Per",
    "Sign",
    "attach",
    "parse",
]
