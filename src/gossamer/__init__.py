"""gossamer: neural networks in which little fires and little is wired."""

from gossamer import functional, kernels
from gossamer.connectivity import Pattern, SparseLinear, allocate_densities, sparsify_
from gossamer.errors import InputError
from gossamer.kernels import Code

__version__ = "0.1.0"

__all__ = [
    "Code",
    "InputError",
    "Pattern",
    "SparseLinear",
    "__version__",
    "allocate_densities",
    "functional",
    "kernels",
    "sparsify_",
]
