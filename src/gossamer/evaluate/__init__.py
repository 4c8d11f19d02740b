"""Evaluation: bytes, multiply-adds, seconds, active and dead units, accuracy under noise, corruptions and attacks."""

from gossamer.evaluate import attacks, corruptions
from gossamer.evaluate.cost import Cost, LayerCost, cost
from gossamer.evaluate.latency import latency
from gossamer.evaluate.memory import peak_memory
from gossamer.evaluate.predictor import Predictor
from gossamer.evaluate.robustness import accuracy_under, accuracy_under_noise, add_noise
from gossamer.evaluate.signal_to_noise import layer_snr
from gossamer.evaluate.summary import Summary, summary
from gossamer.evaluate.unit_activations import UnitActivations, measure_activations

__all__ = [
    "Cost",
    "LayerCost",
    "Predictor",
    "Summary",
    "UnitActivations",
    "accuracy_under",
    "accuracy_under_noise",
    "add_noise",
    "attacks",
    "corruptions",
    "cost",
    "latency",
    "layer_snr",
    "measure_activations",
    "peak_memory",
    "summary",
]
