"""Rewiring: connections are dropped, as many are grown elsewhere, and their number stays constant."""

from gossamer.plasticity import drop, grow, schedule
from gossamer.plasticity.average import AveragedModel, align_
from gossamer.plasticity.carry import LayerChange
from gossamer.plasticity.gradient import LossGradient
from gossamer.plasticity.presets import (
    CTRE,
    PRESETS,
    SET,
    CoDACoRSET,
    CoDASET,
    CoPACoRSET,
    CoPASET,
    CoRSET,
    CTRE_seq,
    CTRE_sim,
    RigL,
    preset,
)
from gossamer.plasticity.prune import GradualMagnitudePruning, importance_prune_, magnitude_prune_
from gossamer.plasticity.rewire import Rewire
from gossamer.plasticity.similarity import Cosine, measure_cosines

__all__ = [
    "CTRE",
    "PRESETS",
    "SET",
    "AveragedModel",
    "CTRE_seq",
    "CTRE_sim",
    "CoDACoRSET",
    "CoDASET",
    "CoPACoRSET",
    "CoPASET",
    "CoRSET",
    "Cosine",
    "GradualMagnitudePruning",
    "LayerChange",
    "LossGradient",
    "Rewire",
    "RigL",
    "align_",
    "drop",
    "grow",
    "importance_prune_",
    "magnitude_prune_",
    "measure_cosines",
    "preset",
    "schedule",
]
