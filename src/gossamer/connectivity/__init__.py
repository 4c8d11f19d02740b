"""Patterns of connections, and layers that store nothing else."""

from gossamer.connectivity import constraints
from gossamer.connectivity.allocate import allocate_densities
from gossamer.connectivity.attention import SparseMultiheadAttention
from gossamer.connectivity.bridgeout import Bridgeout, BridgeoutLinear, BridgeoutSparseLinear, bridgeout
from gossamer.connectivity.compact import compact_
from gossamer.connectivity.conv import SparseConv2d, sparse_conv2d
from gossamer.connectivity.dense import FeatureMajorLinear
from gossamer.connectivity.dense_equal import to_dense
from gossamer.connectivity.gru import SparseGRU
from gossamer.connectivity.layer import SparseLayer
from gossamer.connectivity.linear import SparseLinear, SparseLinearReLU, sparse_linear
from gossamer.connectivity.lstm import SparseLSTM
from gossamer.connectivity.normalized import NormalizedConv2d, NormalizedLinear, NormalizedSparseConv2d, unit_filters
from gossamer.connectivity.pattern import Pattern
from gossamer.connectivity.sparsify import sparsify_

__all__ = [
    "Bridgeout",
    "BridgeoutLinear",
    "BridgeoutSparseLinear",
    "FeatureMajorLinear",
    "NormalizedConv2d",
    "NormalizedLinear",
    "NormalizedSparseConv2d",
    "Pattern",
    "SparseConv2d",
    "SparseGRU",
    "SparseLSTM",
    "SparseLayer",
    "SparseLinear",
    "SparseLinearReLU",
    "SparseMultiheadAttention",
    "allocate_densities",
    "bridgeout",
    "compact_",
    "constraints",
    "sparse_conv2d",
    "sparse_linear",
    "sparsify_",
    "to_dense",
    "unit_filters",
]
