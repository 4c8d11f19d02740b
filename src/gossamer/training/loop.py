"""The training loop: one network, one epoch after another, nothing hidden.

All random choices of an epoch (the order of samples, augmentation, dropout) depend on (seed, epoch) alone, and those of
rewiring on its own seed. So a network that continues from the end of an epoch does exactly as it would have done.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from torch import Tensor, nn

from gossamer.connectivity import SparseLayer, SparseLinear
from gossamer.evaluate.importance import strength_out
from gossamer.evaluate.unit_activations import fan_out, linear_layers
from gossamer.plasticity import Rewire, preset, schedule
from gossamer.plasticity.presets import RuleArguments
from gossamer.training.architecture import build, check_stored_sparse, constrain
from gossamer.training.augment import Augment
from gossamer.training.epoch import DivergedError, Epoch
from gossamer.training.hebbian import with_hebbian_cost
from gossamer.training.optimizer import learning_rate_at, make_optimizer, set_learning_rate
from gossamer.training.passes import OnStep, evaluate, one_pass
from gossamer.training.pruning import Pruning
from gossamer.training.recipe import Recipe
from gossamer.training.samples import Samples
from gossamer.training.task import MULTICLASS, Task

__all__ = ["Fit"]

_SNAPSHOTS = 100  # recorded states of the input connectivity, at most about so many
_RECORDED = 10_000_000  # inputs in all of them, at most about so many


class Fit:
    """One network in training: model, optimizer and rewiring, and the record of completed epochs.

    ``run`` trains; ``state_dict`` at the end of any epoch is all that another `Fit` needs to continue from there.

    Args:
        options: the recipe.
        sparse: the sparse network, or its dense twin.
        seed: of connectivity, weights, order and dropout.
        outputs: number of outputs, such as classes.
        train: the training samples; images for the models of ``options`` that read them.
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
        self.options, self.sparse, self.seed = options, sparse, seed
        self.train, self.validation = train, validation
        if model is None:
            inputs = train.x if isinstance(train.x, Tensor) and train.x.dim() == 4 else train.x.shape[1]
            model = build(options, inputs, outputs, sparse=sparse, seed=seed)
            model.to(train.x.device, train.x.dtype)
        self.model = model
        self.task = with_hebbian_cost(task, model, options)
        self.augment = None if options.augment is None else Augment.parse(options.augment)
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
            check_stored_sparse(self.model, options)
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
        steps = self.steps
        behind = (epoch - 1) * steps
        pruned: dict[str, int] = {}

        def before_step(step: int) -> None:
            set_learning_rate(self.optimizer, learning_rate_at(behind + step, options, steps))

        def prune(step: int, _: Tensor) -> None:
            assert self.pruning is not None
            for change in self.pruning.after_step(behind + step):
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
            augment=self.augment,
            before_step=before_step,
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


def _connections(model: nn.Module) -> int:
    layers = linear_layers(model).values()
    return sum(layer.nnz if isinstance(layer, SparseLayer) else layer.weight.numel() for layer in layers)
