"""The training loop: one network, one epoch after another, nothing hidden.

Whatever chance decides in an epoch (the order of samples, dropout) depends on (seed, epoch) alone, and what rewiring
decides on its own seed. So a network that goes on from the end of an epoch does exactly as it would have done.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer.connectivity import SparseLinear
from gossamer.errors import InputError
from gossamer.evaluate.units import fan_out
from gossamer.models import MLP
from gossamer.plasticity import Rewire, preset, schedule
from gossamer.training.options import Options

__all__ = ["DivergedError", "Epoch", "Fit", "Samples", "build", "evaluate"]

TWIN_ACTIVITY = "relu"
"""What fires in the dense twin: the network that one would train otherwise."""

_SNAPSHOTS = 100  # recorded states of the input wiring, at most about so many


class DivergedError(InputError):
    """The loss is no longer a number."""


class Samples(NamedTuple):
    """Rows ``x`` (n, features) and their classes ``y`` (n), on the device that trains."""

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Epoch:
    """What an epoch (counted from 1) brought.

    Losses are mean cross-entropies in nats, those of training taken during the epoch, before each step. ``seconds``
    went into training and rewiring, not into validation. ``born`` and ``died`` count the connections that moved.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    connections: int
    seconds: float
    born: int
    died: int


def evaluate(model: nn.Module, samples: Samples, *, amp: bool = False, batch_size: int = 4096) -> tuple[float, int]:
    """Mean cross-entropy over ``samples`` and how many of them are classified correctly, with dropout off."""
    loss, correct = 0.0, 0
    training = model.training
    model.eval()
    with torch.inference_mode():
        for x, y in zip(samples.x.split(batch_size), samples.y.split(batch_size), strict=True):
            with torch.autocast(x.device.type, torch.bfloat16, enabled=amp):
                logits = model(x)
            loss += float(F.cross_entropy(logits.float(), y, reduction="sum"))
            correct += int((logits.argmax(1) == y).sum())
    model.train(training)
    return loss / max(1, len(samples.y)), correct


def build(options: Options, features: int, classes: int, *, sparse: bool, seed: int) -> MLP:
    """The untrained network of ``seed``, or its dense twin."""
    return MLP(
        features,
        options.hidden,
        classes,
        density=options.density if sparse else None,
        output_density=options.output_density if sparse else None,
        allocate=options.allocate,
        activity=options.activity if sparse else TWIN_ACTIVITY,
        dropout=options.dropout,
        generator=torch.Generator().manual_seed(seed),
    )


