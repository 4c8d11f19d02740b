"""A step that is interrupted, wherever, has been done wholly or not at all."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gossamer
from gossamer import SparseConv2d, SparseLinear
from gossamer.plasticity import GradualMagnitudePruning, Rewire, drop, grow, importance_prune_, magnitude_prune_
from gossamer.plasticity.commit import commit

ROOMS = tuple(str(Path(gossamer.__file__).parent / room) for room in ("plasticity", "connectivity"))
Step = Callable[[], object]


class Interrupted(BaseException):
    """Stands for Ctrl-C."""


def build() -> nn.Sequential:
    g = torch.Generator().manual_seed(0)
    return nn.Sequential(
        nn.Unflatten(1, (1, 3, 4)),
        SparseConv2d(1, 4, 2, density=0.5, generator=g),
        nn.Flatten(),
        nn.Dropout(),
        SparseLinear(24, 6, density=0.3, generator=g),
        nn.Tanh(),
        SparseLinear(6, 3, density=0.5, generator=g),
    )


def trained() -> tuple[nn.Sequential, torch.optim.Optimizer]:
    net = build()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    with torch.random.fork_rng():  # of the dropout
        torch.manual_seed(0)
        for _ in range(2):
            optimizer.zero_grad()
            net(samples()).square().mean().backward()
            optimizer.step()
    return net, optimizer


def samples() -> Tensor:
    return torch.randn(8, 12, generator=torch.Generator().manual_seed(1))


def everything(net: nn.Module, optimizer: torch.optim.Optimizer, owner: object) -> list[Any]:
    """All that a step may change, to be compared."""
    found: list[Any] = [tensor.tolist() for tensor in net.state_dict().values()]
    for state in optimizer.state.values():
        found += [value.tolist() for value in state.values()]
    for module in net.modules():
        found += [module.training, len(module._forward_hooks), len(module._forward_pre_hooks)]
    if isinstance(owner, Rewire):
        found += [owner.steps, len(owner.log), list(owner._scores), {n: len(d) for n, d in owner._degrees.items()}]
    elif isinstance(owner, GradualMagnitudePruning):
        found.append(owner.steps)
    return found


STEPS: dict[str, Callable[[nn.Module, torch.optim.Optimizer], tuple[object, Step]]] = {}
EVERY: dict[str, int] = {}  # at which lines a step is interrupted: each, or every n-th


def step_of(name: str, every: int) -> Callable[[Any], Any]:
    def add(make: Any) -> Any:
        STEPS[name], EVERY[name] = make, every
        return make

    return add


def rewiring(**arguments: Any) -> Any:
    def make(net: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[object, Step]:
        rewire = Rewire(net, optimizer, **arguments)
        return rewire, lambda: rewire.step(score=0.5)

    return make


step_of("uniform", 11)(rewiring(record="indices"))
step_of("keeps", 17)(rewiring(drop=drop.magnitude(0.6), regrown="keeps", new_weights="he"))
step_of("reset", 13)(rewiring(reset_state=True))
step_of("redistribute", 19)(rewiring(redistribute="magnitude"))
step_of("cosine", 43)(rewiring(drop=drop.magnitude_cosine(0.3), grow=grow.cosine(), inputs=samples()))


@step_of("final_prune", 7)
def final_prune(net: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[object, Step]:
    rewire = Rewire(net, optimizer)
    return rewire, rewire.final_prune


@step_of("prune", 5)
def prune(net: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[object, Step]:
    return None, lambda: magnitude_prune_(net, 0.2, optimizer)


@step_of("importance", 7)
def importance(net: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[object, Step]:
    return None, lambda: importance_prune_(net, 0.4, optimizer)


@step_of("gradual", 9)
def gradual(net: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[object, Step]:
    pruning = GradualMagnitudePruning(net, optimizer, density=0.2, steps=2)
    return pruning, pruning.step


def interrupt(step: Step, at: int) -> bool:
    """Call ``step``, raising at the ``at``-th line that it runs in our code; whether it got so far."""
    lines = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal lines
        if not frame.f_code.co_filename.startswith(ROOMS):
            return None
        if event == "line":
            lines += 1
            if lines == at:
                raise Interrupted
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        step()
    except Interrupted:
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.mark.parametrize("name", STEPS)
def test_an_interruption_leaves_the_state_before_or_after(name: str) -> None:
    model, training = (copy.deepcopy(part.state_dict()) for part in trained())
    outcomes = set()
    at = 1
    while True:
        net, optimizer = fresh(model, training)
        owner, step = STEPS[name](net, optimizer)
        before = everything(net, optimizer, owner)
        stopped = interrupt(step, at)
        now = everything(net, optimizer, owner)
        if not stopped:
            break
        if now != before:
            net, optimizer = fresh(model, training)
            owner, step = STEPS[name](net, optimizer)
            step()
            assert now == everything(net, optimizer, owner), f"at line {at}"
        outcomes.add(now == before)
        at += EVERY[name]
    assert outcomes == {True, False}  # some were stopped while it was computed, some while it was put in place
    assert now != before


def fresh(model: dict[str, Any], training: dict[str, Any]) -> tuple[nn.Module, torch.optim.Optimizer]:
    net = build()
    net.load_state_dict(model)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    optimizer.load_state_dict(copy.deepcopy(training))
    return net, optimizer


def test_the_same_step_can_be_taken_after_an_interruption() -> None:
    patterns = []
    for stop in (False, True):
        net, optimizer = trained()
        rewire = Rewire(net, optimizer)
        assert not stop or interrupt(rewire.step, 20)
        rewire.step()
        patterns.append([layer.pattern.flat_indices.tolist() for layer in rewire.layers.values()])
    assert patterns[0] == patterns[1]


def test_a_commit_goes_on_after_several_interruptions_but_not_for_ever() -> None:
    done: list[str] = []

    def at_first_raising(times: int) -> Callable[[], None]:
        left = times

        def change() -> None:
            nonlocal left
            left -= 1
            if left >= 0:
                raise Interrupted

        return change

    with pytest.raises(Interrupted):
        commit([at_first_raising(2), lambda: done.append("last")])
    assert done == ["last"]
    with pytest.raises(Interrupted):
        commit([at_first_raising(100), lambda: done.append("never")])
    assert done == ["last"]


def test_an_error_in_a_rule_for_the_last_layer_changes_nothing() -> None:
    net, optimizer = trained()
    calls: list[str] = []
    rule = grow.uniform()

    def failing(evidence: Any, empty: Any, count: int) -> Tensor:
        calls.append(evidence.name)
        if len(calls) == 3:
            raise ValueError("no more")
        return rule.propose(evidence, empty, count)

    rewire = Rewire(net, optimizer, grow=grow.Grow("failing", failing, (), False))
    before = everything(net, optimizer, rewire)
    with pytest.raises(ValueError, match="no more"):
        rewire.step()
    assert everything(net, optimizer, rewire) == before
