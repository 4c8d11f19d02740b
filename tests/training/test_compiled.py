"""The compiled step against autograd: the same numbers up to rounding, whatever the stack, loss and optimizer."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.sparse import random_array
from torch import Tensor, nn

import gossamer as gs
from gossamer.activation import AllReLU, Hoyer, SReLU, TopK
from gossamer.connectivity import FeatureMajorLinear, Pattern, SparseLinear, SparseLinearReLU
from gossamer.models.noise import Dropout
from gossamer.training import Samples
from gossamer.training.compiled import CompiledSteps, Refused
from gossamer.training.loop import Pass, one_pass
from gossamer.training.samples import SparseRows
from gossamer.training.task import MULTICLASS, MULTILABEL, REGRESSION, Task

TASKS = {"classes": MULTICLASS, "labels": MULTILABEL, "numbers": REGRESSION}


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def activation(name: str, units: int, chance: torch.Generator) -> nn.Module:
    return {
        "relu": nn.ReLU,
        "leaky": lambda: nn.LeakyReLU(0.1),
        "allrelu": lambda: AllReLU(0.6, 1),
        "sigmoid": nn.Sigmoid,
        "tanh": nn.Tanh,
        "identity": nn.Identity,
        "srelu": lambda: SReLU(units, generator=chance),
        "hoyer": lambda: Hoyer(0.6, norm=1.5),
        "signed hoyer": lambda: Hoyer(0.6, signed=True),
        "topk": lambda: TopK(max(1, units // 2)),
        "signed topk": lambda: TopK(max(1, units // 3), signed=True),
    }[name]()


def linear(kind: str, inputs: int, outputs: int, chance: torch.Generator, bias: bool = True) -> nn.Module:
    if kind in ("sparse", "sparse relu"):
        layer = SparseLinear if kind == "sparse" else SparseLinearReLU
        return layer(inputs, outputs, 0.4, bias=bias, generator=chance)
    dense = (nn.Linear if kind == "dense" else FeatureMajorLinear)(inputs, outputs, bias=bias)
    with torch.no_grad():
        for parameter in dense.parameters():
            parameter.uniform_(-0.5, 0.5, generator=chance)
    return dense


@st.composite
def networks(draw: st.DrawFn) -> tuple[nn.Sequential, int, int]:
    """A stack with a sparse layer at least, its numbers of inputs and outputs."""
    chance = generator(draw(st.integers(0, 99)))
    sizes = draw(st.lists(st.integers(2, 40), min_size=2, max_size=4))
    kinds = [draw(st.sampled_from(["sparse", "sparse", "sparse relu", "dense", "feature-major"])) for _ in sizes[1:]]
    kinds[draw(st.integers(0, len(kinds) - 1))] = "sparse"
    layers: list[nn.Module] = [Dropout(0.2)] if draw(st.booleans()) else []
    names = ["relu", "leaky", "allrelu", "sigmoid", "tanh", "identity", "srelu"]
    names += ["hoyer", "signed hoyer", "topk", "signed topk"]
    for i, (kind, inputs, outputs) in enumerate(zip(kinds, sizes, sizes[1:], strict=False)):
        layers.append(linear(kind, inputs, outputs, chance, draw(st.booleans())))
        if i < len(kinds) - 1:
            layers.append(activation(draw(st.sampled_from(names)), outputs, chance))
            if draw(st.booleans()):
                layers.append(Dropout(draw(st.sampled_from([0.1, 0.5]))))
    return nn.Sequential(*layers), sizes[0], sizes[-1]


def samples(n: int, inputs: int, outputs: int, task: str, dtype: torch.dtype, weighted: bool, seed: int = 0) -> Samples:
    chance = generator(seed)
    x = torch.randn(n, inputs, generator=chance, dtype=dtype)
    y = {
        "classes": lambda: torch.randint(outputs, (n,), generator=chance),
        "labels": lambda: torch.randint(2, (n, outputs), generator=chance).to(dtype),
        "numbers": lambda: torch.randn(n, outputs, generator=chance, dtype=dtype),
    }[task]()
    return Samples(x, y, torch.rand(n, generator=chance, dtype=dtype) * 2 if weighted else None)


def optimizer_of(name: str, net: nn.Module, **options: Any) -> torch.optim.Optimizer:
    first, *rest = net.parameters()
    groups = [{"params": [first]}, {"params": rest, "lr": 0.003}] if rest else [{"params": [first]}]
    if name == "sgd":
        return torch.optim.SGD(groups, 0.01, weight_decay=0.01, **options)
    return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[name](groups, 0.01, weight_decay=0.01, **options)


class Pair:
    """A network twice, to be trained by both."""

    def __init__(self, net: nn.Module, optimizer: str, **options: Any) -> None:
        self.nets = {"compiled": net, "autograd": copy.deepcopy(net)}
        self.optimizers = {step: optimizer_of(optimizer, net, **options) for step, net in self.nets.items()}

    def train(self, samples: Samples, task: Task, epochs: int = 3, **options: Any) -> dict[str, list[Pass]]:
        out = {
            step: [
                one_pass(net, self.optimizers[step], samples, task, seed=(0, epoch), step=step, **options)
                for epoch in range(epochs)
            ]
            for step, net in self.nets.items()
        }
        assert {passed.fallback for passed in out["compiled"]} == {None}
        assert {passed.fallback for passed in out["autograd"]} == {"the compiled step is turned off"}
        return out

    def check(self, tolerance: float) -> None:
        """Weights, gradients and the optimizer's state are the same."""
        a, b = self.nets.values()
        for (name, left), right in zip(a.named_parameters(), b.parameters(), strict=True):
            close(left, right, tolerance, name)
            assert left.grad is not None
            assert right.grad is not None
            close(left.grad, right.grad, tolerance, f"gradient of {name}")
        a_state, b_state = (optimizer.state_dict()["state"] for optimizer in self.optimizers.values())
        assert a_state.keys() == b_state.keys()
        for key in a_state:
            assert a_state[key].keys() == b_state[key].keys()
            for name, value in a_state[key].items():
                assert value.dtype == b_state[key][name].dtype
                close(value, b_state[key][name], tolerance, name)