class Fit:
    """One network in training: model, optimizer and rewiring, and the epochs that lie behind them.

    Args:
        options: what to train and how.
        sparse: the sparse network, or its dense twin.
        seed: of wiring, weights, order and dropout.
        classes: number of classes, the outputs.
        train, validation: the samples.

    ``run`` trains; ``state_dict`` at the end of any epoch is all that another `Fit` needs to go on from there.
    """

    def __init__(
        self, options: Options, *, sparse: bool, seed: int, classes: int, train: Samples, validation: Samples
    ) -> None:
        self.options, self.sparse, self.seed = options, sparse, seed
        self.train, self.validation = train, validation
        self.model = build(options, train.x.shape[1], classes, sparse=sparse, seed=seed).to(train.x.device)
        self.optimizer = _optimizer(options, self.model)
        evolving = options.rewire != "none" and any(isinstance(m, SparseLinear) for m in self.model.modules())
        self.rewire: Rewire | None = None
        if evolving:
            fraction = schedule.constant(options.fraction)
            if options.schedule == "cosine":
                fraction = schedule.cosine(options.fraction, options.epochs)
            self.rewire = Rewire(
                self.model, self.optimizer, **preset(options.rewire, fraction), inputs=train.x, seed=seed
            )
        self.history: list[Epoch] = []
        self.best: dict[str, Any] | None = None  # epoch, loss and model, if patience asks for them
        self.finished = False
        self.wiring: dict[int, tuple[Tensor, Tensor]] = {}  # epoch -> strength, degree
        self._record_wiring(0)

    def run(self, on_step: Callable[[int, Tensor], None] | None = None) -> Iterator[Epoch]:
        """Train to the end, yielding after each epoch; ``on_step(step, loss)`` is called after each batch."""
        while not self.finished:
            yield self._epoch(on_step or _ignore)

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return math.ceil(len(self.train.y) / self.options.batch_size)

    def _epoch(self, on_step: Callable[[int, Tensor], None]) -> Epoch:
        options, model, device = self.options, self.model, self.train.x.device
        epoch = len(self.history) + 1
        start = time.perf_counter()
        order_seed, noise_seed = np.random.SeedSequence([self.seed, epoch]).generate_state(2, np.uint64).tolist()
        order = torch.randperm(len(self.train.y), generator=torch.Generator().manual_seed(order_seed)).to(device)
        total_loss = torch.zeros((), device=device)
        correct = torch.zeros((), dtype=torch.int64, device=device)
        model.train()
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(noise_seed)  # for dropout
            for step, rows in enumerate(order.split(options.batch_size)):
                self._set_learning_rate((epoch - 1) * self.steps + step)
                x, y = self.train.x[rows], self.train.y[rows]
                with torch.autocast(device.type, torch.bfloat16, enabled=options.amp):
                    logits = model(x)
                loss = F.cross_entropy(logits.float(), y)
                self.optimizer.zero_grad()
                loss.backward()
                if options.clip is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), options.clip)
                self.optimizer.step()
                total_loss += loss.detach() * len(y)
                correct += (logits.argmax(1) == y).sum()
                on_step(step + 1, loss.detach())
        if device.type != "cpu":
            total_loss.item()  # wait for the device before looking at the clock
        seconds = time.perf_counter() - start
        validation_loss, validation_correct = evaluate(model, self.validation, amp=options.amp)
        train_loss = float(total_loss) / len(self.train.y)
        if not (math.isfinite(train_loss) and math.isfinite(validation_loss)):
            raise DivergedError(
                f"training diverged in epoch {epoch}: the loss is {train_loss:g} in training and "
                f"{validation_loss:g} in validation. Lower the learning rate, {options.learning_rate:g} now"
            )
        self._note_best(epoch, validation_loss)
        born = died = 0
        if self.rewire is not None and not self.finished:
            start = time.perf_counter()
            changes = self.rewire.step(score=validation_correct)
            died = sum(change.died.numel() for change in changes)
            born = sum(change.born.numel() for change in changes)
            seconds += time.perf_counter() - start
        record = Epoch(
            epoch=epoch,
            train_loss=train_loss,
            train_accuracy=int(correct) / len(self.train.y),
            validation_loss=validation_loss,
            validation_accuracy=validation_correct / max(1, len(self.validation.y)),
            connections=_connections(model),
            seconds=seconds,
            born=born,
            died=died,
        )
        self.history.append(record)
        self._record_wiring(epoch)
        return record

    def _note_best(self, epoch: int, loss: float) -> None:
        """Keep the best state if patience needs it; decide whether this was the last epoch, and return to the best."""
        patience = self.options.patience
        self.finished = epoch == self.options.epochs
        if patience is None:
            return
        if self.best is None or loss < self.best["loss"]:
            self.best = {"epoch": epoch, "loss": loss, "model": copy.deepcopy(self.model.state_dict())}
        self.finished = self.finished or epoch - self.best["epoch"] >= patience
        if self.finished:
            self.model.load_state_dict(self.best["model"])

    def _set_learning_rate(self, step: int) -> None:
        rate = self.options.learning_rate
        if self.options.schedule == "cosine":
            rate *= 0.5 * (1 + math.cos(math.pi * step / (self.options.epochs * self.steps)))
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["scale"]

    def _record_wiring(self, epoch: int) -> None:
        """Of the sparse network, Σ|w| over the links that leave each input, and their number."""
        wanted = epoch % math.ceil(self.options.epochs / _SNAPSHOTS) == 0 or self.finished
        if not (self.sparse and wanted):
            return
        first = next(m for m in self.model.modules() if isinstance(m, SparseLinear | nn.Linear))
        if isinstance(first, SparseLinear):
            columns = first.pattern.col_indices.long()
            strength = torch.zeros(first.in_features, device=columns.device)
            strength.index_add_(0, columns, first.values.detach().abs())
        else:
            strength = first.weight.detach().abs().sum(0)
        self.wiring[epoch] = strength.cpu(), fan_out(first).cpu()

    # ---- what a checkpoint holds -----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers and texts in dicts and lists."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rewire": None if self.rewire is None else self.rewire.state_dict(),
            "history": [asdict(record) for record in self.history],
            "best": self.best,
            "finished": self.finished,
            "wiring": {epoch: list(pair) for epoch, pair in self.wiring.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` gave."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.rewire is not None:
            self.rewire.load_state_dict(state["rewire"])
        self.history = [Epoch(**record) for record in state["history"]]
        self.best, self.finished = state["best"], state["finished"]
        self.wiring = {epoch: (pair[0], pair[1]) for epoch, pair in state["wiring"].items()}


def _ignore(step: int, loss: Tensor) -> None:
    pass


def _connections(model: nn.Module) -> int:
    linear = (m for m in model.modules() if isinstance(m, SparseLinear | nn.Linear))
    return sum(m.nnz if isinstance(m, SparseLinear) else m.weight.numel() for m in linear)


def _optimizer(options: Options, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer, with a ``scale`` for each group of parameters by which its learning rate is multiplied.

    Weights of a sparse layer start larger than those of a dense one by 1/√density. Adam's steps are as long as the
    learning rate, whatever the gradients: to change both layers in the same proportion, the sparse one's is multiplied
    by 1/√density. Gradient descent needs no such thing.
    """
    groups: dict[float, list[nn.Parameter]] = {}
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if isinstance(module, SparseLinear) and options.optimizer != "sgd":
            groups.setdefault(module.density**-0.5, []).append(module.values)
            own = [parameter for parameter in own if parameter is not module.values]
        groups.setdefault(1.0, []).extend(own)
    parameters = [{"params": group, "scale": scale} for scale, group in groups.items()]
    rate, decay = options.learning_rate, options.weight_decay
    fused = True if next(model.parameters()).device.type in ("cpu", "cuda") else None
    if options.optimizer == "sgd":
        return torch.optim.SGD(parameters, rate, options.momentum, weight_decay=decay, fused=fused)
    if options.optimizer == "adamw":
        return torch.optim.AdamW(parameters, rate, weight_decay=decay, fused=fused)
    return torch.optim.Adam(parameters, rate, weight_decay=decay, fused=fused)
