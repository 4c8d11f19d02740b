"""How wiring changes: links that die, links that are born, and a number of live ones that stays the same."""

from gossamer.plasticity import drop, grow, schedule
from gossamer.plasticity.carry import LayerChange
from gossamer.plasticity.gradient import LossGradient
from gossamer.plasticity.presets import PRESETS, preset
from gossamer.plasticity.prune import GradualMagnitudePruning, importance_prune_, magnitude_prune_
from gossamer.plasticity.rewire import Rewire
from gossamer.plasticity.similarity import Cosine, measure_cosines

__all__ = [
    "PRESETS",
    "Cosine",
    "GradualMagnitudePruning",
    "LayerChange",
    "LossGradient",
    "Rewire",
    "drop",
    "grow",
    "importance_prune_",
    "magnitude_prune_",
    "measure_cosines",
    "preset",
    "schedule",
]