def close(a: Tensor, b: Tensor, tolerance: float, what: str) -> None:
    scale = float(b.detach().abs().max()) if b.numel() else 0.0
    torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * max(scale, 1e-3), msg=lambda m: f"{what}: {m}")


@settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.too_slow])
@given(
    made=networks(),
    task=st.sampled_from(list(TASKS)),
    optimizer=st.sampled_from(["sgd", "momentum", "nesterov", "adam", "adamw"]),
    batch_size=st.integers(1, 40),
    n=st.integers(2, 60),
    clipped=st.booleans(),
    weighted=st.booleans(),
)
def test_any_stack_is_trained_as_by_autograd(
    made: tuple[nn.Sequential, int, int],
    task: str,
    optimizer: str,
    batch_size: int,
    n: int,
    clipped: bool,
    weighted: bool,
) -> None:
    net, inputs, outputs = made
    options: dict[str, Any] = {}
    if optimizer in ("momentum", "nesterov"):
        options = {"momentum": 0.9, "nesterov": optimizer == "nesterov"}
        optimizer = "sgd"
    pair = Pair(net.double(), optimizer, **options)
    given = samples(n, inputs, outputs, task, torch.float64, weighted)
    limit = 0.1 if clipped else None
    passes = pair.train(given, TASKS[task], epochs=2, batch_size=batch_size, max_grad_norm=limit)
    for mine, theirs in zip(passes["compiled"], passes["autograd"], strict=True):
        assert mine.loss == pytest.approx(theirs.loss, rel=1e-9, abs=1e-12)
        assert mine.credit == pytest.approx(theirs.credit, rel=1e-6, abs=1e-9)
    pair.check(1e-6)
