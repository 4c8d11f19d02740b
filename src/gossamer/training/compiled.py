"""The compiled training step: many batches in one call of C++, without autograd.

It takes networks that are a stack of layers (see `gossamer.models.stack`), some of them sparse, on the CPU in float32
or float64; the losses of the three tasks; SGD, Adam and AdamW. It does as autograd does, up to rounding: the same
batches in the same order, the same dropout, and the optimizer's state in the optimizer's own tensors, so that rewiring,
checkpoints and a change to autograd at any time find what they expect. ``grad`` of each parameter is that of the last
batch. Where it does not apply, `Refused` says why.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import optimizer as registries

from gossamer.connectivity import SparseLinear
from gossamer.kernels import is_plain
from gossamer.kernels.training_step import RECIPE, Rows, TrainingStep
from gossamer.models.stack import Refused, add_layers, layers_of, parameters_of
from gossamer.training.samples import Samples, SparseRows
from gossamer.training.task import MULTICLASS, MULTILABEL, REGRESSION, Task

__all__ = ["Batches", "CompiledSteps", "Refused"]

_SECONDS = 0.05  # in C++ at a time, about: Ctrl-C waits as long
_WORDS = 1 << 18  # random words of dropout that are drawn at a time, at most about

_Kind = Literal["sgd", "adam", "adamw"]
_TaskName = Literal["classes", "labels", "numbers"]
_OPTIMIZERS: dict[type[torch.optim.Optimizer], _Kind] = {
    torch.optim.SGD: "sgd",
    torch.optim.Adam: "adam",
    torch.optim.AdamW: "adamw",
}
_TASKS: tuple[tuple[Task, _TaskName], ...] = ((MULTICLASS, "classes"), (MULTILABEL, "labels"), (REGRESSION, "numbers"))


class Batches(NamedTuple):
    """Batches that are done: their number so far, and of each of the latest its rows, summed loss and summed credit."""

    done: int
    rows: Tensor
    losses: Tensor
    credits: Tensor


class CompiledSteps:
    """Steps of ``optimizer`` for ``model`` on ``samples``.

    Args:
        model: the network, in training mode.
        optimizer: of all its parameters.
        samples: n samples.
        task: of its outputs.
        noise: the generator that its dropout layers draw from.
        max_grad_norm: bound of the gradient's norm.

    Raises:
        Refused: the compiled step does not apply.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        samples: Samples,
        task: Task,
        *,
        noise: torch.Generator | None = None,
        max_grad_norm: float | None = None,
    ) -> None:
        self.model, self.optimizer, self.noise, self.max_grad_norm = model, optimizer, noise, max_grad_norm
        self.rows, self.batch_major = _rows(samples)
        self.task, self.y, self.weight = _targets(samples, task)
        self.features = samples.x.shape[1]
        self._outputs = self.y.shape[1] if self.task != "classes" else int(self.y.max()) + 1 if len(self.y) else 1
        self.changed: list[Tensor] = []  # what a step writes to
        self.counts: list[Tensor] = []  # the optimizer's numbers of steps
        self.momenta: list[tuple[dict[str, Any], Tensor]] = []  # that are yet to be made, and where they belong
        self._plan()

    def run(
        self,
        order: Tensor,
        batch_size: int,
        before_step: Callable[[int], None] | None = None,
        *,
        singly: bool = False,
    ) -> Iterator[Batches]:
        """One step on each batch of the rows in ``order``, yielding every few hundredths of a second.

        ``before_step`` is called with the number of each batch and may set what is in ``optimizer.param_groups``. With
        ``singly``, it yields after each batch: a caller that changes the network between steps needs this.
        Network, pattern and optimizer are looked at anew after each yield.

        Raises:
            Refused: they have become such that autograd has to go on, after the batches that are done.
        """
        batches, done = math.ceil(order.numel() / batch_size), 0
        connections = sum(parameter.numel() for parameter in self.model.parameters())
        count = max(1, int(_SECONDS / (1e-5 + 2e-9 * connections * batch_size)))  # until it has been measured
        while done < batches:
            if done:
                self._plan()
            count = 1 if singly else min(count, batches - done, max(1, _WORDS // max(1, self._words(batch_size))))
            recipes = np.empty((count, len(self.optimizer.param_groups), len(RECIPE)))
            for i in range(count):
                if before_step is not None:
                    before_step(done + i)
                recipes[i] = [_recipe(group) for group in self.optimizer.param_groups]
            start = time.perf_counter()
            losses, credits = self._train(order[done * batch_size :][: count * batch_size], batch_size, recipes)
            seconds = time.perf_counter() - start
            done += count
            rows = torch.full((count,), batch_size)
            rows[-1] = min(batch_size, order.numel() - (done - 1) * batch_size)
            yield Batches(done, rows, losses, credits)
            count = max(1, min(8 * count, int(count * _SECONDS / max(seconds, 1e-9))))

    def _train(self, order: Tensor, batch_size: int, recipes: np.ndarray[Any, Any]) -> tuple[Tensor, Tensor]:
        whole, last = divmod(order.numel(), batch_size)
        words = whole * self._words(batch_size) + self._words(last)
        bits = None
        if words:
            bits = torch.empty(words, dtype=torch.int64)
            bits.random_(torch.iinfo(torch.int64).min, None, generator=self.noise)
        result = self.step.train(
            self.rows,
            self.task,
            self.y,
            self.weight,
            order,
            batch_size,
            bits=bits,
            recipes=torch.from_numpy(recipes),
            optimizer=self.kind,
            max_grad_norm=self.max_grad_norm,
        )
        for state, momentum in self.momenta:
            state["momentum_buffer"] = momentum
        torch.autograd.graph.increment_version(self.changed)
        for count in self.counts:
            count += len(recipes)
        if "step" in vars(self.optimizer):  # wrapped by a schedule, which asks whether it was called
            self.optimizer._opt_called = True  # type: ignore[attr-defined]
        return result

    def _words(self, batch: int) -> int:
        """Random words for the dropout of a batch."""
        return sum((units * batch + 3) // 4 for units in self.dropped)

    def _plan(self) -> None:
        """Read network and optimizer as they are now, and make what is missing of gradients and state."""
        if not torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or torch.is_anomaly_enabled():
            raise Refused("gradients are off, or autocast or the detection of anomalies is on")
        if not is_plain(self.rows.x):
            raise Refused("a compiler, a tracer or a tensor subclass looks on")
        layers = layers_of(self.model)
        if not any(isinstance(layer, SparseLinear) for _, layer in layers):
            raise Refused("no layer is sparse")
        parameters = parameters_of(layers)
        numbers = {id(parameter): i for i, (_, parameter) in enumerate(parameters)}
        self.kind, groups = _groups_of(self.optimizer)
        for name, parameter in parameters:
            self._check(name, parameter, groups)
        step = TrainingStep(self.rows.x.dtype)
        outputs, self.dropped = add_layers(step, layers, lambda p: numbers[id(p)], self.features, self.batch_major)
        if self._outputs > outputs or (self.task != "classes" and self._outputs != outputs):
            raise Refused(f"the targets ask for {self._outputs} outputs, the network has {outputs}")
        if any(
            isinstance(layer.generator, torch.Generator) and layer.generator is not self.noise
            for _, layer in layers
            if hasattr(layer, "generator")
        ) or (self.dropped and self.noise is None):
            raise Refused("dropout draws from a generator of its own")
        self.step, self.changed, self.counts, self.momenta = step, [], [], []
        for _, parameter in parameters:
            self._add(parameter, groups[id(parameter)])

    def _check(self, name: str, parameter: nn.Parameter, groups: dict[int, int]) -> None:
        if type(parameter) is not nn.Parameter or not is_plain(parameter) or parameter.is_inference():
            raise Refused(f"{name} has other parameters than ordinary ones")
        if not parameter.is_cpu or parameter.dtype != self.rows.x.dtype or not parameter.is_contiguous():
            raise Refused(f"{name} has {parameter.dtype} on {parameter.device}, the samples {self.rows.x.dtype}")
        if not parameter.requires_grad or id(parameter) not in groups:
            raise Refused(f"{name} has parameters that are not trained")
        if parameter._backward_hooks or getattr(parameter, "_post_accumulate_grad_hooks", None):
            raise Refused(f"a hook watches the gradients of {name}")
        for key, value in self.optimizer.state.get(parameter, {}).items():
            if key in ("exp_avg", "exp_avg_sq", "momentum_buffer") and value is not None:
                fits = value.shape == parameter.shape and value.dtype == parameter.dtype
                if not (fits and value.is_cpu and value.is_contiguous() and not value.is_inference()):
                    raise Refused(f"the optimizer's {key} is not like the parameter of {name}")

    def _add(self, parameter: nn.Parameter, number: int) -> None:
        """With its gradient, and the optimizer's state, which is made as the optimizer would."""
        group = self.optimizer.param_groups[number]
        first = second = None
        steps, fresh = 0.0, False
        if self.kind != "sgd":
            state = self.optimizer.state[parameter]
            if not state:
                wide = torch.get_default_dtype() == torch.float64 and not group["fused"]
                state["step"] = torch.zeros((), dtype=torch.float64 if wide else torch.float32)
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
            first, second, steps = state["exp_avg"], state["exp_avg_sq"], float(state["step"])
            self.counts.append(state["step"])
        elif group["momentum"] != 0:
            state = self.optimizer.state[parameter]
            first = state.get("momentum_buffer")
            fresh = first is None
            if first is None:
                first = torch.empty_like(parameter, requires_grad=False)
                self.momenta.append((state, first))
        parameter.grad = torch.empty_like(parameter, requires_grad=False)
        self.changed += [t for t in (parameter, first, second) if t is not None]
        self.step.parameter(parameter, parameter.grad, first, second, group=number, steps=steps, fresh=fresh)


# ---- samples ---------------------------------------------------------------------------------------------------------


def _rows(samples: Samples) -> tuple[Rows, bool]:
    """Rows, and whether a batch of them has its samples one behind the other in memory, as PyTorch gathers it."""
    x, n = samples.x, len(samples.y)
    if isinstance(samples.y, SparseRows):
        raise Refused("the targets are sparse rows")
    if len(x.shape) == 4:
        raise Refused("the samples are images")
    if len(x.shape) != 2 or x.shape[0] < n:
        raise Refused(f"the samples have shape {tuple(x.shape)}")
    if x.dtype not in (torch.float32, torch.float64):
        raise Refused(f"the samples are {x.dtype}")
    if x.device.type != "cpu":
        raise Refused(f"the samples are on {x.device}")
    if isinstance(x, Tensor):
        if x.requires_grad or not is_plain(x) or x.is_neg():
            raise Refused("the samples are no ordinary tensor")
        return Rows(x), bool(x[torch.arange(min(2, n))].is_contiguous())
    matrix, shift = x.matrix, x.shift
    indptr = torch.from_numpy(matrix.indptr.astype(np.int64, copy=False))
    indices = torch.from_numpy(matrix.indices.astype(np.int32, copy=False))
    if shift is not None and (shift.dtype != x.dtype or shift.shape != x.shape[1:]):
        raise Refused(f"the shift of the samples is {shift.dtype} of shape {tuple(shift.shape)}")
    return Rows(torch.from_numpy(matrix.data), indptr, indices, None if shift is None else shift.contiguous()), False


def _targets(samples: Samples, task: Task) -> tuple[_TaskName, Tensor, Tensor | None]:
    name = next((name for known, name in _TASKS if task == known), None)
    y, weight = samples.y, samples.weight
    if name is None:
        raise Refused("the loss is none of those of the three tasks, or has a cost of the network beside it")
    assert isinstance(y, Tensor)
    if name == "classes":
        if y.dtype != torch.int64 or y.dim() != 1 or (len(y) and int(y.min()) < 0):
            raise Refused("the classes are not whole numbers from 0 on")
    elif y.dtype != samples.x.dtype or y.dim() != 2:
        raise Refused(f"the targets are {y.dtype} of shape {tuple(y.shape)}")
    if weight is not None and (weight.dtype != samples.x.dtype or weight.shape != y.shape[:1]):
        raise Refused(f"the weights of samples are {weight.dtype} of shape {tuple(weight.shape)}")
    if any(not t.is_cpu or t.requires_grad for t in (y, weight) if t is not None):
        raise Refused("the targets are on another device, or learned")
    return name, y.contiguous(), None if weight is None else weight.contiguous()


# ---- optimizers ------------------------------------------------------------------------------------------------------


def _groups_of(optimizer: torch.optim.Optimizer) -> tuple[_Kind, dict[int, int]]:
    """What kind of step it takes, and the group of each parameter, by its identity."""
    kind = _OPTIMIZERS.get(type(optimizer))
    if kind is None:
        raise Refused(f"the optimizer is {type(optimizer).__name__}")
    groups = optimizer.param_groups
    if any(group.get(name) for group in groups for name in ("amsgrad", "maximize", "differentiable", "capturable")):
        raise Refused("the optimizer has options besides those of plain descent")
    decoupled = {bool(group.get("decoupled_weight_decay", kind == "adamw")) for group in groups}
    if kind != "sgd":
        if len(decoupled) > 1:
            raise Refused("the optimizer decays weights in two ways")
        kind = "adamw" if decoupled.pop() else "adam"
    replaced = vars(optimizer).get("step")
    ours = [hook for hook in registries._global_optimizer_pre_hooks.values() if hook.__module__.startswith("gossamer.")]
    others = len(registries._global_optimizer_pre_hooks) - len(ours) + len(registries._global_optimizer_post_hooks)
    own = len(optimizer._optimizer_step_pre_hooks) + len(optimizer._optimizer_step_post_hooks)
    if others + own or (replaced is not None and not hasattr(replaced, "_wrapped_by_lr_sched")):
        raise Refused("a hook watches the optimizer")
    return kind, {id(parameter): i for i, group in enumerate(groups) for parameter in group["params"]}


def _recipe(group: dict[str, Any]) -> tuple[float, ...]:
    beta1, beta2 = group.get("betas", (0.0, 0.0))
    momentum, dampening = group.get("momentum", 0.0), group.get("dampening", 0.0)
    numbers = group["lr"], group["weight_decay"], momentum, dampening, group.get("nesterov", False)
    return *map(float, numbers), float(beta1), float(beta2), float(group.get("eps", 0.0))
