"""Networks built from sparse activations and sparse connectivity."""

from __future__ import annotations

from gossamer.models.autoencoder import SupervisedAutoencoder, correlation_cost, exponential_schedule
from gossamer.models.dictionary import Dictionary
from gossamer.models.language_model import LanguageModel, LockedDropout, detach_state
from gossamer.models.mlp import MLP, activation_from
from gossamer.models.patches import map_patches, sample_patches
from gossamer.models.pursuit import orthogonal_matching_pursuit
from gossamer.models.transformer import Transformer, TransformerBlock
from gossamer.models.vgg import HEBBIAN_ALPHA, VGG, HaHBlock, StandardBlock, vgg16

__all__ = [
    "HEBBIAN_ALPHA",
    "MLP",
    "VGG",
    "Dictionary",
    "HaHBlock",
    "LanguageModel",
    "LockedDropout",
    "StandardBlock",
    "SupervisedAutoencoder",
    "Transformer",
    "TransformerBlock",
    "activation_from",
    "correlation_cost",
    "detach_state",
    "exponential_schedule",
    "map_patches",
    "orthogonal_matching_pursuit",
    "sample_patches",
    "vgg16",
]
