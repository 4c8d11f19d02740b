"""Training runs: options, a plain loop, checkpoints that survive anything, and the folder that holds them."""

from gossamer.training.folder import RunFolder
from gossamer.training.loop import DivergedError, Epoch, Fit, Samples, evaluate
from gossamer.training.model_file import ModelFile, load_model, save_model
from gossamer.training.options import Options
from gossamer.training.run import Watch, load_data, resume, train

__all__ = [
    "DivergedError",
    "Epoch",
    "Fit",
    "ModelFile",
    "Options",
    "RunFolder",
    "Samples",
    "Watch",
    "evaluate",
    "load_data",
    "load_model",
    "resume",
    "save_model",
    "train",
]
