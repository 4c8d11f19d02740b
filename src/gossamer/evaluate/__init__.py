"""Evaluation: bytes, multiply-adds, seconds, active and dead units, accuracy under noise and attacks."""

from gossamer.evaluate import attacks
from gossamer.evaluate.cost import Cost, LayerCost, cost
from gossamer.evaluate.latency import latency
from gossamer.evaluate.memory import peak_memory
from gossamer.evaluate.predictor import Predictor
from gossamer.evaluate.robustness import accuracy_under_noise
from gossamer.evaluate.summary import Summary, summary
from gossamer.evaluate.unit_activations import UnitActivations, measure_activations

__all__ = [
    "Cost",
    "LayerCost",
    "Predictor",
    "Summary",
    "UnitActivations",
    "accuracy_under_noise",
    "attacks",
    "cost",
    "latency",
    "measure_activations",
    "peak_memory",
    "summary",
]
