"""What fires: functions that leave most units silent."""

from gossamer.activity.hoyer import Hoyer, hoyer_projection
from gossamer.activity.top_k import TopK, top_k
from gossamer.activity.units import AllReLU, SReLU

__all__ = ["AllReLU", "Hoyer", "SReLU", "TopK", "hoyer_projection", "top_k"]
