"""Networks that lose connections, or keep their weights in a set, while they are trained."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from gossamer import InputError, SparseLinear, constraints
from gossamer.training import Fit, Recipe, Samples
from gossamer.training.pruning import Pruning, read_prune
from gossamer.training.recipe import completed

pytestmark = pytest.mark.usefixtures("one_thread")

BASE = Recipe(
    hidden=(16, 12), density=0.5, activation="relu", rewire="none", epochs=4, batch_size=16, learning_rate=0.01
)


def samples(n: int, seed: int) -> Samples:
    x = torch.randn(n, 10, generator=torch.Generator().manual_seed(seed))
    return Samples(x, (x[:, 0] * x[:, 1] > 0).long())


def fit(recipe: Recipe, **options: Any) -> Fit:
    return Fit(recipe, sparse=True, seed=3, outputs=2, train=samples(96, 0), validation=samples(32, 1), **options)


def connections(fit: Fit) -> int:
    return sum(layer.nnz for layer in fit.model.modules() if isinstance(layer, SparseLinear))


@pytest.mark.parametrize("prune", ["gap:0.15", "gradual:0.1", "magnitude:0.1"])
def test_connections_become_fewer_and_the_record_says_so(prune: str) -> None:
    training = fit(replace(BASE, prune=prune))
    start = connections(training)
    history = list(training.run())
    fewer = [epoch.connections - 2 * 12 for epoch in history]  # without the dense output layer
    assert fewer == sorted(fewer, reverse=True)
    assert fewer[-1] == connections(training) < start
    assert sum(epoch.dropped for epoch in history) == start - fewer[-1]
    assert all(epoch.dropped == sum(dropped for _, dropped in epoch.moved.values()) for epoch in history)
    layers = [layer for layer in training.model.modules() if isinstance(layer, SparseLinear)]
    if prune.startswith("gap"):
        assert all(bool((layer.weight_values.abs() >= 0.15).all()) for layer in layers)
        assert fewer[-1] > 0
    else:
        assert fewer[-1] == round(0.1 * (10 * 16 + 16 * 12))
    if prune.startswith("magnitude"):
        assert fewer[0] == start


@pytest.mark.parametrize(
    "options",
    [
        {"prune": "gap:0.15"},
        {"prune": "gradual:0.1"},
        {"prune": "magnitude:0.1", "rewire": "SET"},
        {"constraint": "sign+l1norm:0.05", "rewire": "SET"},
        {"constraint": "hoyer:0.7", "prune": "gap:0.1", "optimizer": "sgd", "learning_rate": 0.1},
        {"prune": "gap:0.1", "patience": 1},
    ],
    ids=str,
)
def test_a_network_goes_on_bit_for_bit_where_it_was_stopped(options: dict[str, Any]) -> None:
    recipe = replace(BASE, **options)
    whole = fit(recipe)
    states = [torch.load(_saved(whole), weights_only=True) for _ in whole.run()]
    for state in states[:-1]:
        again = fit(recipe)
        again.load_state_dict(state)
        list(again.run())
        for name, tensor in whole.model.state_dict().items():
            assert torch.equal(again.model.state_dict()[name], tensor), name
        assert [e.connections for e in again.history] == [e.connections for e in whole.history]


def _saved(training: Fit) -> Any:
    import io

    file = io.BytesIO()
    torch.save(training.state_dict(), file)
    file.seek(0)
    return file


@pytest.mark.parametrize("constraint", ["gap:0.05", "sign:0.5", "sign+gap:0.05+l1norm:0.05", "l0:3", "l1:1"])
def test_a_constraint_holds_in_every_hidden_layer(constraint: str) -> None:
    training = fit(replace(BASE, constraint=constraint, rewire="none" if "gap" in constraint else "SET"))
    found = constraints.parse(constraint, seed=3)
    seen = []

    def on_step(step: int, loss: torch.Tensor) -> None:
        seen.append(all(found.holds(training.model.get_submodule(f"linear{i}")) for i in (1, 2)))

    list(training.run(on_step))
    assert seen
    assert all(seen)
    assert not found.holds(training.model.get_submodule("output"))


def test_early_stopping_waits_until_pruning_is_over() -> None:
    training = fit(replace(BASE, prune="gap:0.15", patience=1, epochs=8))
    list(training.run())
    assert len(training.history) >= 6  # of 8: the gap opens within three quarters
    assert training.best is not None
    assert training.best["epoch"] >= 6


def test_the_dense_twin_is_not_pruned() -> None:
    twin = Fit(
        replace(BASE, prune="gap:0.15", constraint="gap:0.1"),
        sparse=False,
        seed=3,
        outputs=2,
        train=samples(96, 0),
        validation=samples(32, 1),
    )
    assert [epoch.connections for epoch in twin.run()] == [10 * 16 + 16 * 12 + 12 * 2] * 4


def test_steps_are_due_at_their_time() -> None:
    def due(text: str, epochs: int, steps: int) -> list[int]:
        net = torch.nn.Sequential(SparseLinear(20, 20, density=1.0, generator=torch.Generator().manual_seed(0)))
        pruning = Pruning(text, net, torch.optim.SGD(net.parameters()), epochs=epochs, steps=steps, seed=0)
        found = [n for n in range(1, epochs * steps + 1) if pruning.after_step(n)]
        assert pruning.over(epochs * steps)
        return found

    assert due("magnitude:0.5", 4, 10) == [20]
    assert due("magnitude:0.5", 1, 1) == [1]
    assert due("gradual:0.5", 2, 40) == list(range(4, 61, 4))
    assert due("gap:0.1", 1, 25) == [*range(2, 25, 2), 25]
    assert due("gap:0.1", 1, 1) == [1]


def test_mistakes_are_named() -> None:
    for bad in ("", "gap", "gap:", "gap:x", "gap:nan", "hard:0.1", "gradual"):
        with pytest.raises(InputError, match="prune must be gap:WIDTH, magnitude:DENSITY or gradual:DENSITY"):
            read_prune(bad)
    for bad in ("gap:0", "gap:-1", "gap:inf", "gradual:1", "magnitude:0"):
        with pytest.raises(InputError, match=f"prune '{bad}': "):
            replace(BASE, prune=bad)
    with pytest.raises(InputError, match=r"rewire must be 'none' for prune 'gap:0\.1', got 'SET'"):
        replace(BASE, prune="gap:0.1", rewire="SET")
    with pytest.raises(InputError, match=r"must end below the density of the start, 0\.5"):
        replace(BASE, prune="gradual:0.5")
    with pytest.raises(InputError, match="density must be below 1"):
        replace(BASE, prune="gap:0.1", density=1.0)
    with pytest.raises(InputError, match="hidden has none"):
        replace(BASE, prune="gap:0.1", hidden=())
    with pytest.raises(InputError, match=r"rewire must be 'none' for constraint 'sign\+gap"):
        replace(BASE, constraint="sign+gap:0.1", rewire="SET")
    with pytest.raises(InputError, match="constraint must be gap:WIDTH"):
        replace(BASE, constraint="gap")
    with pytest.raises(InputError, match="gives linear2 all connections"):
        fit(replace(BASE, prune="gap:0.1", density=0.9, hidden=(16, 2), allocate="er"))


def test_defaults_follow_from_pruning() -> None:
    assert Recipe(**completed({"constraint": "gap:0.1"}, 1000, 20)).rewire == "none"
    assert Recipe(**completed({"constraint": "sign"}, 1000, 20)).rewire == "SET"
    recipe = Recipe(**completed({"prune": "gap:0.1"}, 1000, 20))
    assert (recipe.density, recipe.rewire) == (0.5, "none")
    recipe = Recipe(**completed({"prune": "gradual:0.05", "rewire": "set", "density": 0.3}, 1000, 20))
    assert (recipe.density, recipe.rewire) == (0.3, "SET")
    assert Recipe(**completed({"prune": "gap:0.1", "epsilon": 5.0}, 1000, 20)).density is None
