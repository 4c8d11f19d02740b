"""Networks built from sparse activity and sparse connectivity."""

from gossamer.models.mlp import MLP, activity_from

__all__ = ["MLP", "activity_from"]
