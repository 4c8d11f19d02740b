"""Training runs: options, a plain loop, checkpoints that survive anything, and the folder that holds them."""

from gossamer.training.folder import RunFolder
from gossamer.training.loop import DivergedError, Epoch, Fit, evaluate
from gossamer.training.model_file import ModelFile, load_model, save_model
from gossamer.training.options import Options, Recipe
from gossamer.training.run import Watch, load_data, resume, train
from gossamer.training.samples import Samples
from gossamer.training.task import Task

__all__ = [
    "DivergedError",
    "Epoch",
    "Fit",
    "ModelFile",
    "Options",
    "Recipe",
    "RunFolder",
    "Samples",
    "Task",
    "Watch",
    "evaluate",
    "load_data",
    "load_model",
    "resume",
    "save_model",
    "train",
]
