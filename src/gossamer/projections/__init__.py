"""Projections: the nearest point of a sparse set, for activations and for weights."""

from gossamer.projections.gap import gap_projection
from gossamer.projections.group import group_hoyer_projection
from gossamer.projections.hoyer import hoyer_projection
from gossamer.projections.l0 import l0_projection
from gossamer.projections.l1 import l1_ball_projection, l1_sphere_projection, simplex_projection
from gossamer.projections.l1_l2 import l1_l2_projection
from gossamer.projections.l2 import l2_ball_projection, l2_sphere_projection

__all__ = [
    "gap_projection",
    "group_hoyer_projection",
    "hoyer_projection",
    "l0_projection",
    "l1_ball_projection",
    "l1_l2_projection",
    "l1_sphere_projection",
    "l2_ball_projection",
    "l2_sphere_projection",
    "simplex_projection",
]
