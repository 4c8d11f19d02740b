"""The recipe of a training run: which network is trained and how, independent of the data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, get_args

import torch

from gossamer.connectivity import constraints
from gossamer.connectivity.allocate import Allocation, epsilon_density
from gossamer.errors import InputError, check_choice, check_count, check_fraction
from gossamer.models import ModelName, activation_from, weight_noise_from
from gossamer.plasticity import PRESETS
from gossamer.training.augment import Augment
from gossamer.training.pruning import read_prune

__all__ = ["REWIRINGS", "SMALL", "Recipe", "completed", "sizes_for"]

REWIRINGS = ("none", *PRESETS)
SMALL = 50_000
"""Numbers in a table up to which it counts as small: arithmetic is then a minor part of a step."""

_OPTIMIZERS = ("adam", "adamw", "sgd")
_SCHEDULES = ("constant", "cosine")
_STEPS = ("compiled", "autograd")
_HEBBIAN = ("hebbian_cost", "hebbian_anti", "hebbian_winners", "hebbian_gradient")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Network and training options, independent of the data.

    Attributes:
        model: the network: ``"mlp"``, or for images ``"vgg"``, ``"wide-residual"`` and others; see
            `gossamer.models.ModelName`. The hidden layers of an image network are its convolutions.
        hidden: units of each hidden layer of an MLP; empty for an image network.
        hebbian_blocks: how many blocks of a VGG, from the first on, are `gossamer.models.HaHBlock`.
        hebbian_cost: factor on the published α of the costs of these blocks (`gossamer.models.HEBBIAN_ALPHA`), ≥ 0;
            α = 0 from the seventh on.
        hebbian_anti: λ ≥ 0 of these costs; see `gossamer.HebbianLoss`.
        hebbian_winners: ρ in (0, 1] of these costs.
        hebbian_gradient: ``"local"`` or ``"joint"``.
        density: fraction of all connections of the hidden layers, in (0, 1]; None for 0.1.
        epsilon: instead of ``density``: ε (n_in + n_out) connections in each hidden layer (Mocanu et al. 2018, equation
            3), at most all.
        output_density: fraction of the connections of the output layer, in (0, 1]; None leaves it dense.
        allocate: how hidden layers share connections: ``"er"``, ``"erk"`` or ``"uniform"``.
        activation: the activation function, as `gossamer.models.activation_from` reads it.
        dropout: probability of dropping a hidden unit, in [0, 1).
        weight_noise: noise on the weights of the hidden layers in training, ``"bridgeout:q=1.5,p=0.3"``; see
            `gossamer.models.weight_noise_from`.
        rewire: rule (see `gossamer.plasticity.PRESETS`) that moves connections after each epoch but the last, or
            ``"none"``.
        fraction: share of the connections that the rule moves, in (0, 1).
        augment: changes images at random in training: ``"shift:1"``, ``"flip"``, ``"shift:4,flip"``; see
            `gossamer.training.Augment`.
        epochs: passes through the data.
        batch_size: samples in a step.
        optimizer: ``"adam"``, ``"adamw"`` or ``"sgd"``.
        learning_rate: that of dense layers, > 0; with Adam, the weights of a sparse one take 1/√density times as much,
            since they start so much larger.
        schedule: ``"cosine"`` or ``"constant"``, of learning rate and fraction. With ``"cosine"`` both fall along half
            a cosine: connections that are grown late in training have no time to learn.
        momentum: of sgd, in [0, 1).
        weight_decay: strength of weight decay, ≥ 0.
        max_grad_norm: bound of the norm of the gradient; None for none.
        patience: stop after so many epochs without a better validation loss, and return to the best one; None trains
            all epochs and keeps the last. Epochs before pruning is over do not count.
        constraint: keeps the weights of the hidden layers in a set, by projection after every step:
            ``"gap:0.02"``, ``"sign+l1norm:0.01"``, …; see `gossamer.constraints.parse`.
        prune: removes connections for good while the network is trained: ``"gap:0.1"``, ``"gradual:0.05"``,
            ``"magnitude:0.05"``; see `gossamer.training.Pruning`. With it `completed` sets ``density``, that of the
            start, to 0.5 and ``rewire`` to none, if they are not given.
        amp: compute in bfloat16 where that is safe.
        step: ``"compiled"`` trains networks that `gossamer.training.compiled` takes without autograd; ``"autograd"``
            trains none so.

    Raises:
        InputError: an option is outside its range.

    Example:
        >>> gs.training.Recipe(hidden=(300, 100), epochs=10, batch_size=32, density=0.05).rewire
        'SET'
    """

    model: str = "mlp"
    hidden: tuple[int, ...]
    hebbian_blocks: int = 0
    hebbian_cost: float = 1.0
    hebbian_anti: float = 0.1
    hebbian_winners: float = 0.1
    hebbian_gradient: str = "local"
    density: float | None = None
    epsilon: float | None = None
    output_density: float | None = None
    allocate: Allocation = "er"
    activation: str = "hoyer:0.7"
    dropout: float = 0.0
    weight_noise: str | None = None
    rewire: str = "SET"
    fraction: float = 0.3
    constraint: str | None = None
    prune: str | None = None
    augment: str | None = None
    epochs: int
    batch_size: int
    optimizer: str = "adam"
    learning_rate: float = 0.001
    schedule: str = "cosine"
    momentum: float = 0.9
    weight_decay: float = 0.0
    max_grad_norm: float | None = None
    patience: int | None = None
    amp: bool = False
    step: str = "compiled"

    def __post_init__(self) -> None:
        _check_types(self)
        self._check_model()
        if self.density is None and self.epsilon is None:
            object.__setattr__(self, "density", 0.1)  # frozen
        if self.density is not None:
            check_fraction("density", self.density, open_low=True)
        if self.epsilon is not None:
            _check_positive("epsilon", self.epsilon)
            if self.density is not None:
                raise InputError(
                    "density and epsilon both set the number of connections: give one of them, "
                    f"got density = {self.density!r} and epsilon = {self.epsilon!r}"
                )
            if self.allocate == "uniform":
                raise InputError("allocate must be 'er' or 'erk' where epsilon is given, got 'uniform'")
        if self.output_density is not None:
            check_fraction("output_density", self.output_density, open_low=True)
        check_choice("allocate", self.allocate, get_args(Allocation))
        activation_from(self.activation, generator=torch.Generator())  # torch keeps its own
        check_fraction("dropout", self.dropout, open_high=True)
        if self.weight_noise is not None:
            weight_noise_from(self.weight_noise)
        check_choice("rewire", self.rewire, REWIRINGS)
        check_fraction("fraction", self.fraction, open_low=True, open_high=True)
        if self.constraint is not None:
            constraints.parse(self.constraint)
            if "gap" in self.constraint.lower() and self.rewire != "none":
                raise InputError(
                    f"rewire must be 'none' for constraint {self.constraint!r}, got {self.rewire!r}: new connections "
                    "begin at 0, and steps shorter than half of the gap don't lead out of it"
                )
        if self.prune is not None:
            self._check_prune(self.prune)
        if self.model == "mlp" and not self.hidden and (self.constraint is not None or self.prune is not None):
            raise InputError(
                "constraint and prune are for hidden layers, and hidden has none: give one, such as (300,)"
            )
        check_count("epochs", self.epochs, low=1)
        check_count("batch_size", self.batch_size, low=1)
        check_choice("optimizer", self.optimizer, _OPTIMIZERS)
        check_choice("schedule", self.schedule, _SCHEDULES)
        check_choice("step", self.step, _STEPS)
        check_fraction("momentum", self.momentum, open_high=True)
        _check_positive("learning_rate", self.learning_rate)
        _check_positive("weight_decay", self.weight_decay, zero=True)
        if self.max_grad_norm is not None:
            _check_positive("max_grad_norm", self.max_grad_norm)
        if self.patience is not None:
            check_count("patience", self.patience, low=1)

    def _check_model(self) -> None:
        kind = ModelName.parse(self.model).kind
        for units in self.hidden:
            check_count("hidden", units, low=1)
        if kind == "mlp":
            if self.augment is not None:
                raise InputError(f"augment must be None for model 'mlp', which reads no images, got {self.augment!r}")
        elif self.hidden:
            raise InputError(
                f"hidden must be empty for model {self.model!r}, whose name decides on its layers "
                f"(vgg:32-32-M-64-64-M, wide-residual:16-4), got {self.hidden}"
            )
        elif self.weight_noise is not None:
            raise InputError(
                f"weight_noise must be None for model {self.model!r}, got {self.weight_noise!r}: only the "
                "hidden layers of 'mlp' take it"
            )
        elif self.epsilon is not None:
            raise InputError(f"epsilon must be None for model {self.model!r}, got {self.epsilon!r}: give density")
        if self.augment is not None:
            Augment.parse(self.augment)
        blocks = check_count("hebbian_blocks", self.hebbian_blocks)
        if blocks and kind != "vgg":
            raise InputError(f"hebbian_blocks must be 0 for model {self.model!r}, got {blocks}: 'vgg' has such blocks")
        _check_positive("hebbian_cost", self.hebbian_cost, zero=True)
        _check_positive("hebbian_anti", self.hebbian_anti, zero=True)
        check_fraction("hebbian_winners", self.hebbian_winners, open_low=True)
        check_choice("hebbian_gradient", self.hebbian_gradient, ("local", "joint"))
        for field in fields(self):
            value = getattr(self, field.name)
            if not blocks and field.name in _HEBBIAN and value != field.default:
                raise InputError(f"{field.name} must be {field.default!r} without hebbian_blocks, got {value!r}")

    def _check_prune(self, prune: str) -> None:
        rule, number = read_prune(prune)
        if rule == "gap" and self.rewire != "none":
            raise InputError(
                f"rewire must be 'none' for prune {prune!r}, got {self.rewire!r}: new connections begin at 0, "
                "in the gap"
            )
        if self.density == 1:
            raise InputError(f"density must be below 1 for prune {prune!r}, whose layers are stored sparse")
        if rule != "gap" and self.density is not None and number >= self.density:
            raise InputError(f"prune {prune!r} must end below the density of the start, {self.density:g}")

    def density_for(self, features: int) -> float:
        """Return the density of all hidden layers together.

        Args:
            features: number of inputs.

        Returns:
            The density in (0, 1].
        """
        if self.epsilon is None:
            assert self.density is not None
            return self.density
        sizes = [features, *self.hidden]
        return epsilon_density(list(zip(sizes[1:], sizes[:-1], strict=True)), self.epsilon)


