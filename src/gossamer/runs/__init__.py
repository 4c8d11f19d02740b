"""Runs: folders that hold options, checkpoints, results and the trained model."""

from gossamer.runs.evaluation import EvaluationWatch, evaluate_run, load_network
from gossamer.runs.folder import RunFolder
from gossamer.runs.model_file import ModelFile, load_model, save_model
from gossamer.runs.options import Options
from gossamer.runs.plan import Plan
from gossamer.runs.run import Watch, load_data, resume, train

__all__ = [
    "EvaluationWatch",
    "ModelFile",
    "Options",
    "Plan",
    "RunFolder",
    "Watch",
    "evaluate_run",
    "load_data",
    "load_model",
    "load_network",
    "resume",
    "save_model",
    "train",
]
