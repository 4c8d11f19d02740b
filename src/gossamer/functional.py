"""Every pure function of gossamer under one import, as in torch.nn.functional."""

from gossamer.connectivity.linear import sparse_linear

__all__ = ["sparse_linear"]
