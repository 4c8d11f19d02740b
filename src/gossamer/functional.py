"""Every pure function of gossamer under one import, as in torch.nn.functional."""

from gossamer.activity.hoyer import hoyer_projection
from gossamer.activity.top_k import top_k
from gossamer.activity.units import all_relu, srelu
from gossamer.connectivity.linear import sparse_linear

__all__ = ["all_relu", "hoyer_projection", "sparse_linear", "srelu", "top_k"]
