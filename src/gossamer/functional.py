"""Every pure function of gossamer under one import, as in torch.nn.functional."""

from gossamer.activity.hoyer import hoyer_projection
from gossamer.activity.top_k import top_k
from gossamer.activity.units import all_relu, srelu
from gossamer.connectivity.conv import sparse_conv2d
from gossamer.connectivity.linear import sparse_linear

__all__ = ["all_relu", "hoyer_projection", "sparse_conv2d", "sparse_linear", "srelu", "top_k"]