def sizes_for(samples: int, features: int) -> dict[str, Any]:
    """Choose hidden layers, epochs and batch size for a training set of ``samples`` rows.

    Training needs a number of steps, of the order of 2000 and 120 at least; but after 25 epochs through a few hundred
    rows the network grows overconfident. Wide layers cost a sparse network little, and it needs them.
    """
    batch_size = _batch_size(samples)
    steps = math.ceil(samples / batch_size)
    epochs = min(100, max(10, min(25, round(2000 / steps)), math.ceil(120 / steps)))
    hidden = (1000, 1000) if samples * features > SMALL else (300, 300)
    return {"hidden": hidden, "epochs": epochs, "batch_size": batch_size}


def _batch_size(samples: int) -> int:
    return 32 if samples < 5000 else 64 if samples < 20000 else 128


def _image_choices(said: Mapping[str, Any], samples: int) -> dict[str, Any]:
    """Choose the arguments of an image network: it takes longer for a step than an MLP, and fewer steps.

    HaH blocks are dense, as published, unless a density is given.
    """
    steps = math.ceil(samples / _batch_size(samples))
    density = said.get("density", 1.0 if said.get("hebbian_blocks") else 0.2)
    chosen = {"hidden": (), "activation": "relu", "epochs": min(25, max(5, round(2000 / steps))), "density": density}
    return chosen | ({"rewire": "none"} if density == 1 else {})


