"""What it bought: bytes, multiply-adds, seconds, active and dead units, and accuracy under noise."""

from gossamer.evaluate.cost import Cost, LayerCost, cost
from gossamer.evaluate.latency import latency
from gossamer.evaluate.memory import peak_memory
from gossamer.evaluate.noise import accuracy_under_noise
from gossamer.evaluate.summary import Summary, summary
from gossamer.evaluate.units import UnitActivity, measure_activity

__all__ = [
    "Cost",
    "LayerCost",
    "Summary",
    "UnitActivity",
    "accuracy_under_noise",
    "cost",
    "latency",
    "measure_activity",
    "peak_memory",
    "summary",
]
