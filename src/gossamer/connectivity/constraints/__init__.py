"""Constraints on weights, kept by projection while any optimizer trains them."""

from gossamer.connectivity.constraints.attach import Attached, attach
from gossamer.connectivity.constraints.sets import L0, L1, AverageHoyer, Constraint, Hoyer, Per

__all__ = ["L0", "L1", "Attached", "AverageHoyer", "Constraint", "Hoyer", "Per", "attach"]