def completed(given: Mapping[str, Any], samples: int, features: int) -> dict[str, Any]:
    """Complete the ``given`` arguments of a `Recipe`; None and missing ones follow from the data and the others."""
    said = {name: value for name, value in given.items() if value is not None}
    chosen = sizes_for(samples, features)
    if ModelName.parse(said.get("model", "mlp")).kind != "mlp":
        chosen |= _image_choices(said, samples)
    if said.get("optimizer") == "sgd":
        chosen["learning_rate"] = 0.1
    if "prune" in said:
        chosen |= {"rewire": "none"} | ({} if "epsilon" in said else {"density": 0.5})
        if not chosen["hidden"]:  # of convolutions others would leave the first one dense, which can't be pruned
            chosen["allocate"] = "uniform"
    if "gap" in str(said.get("constraint", "")).lower():
        chosen["rewire"] = "none"
    if "rewire" in said:
        said["rewire"] = next((rule for rule in REWIRINGS if rule.lower() == said["rewire"].lower()), said["rewire"])
        if said["rewire"] in PRESETS:
            chosen["fraction"] = PRESETS[said["rewire"]].fraction
    return chosen | said


def _check_positive(name: str, value: float, *, zero: bool = False) -> None:
    if not math.isfinite(value) or value < 0 or (value == 0 and not zero):
        raise InputError(f"{name} must be a finite number {'of at least' if zero else 'above'} 0, got {value!r}")


def _check_types(options: Recipe) -> None:
    """The annotations hold: values may come from a file that somebody edited."""
    kinds: dict[str, tuple[type, ...]] = {"str": (str,), "float": (int, float), "int": (int,), "bool": (bool,)}
    kinds |= {"tuple[int, ...]": (tuple,), "tuple[str, ...]": (tuple,), "Allocation": (str,)}
    for field in fields(options):
        annotation, _, optional = str(field.type).partition(" | ")
        value = getattr(options, field.name)
        right = isinstance(value, kinds[annotation]) and (annotation == "bool" or not isinstance(value, bool))
        if not right and not (optional and value is None):
            raise InputError(f"{field.name} must be of type {annotation}, got {value!r}")
        if isinstance(value, str) and value != value.encode(errors="replace").decode():
            raise InputError(f"{field.name} must be text that UTF-8 can write, got {value!r}")
