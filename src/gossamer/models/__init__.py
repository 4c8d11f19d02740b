"""Networks built from sparse activations and sparse connectivity."""

from __future__ import annotations

from gossamer.models.autoencoder import SupervisedAutoencoder, correlation_cost, exponential_schedule
from gossamer.models.dictionary import Dictionary
from gossamer.models.mlp import MLP
from gossamer.models.patches import map_patches, sample_patches
from gossamer.models.pursuit import orthogonal_matching_pursuit
from gossamer.models.specification import activation_from, dropout_instead, weight_noise_from
from gossamer.models.vgg import HEBBIAN_ALPHA, VGG, HaHBlock, StandardBlock, vgg16

__all__ = [
    "HEBBIAN_ALPHA",
    "MLP",
    "VGG",
    "Dictionary",
    "HaHBlock",
    "StandardBlock",
    "SupervisedAutoencoder",
    "activation_from",
    "correlation_cost",
    "dropout_instead",
    "exponential_schedule",
    "map_patches",
    "orthogonal_matching_pursuit",
    "sample_patches",
    "vgg16",
    "weight_noise_from",
]
