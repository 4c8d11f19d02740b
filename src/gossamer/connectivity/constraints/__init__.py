"""Sets that weights are kept in by projection: `Hoyer`, `AverageHoyer`, `L0` and `L1`, and `attach`, which keeps a
layer in one of them while any optimizer trains it."""

from gossamer.connectivity.constraints.attach import Attached, attach
from gossamer.connectivity.constraints.sets import L0, L1, AverageHoyer, Constraint, Hoyer, Per

__all__ = ["L0", "L1", "Attached", "AverageHoyer", "Constraint", "Hoyer", "Per", "attach"]
