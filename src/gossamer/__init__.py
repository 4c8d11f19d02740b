"""gossamer: neural networks in which little fires and little is wired."""

from gossamer import activity, connectivity, data, evaluate, functional, kernels, plasticity
from gossamer.activity import AllReLU, Hoyer, SReLU, TopK
from gossamer.connectivity import (
    Pattern,
    SparseConv2d,
    SparseLinear,
    SparseLinearReLU,
    allocate_densities,
    sparsify_,
)
from gossamer.errors import InputError
from gossamer.evaluate import summary
from gossamer.kernels import Code
from gossamer.plasticity import Rewire, drop, grow

__version__ = "0.1.0"

__all__ = [
    "AllReLU",
    "Code",
    "Hoyer",
    "InputError",
    "Pattern",
    "Rewire",
    "SReLU",
    "SparseConv2d",
    "SparseLinear",
    "SparseLinearReLU",
    "TopK",
    "__version__",
    "activity",
    "allocate_densities",
    "connectivity",
    "data",
    "drop",
    "evaluate",
    "functional",
    "grow",
    "kernels",
    "plasticity",
    "sparsify_",
    "summary",
]
