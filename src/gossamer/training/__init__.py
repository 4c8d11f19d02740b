"""Training: one loop over samples, the tasks that it minimises, and the recipe; it knows no files."""

from gossamer.training.augment import Augment
from gossamer.training.epoch import DivergedError, Epoch, one_epoch
from gossamer.training.loop import Fit
from gossamer.training.passes import evaluate
from gossamer.training.pruning import Pruning
from gossamer.training.recipe import Recipe
from gossamer.training.samples import Samples
from gossamer.training.task import Task

__all__ = ["Augment", "DivergedError", "Epoch", "Fit", "Pruning", "Recipe", "Samples", "Task", "evaluate", "one_epoch"]
