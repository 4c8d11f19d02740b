"""All pure functions of gossamer under one import, as in `torch.nn.functional`."""

from gossamer.activation.divisive import divisive_norm
from gossamer.activation.hebbian import hebbian_cost
from gossamer.activation.sparseout import sparseout
from gossamer.activation.sparseout_penalty import sparseout_penalty
from gossamer.activation.threshold import mean_threshold, quantile_threshold
from gossamer.activation.top_k import top_k
from gossamer.activation.units import all_relu, srelu
from gossamer.connectivity.bridgeout import bridgeout
from gossamer.connectivity.conv import sparse_conv2d
from gossamer.connectivity.linear import sparse_linear
from gossamer.connectivity.normalized import unit_filters
from gossamer.projections import (
    gap_projection,
    group_hoyer_projection,
    hoyer_projection,
    l0_projection,
    l1_ball_projection,
    l1_l2_projection,
    l1_sphere_projection,
    l2_ball_projection,
    l2_sphere_projection,
    simplex_projection,
)

__all__ = [
    "all_relu",
    "bridgeout",
    "divisive_norm",
    "gap_projection",
    "group_hoyer_projection",
    "hebbian_cost",
    "hoyer_projection",
    "l0_projection",
    "l1_ball_projection",
    "l1_l2_projection",
    "l1_sphere_projection",
    "l2_ball_projection",
    "l2_sphere_projection",
    "mean_threshold",
    "quantile_threshold",
    "simplex_projection",
    "sparse_conv2d",
    "sparse_linear",
    "sparseout",
    "sparseout_penalty",
    "srelu",
    "top_k",
    "unit_filters",
]
