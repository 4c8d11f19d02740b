"""Training: one loop over samples, what it minimises, and the recipe that says how; it knows no files."""

from gossamer.training.loop import DivergedError, Epoch, Fit, evaluate
from gossamer.training.recipe import Recipe
from gossamer.training.samples import Samples
from gossamer.training.task import Task

__all__ = ["DivergedError", "Epoch", "Fit", "Recipe", "Samples", "Task", "evaluate"]
