"""gossamer: neural networks in which little fires and little is connected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gossamer import activation, connectivity, data, evaluate, functional, kernels, models, plasticity, projections
from gossamer.activation import (
    AllReLU,
    DivisiveNorm,
    HebbianLoss,
    Hoyer,
    MeanThreshold,
    QuantileThreshold,
    Sparseout,
    SReLU,
    TopK,
)
from gossamer.connectivity import (
    Bridgeout,
    BridgeoutLinear,
    BridgeoutSparseLinear,
    NormalizedConv2d,
    NormalizedLinear,
    Pattern,
    SparseConv2d,
    SparseLinear,
    SparseLinearReLU,
    allocate_densities,
    compact_,
    constraints,
    sparsify_,
)
from gossamer.errors import InputError
from gossamer.evaluate import summary
from gossamer.kernels import Code
from gossamer.plasticity import (
    CTRE,
    SET,
    CoDACoRSET,
    CoDASET,
    CoPACoRSET,
    CoPASET,
    CoRSET,
    GradualMagnitudePruning,
    Rewire,
    RigL,
    drop,
    grow,
    importance_prune_,
    magnitude_prune_,
)

if TYPE_CHECKING:
    from gossamer import estimators as estimators
    from gossamer.estimators import SparseClassifier as SparseClassifier
    from gossamer.estimators import SparseFeatureSelector as SparseFeatureSelector
    from gossamer.estimators import SparseRegressor as SparseRegressor
    from gossamer.estimators import SupervisedAutoencoderClassifier as SupervisedAutoencoderClassifier

__version__ = "0.1.0"

__all__ = [
    "CTRE",
    "SET",
    "AllReLU",
    "Bridgeout",
    "BridgeoutLinear",
    "BridgeoutSparseLinear",
    "CoDACoRSET",
    "CoDASET",
    "CoPACoRSET",
    "CoPASET",
    "CoRSET",
    "Code",
    "DivisiveNorm",
    "GradualMagnitudePruning",
    "HebbianLoss",
    "Hoyer",
    "InputError",
    "MeanThreshold",
    "NormalizedConv2d",
    "NormalizedLinear",
    "Pattern",
    "QuantileThreshold",
    "Rewire",
    "RigL",
    "SReLU",
    "SparseConv2d",
    "SparseLinear",
    "SparseLinearReLU",
    "Sparseout",
    "TopK",
    "__version__",
    "activation",
    "allocate_densities",
    "compact_",
    "connectivity",
    "constraints",
    "data",
    "drop",
    "evaluate",
    "functional",
    "grow",
    "importance_prune_",
    "kernels",
    "magnitude_prune_",
    "models",
    "plasticity",
    "projections",
    "sparsify_",
    "summary",
]

_LAZY = (
    "SparseClassifier",
    "SparseFeatureSelector",
    "SparseRegressor",
    "SupervisedAutoencoderClassifier",
    "estimators",
)


def __getattr__(name: str) -> Any:
    """The estimators, which need scikit-learn, are imported when they are asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    estimators = import_module("gossamer.estimators")
    return estimators if name == "estimators" else getattr(estimators, name)


def __dir__() -> list[str]:
    return sorted([*__all__, *_LAZY])
