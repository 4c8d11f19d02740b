"""Activation functions that set most units to zero."""

from gossamer.activation.divisive import DivisiveNorm, divisive_norm
from gossamer.activation.hebbian import HebbianLoss, hebbian_cost
from gossamer.activation.hoyer import Hoyer, hoyer_projection
from gossamer.activation.sparseout import Sparseout, sparseout
from gossamer.activation.sparseout_penalty import SparseoutPenalty, sparseout_penalty
from gossamer.activation.threshold import (
    MeanThreshold,
    QuantileThreshold,
    mean_threshold,
    quantile_threshold,
    straight_through,
)
from gossamer.activation.top_k import TopK, top_k
from gossamer.activation.units import AllReLU, SReLU

__all__ = [
    "AllReLU",
    "DivisiveNorm",
    "HebbianLoss",
    "Hoyer",
    "MeanThreshold",
    "QuantileThreshold",
    "SReLU",
    "Sparseout",
    "SparseoutPenalty",
    "TopK",
    "divisive_norm",
    "hebbian_cost",
    "hoyer_projection",
    "mean_threshold",
    "quantile_threshold",
    "sparseout",
    "sparseout_penalty",
    "straight_through",
    "top_k",
]
