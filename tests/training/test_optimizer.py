from __future__ import annotations

import math
from dataclasses import replace

import pytest

from gossamer import SparseLinear
from gossamer.runs import Options
from gossamer.training.architecture import build
from gossamer.training.optimizer import learning_rate_at, make_optimizer, set_learning_rate


def test_adam_steps_on_sparse_weights_grow_as_the_weights_do(options: Options) -> None:
    for optimizer, scale in (("adam", 0.3**-0.5), ("sgd", 1.0)):
        chosen = replace(options, optimizer=optimizer)
        model = build(chosen, 6, 3, sparse=True, seed=0)
        made = make_optimizer(chosen, model)
        first = model.linear1
        assert isinstance(first, SparseLinear)
        scales = {id(p): group["scale"] for group in made.param_groups for p in group["params"]}
        assert scales[id(first.weight_values)] == pytest.approx(scale, rel=0.02)
        assert scales[id(first.bias)] == 1
        assert len(scales) == len(list(model.parameters()))


def test_the_learning_rate_is_a_function_of_the_step(options: Options) -> None:
    options = replace(options, learning_rate=0.01, epochs=5)
    assert {learning_rate_at(step, replace(options, schedule="constant"), 4) for step in range(20)} == {0.01}
    rates = [learning_rate_at(step, replace(options, schedule="cosine"), 4) for step in range(20)]
    assert rates[0] == 0.01
    assert rates[10] == pytest.approx(0.005)
    assert rates[19] == pytest.approx(0.005 * (1 + math.cos(0.95 * math.pi)))


def test_each_group_has_its_own_rate(options: Options) -> None:
    model = build(options, 6, 3, sparse=True, seed=0)
    optimizer = make_optimizer(options, model)
    set_learning_rate(optimizer, 0.25)
    assert {group["lr"] / group["scale"] for group in optimizer.param_groups} == {0.25}
    assert len({group["lr"] for group in optimizer.param_groups}) > 1
