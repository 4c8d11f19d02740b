"""The training loop: one network, one epoch after another, nothing hidden.

All random choices of an epoch (the order of samples, dropout) depend on (seed, epoch) alone, and those of rewiring
on its own seed. So a network that continues from the end of an epoch does exactly as it would have done.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from gossamer.connectivity import SparseLayer, SparseLinear, constraints
from gossamer.errors import InputError
from gossamer.evaluate.importance import strength_out
from gossamer.evaluate.mode import evaluating
from gossamer.evaluate.predictor import Predictor
from gossamer.evaluate.unit_activations import fan_out, linear_layers
from gossamer.models import MLP
from gossamer.noise import Noise
from gossamer.plasticity import Rewire, preset, schedule
from gossamer.plasticity.presets import RuleArguments
from gossamer.training.compiled import CompiledSteps, Refused
from gossamer.training.epoch import DivergedError, Epoch, random_order
from gossamer.training.pruning import Pruning
from gossamer.training.recipe import Recipe
from gossamer.training.samples import Samples, SparseRows
from gossamer.training.task import MULTICLASS, Tally, Task

__all__ = [
    "DivergedError",
    "Epoch",
    "Fit",
    "architecture",
    "build",
    "constrain",
    "evaluate",
    "make_optimizer",
    "one_pass",
]

TWIN_ACTIVATION = "relu"
"""Activation of the dense twin: the network that one would train without this package."""

_SNAPSHOTS = 100  # recorded states of the input connectivity, at most about so many
_RECORDED = 10_000_000  # inputs in all of them, at most about so many

OnStep = Callable[[int, Tensor], None]


class Pass(NamedTuple):
    """Mean loss and summed credit of the batches of an epoch, each taken before its step.

    ``fallback`` is the reason why autograd computed it; None if the compiled step did.
    """

    loss: float
    credit: float
    fallback: str | None


def evaluate(
    model: nn.Module, samples: Samples, task: Task = MULTICLASS, *, amp: bool = False, batch_size: int = 4096
) -> tuple[float, float]:
    """Measure mean loss and summed credit over samples, in evaluation mode; modes of all modules are restored.

    Args:
        model: the network.
        samples: the samples.
        task: the task of the outputs.
        amp: compute in bfloat16 where that is safe.
        batch_size: samples run at a time.

    Returns:
        The mean loss and the summed credit; for classes, the number of samples that are right.

    Example:
        >>> samples = gs.training.Samples(torch.eye(3), torch.tensor([0, 1, 1]))
        >>> gs.training.evaluate(nn.Identity(), samples)[1]
        2
    """
    tally, predict = Tally(task), model if amp else Predictor(model)
    batch_size = min(batch_size, samples.x.page) if isinstance(samples.x, SparseRows) else batch_size
    with evaluating(model), torch.inference_mode():
        for x, y, weight in samples.batches(batch_size):
            outputs = _outputs(predict, x, amp)
            tally.add(task.loss(outputs, y, weight), outputs, y, weight)
    return tally.totals()


def one_pass(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    samples: Samples,
    task: Task,
    *,
    batch_size: int,
    seed: tuple[int, int],
    step: str = "compiled",
    amp: bool = False,
    max_grad_norm: float | None = None,
    before_step: Callable[[int], None] | None = None,
    on_step: OnStep | None = None,
    report: OnStep | None = None,
) -> Pass:
    """Train on every sample once, in an order drawn by ``seed``, as is dropout.

    ``before_step`` is called with the number 0, 1, … of each batch and may set learning rates. ``on_step`` is called
    after each step with its number from 1 and its loss, and may change the network. So is ``report``, which may not:
    the compiled step calls it for several batches at a time, some hundredths of a second later. Without ``on_step``
    it returns to Python less often.
    """
    order_seed, noise_seed = np.random.SeedSequence(seed).generate_state(2, np.uint64).tolist()
    order = random_order(samples, torch.Generator().manual_seed(order_seed))
    noisy = [module for module in model.modules() if isinstance(module, Noise) and module.generator is None]
    noise = torch.Generator(samples.x.device).manual_seed(noise_seed) if noisy else None
    tally, done, fallback = Tally(task), 0, None

    def take(number: int, x: Tensor, y: Tensor, weight: Tensor | None) -> None:
        if before_step is not None:
            before_step(number)
        outputs = _outputs(model, x, amp)
        loss = task.loss(outputs, y, weight)
        optimizer.zero_grad()
        loss.backward()
        if max_grad_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
        optimizer.step()
        tally.add(loss, outputs, y, weight)
        told(number + 1, loss.detach())

    def told(number: int, loss: Tensor) -> None:
        for callback in (on_step, report):
            if callback is not None:
                callback(number, loss)

    model.train()
    try:
        for module in noisy:
            module.generator = noise
        try:
            if step != "compiled" or amp:
                raise Refused("the compiled step is turned off" if step != "compiled" else "it does without bfloat16")
            steps = CompiledSteps(model, optimizer, samples, task, noise=noise, max_grad_norm=max_grad_norm)
            for done, rows, losses, credits in steps.run(order, batch_size, before_step, singly=on_step is not None):
                tally.add_sums(rows, losses, credits)
                if on_step is not None or report is not None:
                    for number, loss in enumerate((losses / rows).unbind(), start=done - len(rows) + 1):
                        told(number, loss)
        except Refused as reason:
            fallback = str(reason)
            for number, batch in enumerate(samples.batches(batch_size, order[done * batch_size :]), start=done):
                take(number, *batch)
    finally:
        for module in noisy:
            module.generator = None
    return Pass(*tally.totals(), fallback)


def _outputs(model: nn.Module, x: Tensor, amp: bool) -> Tensor:
    if not amp:
        return model(x)  # type: ignore[no-any-return]
    with torch.autocast(x.device.type, torch.bfloat16):
        return model(x).float()  # type: ignore[no-any-return]


def architecture(options: Recipe, features: int, outputs: int, *, sparse: bool = True) -> dict[str, Any]:
    """Return the arguments of `MLP`, as numbers, strings and lists: of the sparse network, or of its dense twin."""
    return {
        "in_features": features,
        "hidden": list(options.hidden),
        "out_features": outputs,
        "density": options.density_for(features) if sparse else None,
        "output_density": options.output_density if sparse else None,
        "allocate": options.allocate,
        "activation": options.activation if sparse else TWIN_ACTIVATION,
        "dropout": options.dropout,
    }


def build(options: Recipe, features: int, outputs: int, *, sparse: bool, seed: int) -> MLP:
    """Build the untrained network of ``seed``, or its dense twin."""
    arguments = architecture(options, features, outputs, sparse=sparse)
    return MLP(**arguments, generator=torch.Generator().manual_seed(seed))


class Fit:
    """One network in training: model, optimizer and rewiring, and the record of completed epochs.

    ``run`` trains; ``state_dict`` at the end of any epoch is all that another `Fit` needs to continue from there.

    Args:
        options: the recipe.
        sparse: the sparse network, or its dense twin.
        seed: of connectivity, weights, order and dropout.
        outputs: number of outputs, such as classes.
        train: the training samples.
        validation: the validation samples; there may be none.
        task: the task of the outputs.
        rule: the rewiring rule, if it is not the one that ``options`` name.
        model: continue with this one, on the device of the samples, instead of a new one.

    Example:
        >>> recipe = gs.training.Recipe(hidden=(20,), epochs=2, batch_size=10, activation="relu")
        >>> samples = gs.training.Samples(torch.randn(50, 8), torch.arange(50) % 2)
        >>> fit = gs.training.Fit(recipe, sparse=True, seed=0, outputs=2, train=samples, validation=samples)
        >>> [record.epoch for record in fit.run()]
        [1, 2]
    """

    def __init__(
        self,
        options: Recipe,
        *,
        sparse: bool,
        seed: int,
        outputs: int,
        train: Samples,
        validation: Samples,
        task: Task = MULTICLASS,
        rule: RuleArguments | None = None,
        model: nn.Module | None = None,
    ) -> None:
        self.options, self.sparse, self.seed, self.task = options, sparse, seed, task
        self.train, self.validation = train, validation
        if model is None:
            model = build(options, train.x.shape[1], outputs, sparse=sparse, seed=seed)
            model.to(train.x.device, train.x.dtype)
        self.model = model
        self.optimizer = make_optimizer(options, self.model)
        if rule is None and options.rewire != "none":
            fraction = schedule.constant(options.fraction)
            if options.schedule == "cosine":
                fraction = schedule.cosine(options.fraction, options.epochs)
            rule = preset(options.rewire, fraction)
        self.rewire: Rewire | None = None
        if rule is not None and any(isinstance(m, SparseLayer) for m in self.model.modules()):
            self.rewire = Rewire(self.model, self.optimizer, **rule, inputs=train.x, seed=seed)
        self.pruning: Pruning | None = None
        if options.prune is not None and sparse:
            _check_stored_sparse(self.model, options)
            self.pruning = Pruning(
                options.prune, self.model, self.optimizer, epochs=options.epochs, steps=self.steps, seed=seed
            )
        if options.constraint is not None and sparse:
            constrain(self.model, options.constraint, self.optimizer, seed)
        self.history: list[Epoch] = []
        self.best: dict[str, Any] | None = None  # epoch, loss and model, if patience asks for them
        self.finished = False
        self.fallback: str | None = None  # why autograd computed the last epoch; None: the compiled step did
        self.connectivity: dict[int, tuple[Tensor, Tensor]] = {}  # epoch -> strength, degree
        self._record_connectivity(0)

    def run(self, on_step: OnStep | None = None) -> Iterator[Epoch]:
        """Train to the end.

        Args:
            on_step: called as ``on_step(step, loss)`` after each batch; by the compiled step for several at a time.

        Yields:
            The record of each epoch.

        Raises:
            DivergedError: the loss is no longer a number.
        """
        while not self.finished:
            yield self._epoch(on_step)

    @property
    def steps(self) -> int:
        """Number of batches in an epoch."""
        return math.ceil(len(self.train.y) / self.options.batch_size)

    def _epoch(self, on_step: OnStep | None) -> Epoch:
        options, model = self.options, self.model
        epoch = len(self.history) + 1
        start = time.perf_counter()
        pruned: dict[str, int] = {}

        def prune(step: int, _: Tensor) -> None:
            assert self.pruning is not None
            for change in self.pruning.after_step((epoch - 1) * self.steps + step):
                pruned[change.layer] = pruned.get(change.layer, 0) + change.dropped.numel()

        train_loss, train_credit, self.fallback = one_pass(
            model,
            self.optimizer,
            self.train,
            self.task,
            batch_size=options.batch_size,
            seed=(self.seed, epoch),
            step=options.step,
            amp=options.amp,
            max_grad_norm=options.max_grad_norm,
            before_step=partial(self._set_learning_rate, (epoch - 1) * self.steps),
            on_step=None if self.pruning is None else prune,
            report=on_step,
        )
        seconds = time.perf_counter() - start
        validation_loss, validation_credit = evaluate(model, self.validation, self.task, amp=options.amp)
        if not (math.isfinite(train_loss) and math.isfinite(validation_loss)):
            raise DivergedError(
                f"training diverged in epoch {epoch}: the loss is {train_loss:g} in training and "
                f"{validation_loss:g} in validation. Lower the learning rate, {options.learning_rate:g} now"
            )
        self._note_best(epoch, validation_loss)
        moved = {layer: (0, count) for layer, count in pruned.items()}
        if self.rewire is not None and not self.finished:
            start = time.perf_counter()
            changes = self.rewire.step(score=validation_credit if len(self.validation.y) else -train_loss)
            for change in changes:
                dropped = change.dropped.numel() + pruned.get(change.layer, 0)
                moved[change.layer] = change.grown.numel(), dropped
            seconds += time.perf_counter() - start
        record = Epoch(
            epoch=epoch,
            train_loss=train_loss,
            train_accuracy=train_credit / len(self.train.y),
            validation_loss=validation_loss,
            validation_accuracy=validation_credit / max(1, len(self.validation.y)),
            connections=_connections(model),
            seconds=seconds,
            grown=sum(grown for grown, _ in moved.values()),
            dropped=sum(dropped for _, dropped in moved.values()),
            moved=moved,
        )
        self.history.append(record)
        self._record_connectivity(epoch)
        return record

    def _note_best(self, epoch: int, loss: float) -> None:
        """Keep the best state if patience needs it; decide whether this was the last epoch, and return to the best."""
        patience = self.options.patience
        self.finished = epoch == self.options.epochs
        if patience is None or (self.pruning is not None and not self.pruning.over(epoch * self.steps)):
            return  # denser networks are no better ones
        if self.best is None or loss < self.best["loss"]:
            self.best = {"epoch": epoch, "loss": loss, "model": copy.deepcopy(self.model.state_dict())}
        self.finished = self.finished or epoch - self.best["epoch"] >= patience
        if self.finished:
            self.model.load_state_dict(self.best["model"])

    def _set_learning_rate(self, behind: int, step: int) -> None:
        # A function of the step alone. LambdaLR would count steps in another state, which checkpoints and the compiled
        # step would have to carry.
        rate = self.options.learning_rate
        if self.options.schedule == "cosine":
            rate *= 0.5 * (1 + math.cos(math.pi * (behind + step) / (self.options.epochs * self.steps)))
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["scale"]

    def _record_connectivity(self, epoch: int) -> None:
        """Of the sparse network, Σ|w| over the connections that leave each input, and their number.

        Nothing of one that begins with a convolution: each of its connections leaves all pixels.
        """
        first = next(iter(linear_layers(self.model).values()), None)
        snapshots = max(1, min(_SNAPSHOTS, _RECORDED // math.prod(self.train.x.shape[1:])))
        wanted = epoch % math.ceil(self.options.epochs / snapshots) == 0 or self.finished
        if self.sparse and wanted and isinstance(first, nn.Linear | SparseLinear):
            self.connectivity[epoch] = strength_out(first).cpu(), fan_out(first).cpu()

    # ---- state of a checkpoint ---------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return the state at the end of an epoch.

        Returns:
            Tensors, numbers and strings in dicts and lists.
        """
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rewire": None if self.rewire is None else self.rewire.state_dict(),
            "pruning": None if self.pruning is None else self.pruning.state_dict(),
            "history": [asdict(record) for record in self.history],
            "best": self.best,
            "finished": self.finished,
            "fallback": self.fallback,
            "connectivity": {epoch: list(pair) for epoch, pair in self.connectivity.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state.

        Args:
            state: the result of `state_dict`.
        """
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.rewire is not None:
            self.rewire.load_state_dict(state["rewire"])
        pruning = state["pruning"]
        if self.pruning is not None:
            self.pruning.load_state_dict(pruning)
        self.history = [Epoch(**record) for record in state["history"]]
        self.best, self.finished = state["best"], state["finished"]
        self.fallback = state["fallback"]
        self.connectivity = {epoch: (pair[0], pair[1]) for epoch, pair in state["connectivity"].items()}


def _check_stored_sparse(model: nn.Module, options: Recipe) -> None:
    full = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name != "output"]
    if full:
        raise InputError(
            f"density must leave every hidden layer sparse for prune={options.prune!r}, and allocate="
            f"{options.allocate!r} gives {', '.join(full)} all connections: lower density, or allocate='uniform'"
        )


def constrain(model: nn.Module, text: str, optimizer: torch.optim.Optimizer, seed: int) -> constraints.Attached:
    """Keep the weights of all layers of ``model`` but its output in the set that ``text`` names, after every step."""
    found = constraints.parse(text, seed=seed)
    return constraints.attach(model, found, optimizer, where=lambda name, _: name != "output")


def _connections(model: nn.Module) -> int:
    layers = linear_layers(model).values()
    return sum(layer.nnz if isinstance(layer, SparseLayer) else layer.weight.numel() for layer in layers)


def make_optimizer(options: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    """Make the optimizer, with a ``scale`` for each group of parameters by which its learning rate is multiplied.

    Weights of a sparse layer start larger than those of a dense one by 1/√density. Adam's steps are as long as the
    learning rate for any gradients: to change both layers in the same proportion, the sparse one's is multiplied
    by 1/√density. Gradient descent needs no such factor.
    """
    groups: dict[float, list[nn.Parameter]] = {}
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if isinstance(module, SparseLayer) and options.optimizer != "sgd":
            groups.setdefault(module.density**-0.5, []).append(module.weight_values)
            own = [parameter for parameter in own if parameter is not module.weight_values]
        groups.setdefault(1.0, []).extend(own)
    parameters = [{"params": group, "scale": scale} for scale, group in groups.items()]
    rate, decay = options.learning_rate, options.weight_decay
    fused = True if next(model.parameters()).device.type in ("cpu", "cuda") else None
    if options.optimizer == "sgd":
        return torch.optim.SGD(parameters, rate, options.momentum, weight_decay=decay, fused=fused)
    if options.optimizer == "adamw":
        return torch.optim.AdamW(parameters, rate, weight_decay=decay, fused=fused)
    return torch.optim.Adam(parameters, rate, weight_decay=decay, fused=fused)
