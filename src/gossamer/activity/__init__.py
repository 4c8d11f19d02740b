"""What fires: functions that leave most units silent."""

from gossamer.activity.divisive import DivisiveNorm, divisive_norm
from gossamer.activity.hebbian import HebbianLoss, hebbian_cost
from gossamer.activity.hoyer import Hoyer, hoyer_projection
from gossamer.activity.sparseout import Sparseout, sparseout
from gossamer.activity.threshold import (
    MeanThreshold,
    QuantileThreshold,
    mean_threshold,
    quantile_threshold,
    straight_through,
)
from gossamer.activity.top_k import TopK, top_k
from gossamer.activity.units import AllReLU, SReLU

__all__ = [
    "AllReLU",
    "DivisiveNorm",
    "HebbianLoss",
    "Hoyer",
    "MeanThreshold",
    "QuantileThreshold",
    "SReLU",
    "Sparseout",
    "TopK",
    "divisive_norm",
    "hebbian_cost",
    "hoyer_projection",
    "mean_threshold",
    "quantile_threshold",
    "sparseout",
    "straight_through",
    "top_k",
]
