"""Networks built from sparse activations and sparse connectivity."""

from __future__ import annotations

from gossamer.models.autoencoder import SupervisedAutoencoder, correlation_cost, exponential_schedule
from gossamer.models.blocks import HaHBlock, StandardBlock
from gossamer.models.dictionary import Dictionary
from gossamer.models.language_model import LanguageModel, LockedDropout, detach_state
from gossamer.models.mlp import MLP
from gossamer.models.named import ModelName, from_architecture, title
from gossamer.models.patches import map_patches, sample_patches
from gossamer.models.pursuit import orthogonal_matching_pursuit
from gossamer.models.specification import activation_from, dropout_instead, weight_noise_from
from gossamer.models.transformer import Transformer, TransformerBlock
from gossamer.models.vgg import HEBBIAN_ALPHA, VGG, vgg16
from gossamer.models.wide_residual import ResidualBlock, WideResidual

__all__ = [
    "HEBBIAN_ALPHA",
    "MLP",
    "VGG",
    "Dictionary",
    "HaHBlock",
    "LanguageModel",
    "LockedDropout",
    "ModelName",
    "ResidualBlock",
    "StandardBlock",
    "SupervisedAutoencoder",
    "Transformer",
    "TransformerBlock",
    "WideResidual",
    "activation_from",
    "correlation_cost",
    "detach_state",
    "dropout_instead",
    "exponential_schedule",
    "from_architecture",
    "map_patches",
    "orthogonal_matching_pursuit",
    "sample_patches",
    "title",
    "vgg16",
    "weight_noise_from",
]
