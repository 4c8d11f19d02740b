"""gossamer: sparse neural networks that are actually sparse.

Sparse activations and sparse connectivity for PyTorch, stored and computed sparsely. Names are imported when they are
first used: ``import gossamer`` is cheap, and the command line can answer ``--help`` without PyTorch.

Examples in docstrings assume::

    import numpy as np
    import torch
    from torch import nn

    import gossamer as gs
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gossamer import activation as activation
    from gossamer import associative as associative
    from gossamer import connectivity as connectivity
    from gossamer import data as data
    from gossamer import estimators as estimators
    from gossamer import evaluate as evaluate
    from gossamer import functional as functional
    from gossamer import kernels as kernels
    from gossamer import models as models
    from gossamer import plasticity as plasticity
    from gossamer import projections as projections
    from gossamer.activation import AllReLU as AllReLU
    from gossamer.activation import DivisiveNorm as DivisiveNorm
    from gossamer.activation import HebbianLoss as HebbianLoss
    from gossamer.activation import Hoyer as Hoyer
    from gossamer.activation import MeanThreshold as MeanThreshold
    from gossamer.activation import QuantileThreshold as QuantileThreshold
    from gossamer.activation import Sparseout as Sparseout
    from gossamer.activation import SparseoutPenalty as SparseoutPenalty
    from gossamer.activation import SReLU as SReLU
    from gossamer.activation import TopK as TopK
    from gossamer.associative import AssociativeNetwork as AssociativeNetwork
    from gossamer.associative import AssociativeUnit as AssociativeUnit
    from gossamer.connectivity import Bridgeout as Bridgeout
    from gossamer.connectivity import BridgeoutLinear as BridgeoutLinear
    from gossamer.connectivity import BridgeoutSparseLinear as BridgeoutSparseLinear
    from gossamer.connectivity import NormalizedConv2d as NormalizedConv2d
    from gossamer.connectivity import NormalizedLinear as NormalizedLinear
    from gossamer.connectivity import NormalizedSparseConv2d as NormalizedSparseConv2d
    from gossamer.connectivity import Pattern as Pattern
    from gossamer.connectivity import SparseConv2d as SparseConv2d
    from gossamer.connectivity import SparseGRU as SparseGRU
    from gossamer.connectivity import SparseLinear as SparseLinear
    from gossamer.connectivity import SparseLinearReLU as SparseLinearReLU
    from gossamer.connectivity import SparseLSTM as SparseLSTM
    from gossamer.connectivity import allocate_densities as allocate_densities
    from gossamer.connectivity import compact_ as compact_
    from gossamer.connectivity import constraints as constraints
    from gossamer.connectivity import sparsify_ as sparsify_
    from gossamer.connectivity import to_dense as to_dense
    from gossamer.errors import InputError as InputError
    from gossamer.estimators import DictionaryLearner as DictionaryLearner
    from gossamer.estimators import SparseClassifier as SparseClassifier
    from gossamer.estimators import SparseFeatureSelector as SparseFeatureSelector
    from gossamer.estimators import SparseRegressor as SparseRegressor
    from gossamer.estimators import SupervisedAutoencoderClassifier as SupervisedAutoencoderClassifier
    from gossamer.evaluate.predictor import Predictor as Predictor
    from gossamer.evaluate.summary import summary as summary
    from gossamer.kernels import Code as Code
    from gossamer.plasticity import CTRE as CTRE
    from gossamer.plasticity import SET as SET
    from gossamer.plasticity import AveragedModel as AveragedModel
    from gossamer.plasticity import CoDACoRSET as CoDACoRSET
    from gossamer.plasticity import CoDASET as CoDASET
    from gossamer.plasticity import CoPACoRSET as CoPACoRSET
    from gossamer.plasticity import CoPASET as CoPASET
    from gossamer.plasticity import CoRSET as CoRSET
    from gossamer.plasticity import GradualMagnitudePruning as GradualMagnitudePruning
    from gossamer.plasticity import Rewire as Rewire
    from gossamer.plasticity import RigL as RigL
    from gossamer.plasticity import align_ as align_
    from gossamer.plasticity import drop as drop
    from gossamer.plasticity import grow as grow
    from gossamer.plasticity import importance_prune_ as importance_prune_
    from gossamer.plasticity import magnitude_prune_ as magnitude_prune_

__version__ = "0.1.0"

_NAMES = {
    "activation": (
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
    ),
    "connectivity": (
        "Bridgeout",
        "BridgeoutLinear",
        "BridgeoutSparseLinear",
        "NormalizedConv2d",
        "NormalizedLinear",
        "NormalizedSparseConv2d",
        "Pattern",
        "SparseConv2d",
        "SparseGRU",
        "SparseLSTM",
        "SparseLinear",
        "SparseLinearReLU",
        "allocate_densities",
        "compact_",
        "constraints",
        "sparsify_",
        "to_dense",
    ),
    "errors": ("InputError",),
    "associative": (
        "AssociativeNetwork",
        "AssociativeUnit",
    ),
    "estimators": (
        "DictionaryLearner",
        "SparseClassifier",
        "SparseFeatureSelector",
        "SparseRegressor",
        "SupervisedAutoencoderClassifier",
    ),
    "evaluate": ("Predictor", "summary"),
    "kernels": ("Code",),
    "plasticity": (
        "CTRE",
        "SET",
        "AveragedModel",
        "CoDACoRSET",
        "CoDASET",
        "CoPACoRSET",
        "CoPASET",
        "CoRSET",
        "GradualMagnitudePruning",
        "Rewire",
        "RigL",
        "align_",
        "drop",
        "grow",
        "importance_prune_",
        "magnitude_prune_",
    ),
}
"""Public names by the module that defines them."""

_ROOMS = (
    "activation",
    "associative",
    "connectivity",
    "data",
    "estimators",
    "evaluate",
    "functional",
    "kernels",
    "models",
    "plasticity",
    "projections",
)
_HOME = {name: module for module, names in _NAMES.items() for name in names}

__all__ = ["__version__", *_ROOMS, *_HOME]


def __getattr__(name: str) -> Any:
    """Import a room, or the room of a name, at its first use."""
    if name in _ROOMS:
        return import_module(f"gossamer.{name}")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"gossamer.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
