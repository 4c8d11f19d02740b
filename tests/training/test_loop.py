from __future__ import annotations

import io
import math
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import gossamer as gs
from gossamer import SparseConv2d, SparseLinear
from gossamer.data import Dataset
from gossamer.evaluate import cost
from gossamer.runs import Options
from gossamer.training import DivergedError, Fit, Samples, evaluate
from gossamer.training.recipe import REWIRINGS
from gossamer.training.task import MULTILABEL, REGRESSION, Task


def samples(dataset: Dataset) -> dict[str, Samples]:
    return {
        name: Samples(torch.from_numpy(split.x), torch.from_numpy(split.y))
        for name, split in (("train", dataset.train), ("validation", dataset.validation))
    }


def make(options: Options, dataset: Dataset, *, sparse: bool = True, seed: int = 0) -> Fit:
    given = samples(dataset)
    return Fit(options, sparse=sparse, seed=seed, outputs=3, train=given["train"], validation=given["validation"])


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    loaded: dict[str, Any] = torch.load(buffer, weights_only=True)
    return loaded


def assert_same(a: Fit, b: Fit) -> None:
    for (name, left), right in zip(a.model.state_dict().items(), b.model.state_dict().values(), strict=True):
        assert torch.equal(left, right), name
    drop_seconds = [[{**asdict(e), "seconds": 0} for e in fit.history] for fit in (a, b)]
    assert drop_seconds[0] == drop_seconds[1]
    assert all(
        torch.equal(x, y) for e in a.connectivity for x, y in zip(a.connectivity[e], b.connectivity[e], strict=True)
    )


@pytest.mark.parametrize("sparse", [True, False])
def test_it_learns(options: Options, dataset: Dataset, sparse: bool) -> None:
    fit = make(replace(options, epochs=15), dataset, sparse=sparse)
    history = list(fit.run())
    assert [epoch.epoch for epoch in history] == list(range(1, 16))
    assert history[-1].train_loss < history[0].train_loss
    _, correct = evaluate(fit.model, fit.validation)
    assert correct / len(fit.validation.y) == history[-1].validation_accuracy > 0.6


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"optimizer": "sgd", "learning_rate": 0.1, "schedule": "constant"},
        {"optimizer": "adamw", "weight_decay": 0.01, "max_grad_norm": 1.0, "amp": True},
        {"patience": 2, "epochs": 9, "learning_rate": 0.05},
        {"rewire": "none", "activation": "hoyer:0.5"},
        {"output_density": 0.5, "allocate": "er", "activation": "topk:5"},
        {"activation": "srelu", "rewire": "CoPACoRSET"},
    ],
    ids=str,
)
@pytest.mark.parametrize("sparse", [True, False])
def test_a_resumed_fit_is_the_uninterrupted_one_bit_for_bit(
    options: Options, dataset: Dataset, change: dict[str, Any], sparse: bool
) -> None:
    options = replace(options, **change)
    whole = make(options, dataset, sparse=sparse)
    states = [through_a_file(whole.state_dict())]
    states += [through_a_file(whole.state_dict()) for _ in whole.run()]
    for state in states:
        torch.manual_seed(int(torch.randint(100, ())))  # whatever state torch's own generator is in
        resumed = make(options, dataset, sparse=sparse)
        resumed.load_state_dict(state)
        for _ in resumed.run():
            pass
        assert_same(whole, resumed)


def test_chance_depends_on_the_seed_alone(options: Options, dataset: Dataset) -> None:
    first, same, other = (make(options, dataset, seed=seed) for seed in (3, 3, 4))
    before = torch.get_rng_state()
    for fit in (first, same, other):
        for _ in fit.run():
            pass
    assert torch.equal(before, torch.get_rng_state())
    assert_same(first, same)
    assert first.history[0].train_loss != other.history[0].train_loss


def test_rewiring_follows_every_epoch_but_the_last(options: Options, dataset: Dataset) -> None:
    fit = make(options, dataset)
    history = list(fit.run())
    assert all(epoch.dropped == epoch.grown > 0 for epoch in history[:-1])
    assert (history[-1].dropped, history[-1].grown) == (0, 0)
    assert all(sum(grown for grown, _ in epoch.moved.values()) == epoch.grown for epoch in history)
    assert all(sum(dropped for _, dropped in epoch.moved.values()) == epoch.dropped for epoch in history)
    assert {layer for epoch in history[:-1] for layer in epoch.moved} <= {"linear1", "linear2", "output"}
    assert len({epoch.connections for epoch in history}) == 1


@pytest.mark.parametrize("rule", [rule for rule in REWIRINGS if rule != "none"])
def test_every_rule_keeps_the_count_and_resumes(options: Options, dataset: Dataset, rule: str) -> None:
    options = replace(options, rewire=rule, epochs=3)
    whole = make(options, dataset)
    states = [through_a_file(whole.state_dict()) for _ in whole.run()]
    resumed = make(options, dataset)
    resumed.load_state_dict(states[0])
    for _ in resumed.run():
        pass
    assert_same(whole, resumed)
    assert whole.history[0].dropped > 0
    assert len({epoch.connections for epoch in whole.history}) == 1


@pytest.mark.parametrize(
    ("schedule", "last"), [("constant", 0.3), ("cosine", 0.3 * 0.5 * (1 + math.cos(0.8 * math.pi)))]
)
def test_the_fraction_follows_the_schedule(options: Options, dataset: Dataset, schedule: str, last: float) -> None:
    fit = make(replace(options, schedule=schedule, step="autograd"), dataset)  # which reports each step at once
    assert fit.rewire is not None
    fraction = fit.rewire.drop.fraction
    assert callable(fraction)
    assert fraction(0) == 0.3
    assert fraction(4) == pytest.approx(last)


@pytest.mark.parametrize("change", [{"rewire": "none"}, {"density": 1.0}])
def test_without_rewiring_nothing_moves(options: Options, dataset: Dataset, change: dict[str, Any]) -> None:
    assert all(epoch.dropped == epoch.grown == 0 for epoch in make(replace(options, **change), dataset).run())


def test_the_twin_is_dense_of_the_same_shape(options: Options, dataset: Dataset) -> None:
    twin = make(options, dataset, sparse=False)
    assert not any(isinstance(m, SparseLinear) for m in twin.model.modules())
    assert any(
        isinstance(m, nn.ReLU)
        for m in make(replace(options, activation="topk:3"), dataset, sparse=False).model.modules()
    )
    assert twin.connectivity == {}
    assert next(iter(twin.run())).connections == 6 * 16 + 16 * 16 + 16 * 3


def test_patience_stops_and_returns_to_the_best_epoch(options: Options, dataset: Dataset) -> None:
    fit = make(replace(options, patience=2, epochs=200, learning_rate=0.05, schedule="constant"), dataset)
    history = list(fit.run())
    best = min(history, key=lambda epoch: epoch.validation_loss)
    assert len(history) == best.epoch + 2 < 200
    loss, _ = evaluate(fit.model, fit.validation)
    assert loss == best.validation_loss
    assert history[-1].dropped == 0


def test_the_learning_rate_follows_its_schedule(options: Options, dataset: Dataset) -> None:
    rates: dict[str, list[float]] = {}
    for schedule in ("constant", "cosine"):
        fit = make(replace(options, schedule=schedule, step="autograd"), dataset)  # which reports each step at once
        seen = rates.setdefault(schedule, [])
        for _ in fit.run(lambda *_, fit=fit, seen=seen: seen.append(fit.optimizer.param_groups[0]["lr"])):
            pass
    assert set(rates["constant"]) == {0.01}
    assert rates["cosine"][0] == 0.01
    assert rates["cosine"] == sorted(rates["cosine"], reverse=True)
    assert rates["cosine"][-1] < 0.001


def test_connectivity_counts_and_weighs_the_connections_of_each_input(options: Options, dataset: Dataset) -> None:
    fit = make(options, dataset)
    for _ in fit.run():
        pass
    assert list(fit.connectivity) == [0, 1, 2, 3, 4, 5]
    first = fit.model.linear1
    assert isinstance(first, SparseLinear)
    weight = first.to_dense().weight.detach()
    strength, degree = fit.connectivity[5]
    torch.testing.assert_close(strength, weight.abs().sum(0))
    assert torch.equal(degree, first.pattern.to_mask().sum(0).to(degree.dtype))


def test_connectivity_of_a_first_layer_that_is_dense(options: Options, dataset: Dataset) -> None:
    fit = make(replace(options, density=1.0, epochs=1), dataset)
    for _ in fit.run():
        pass
    strength, degree = fit.connectivity[1]
    torch.testing.assert_close(strength, fit.model.linear1.weight.detach().abs().sum(0))  # type: ignore[union-attr, operator]
    assert degree.tolist() == [16] * 6


def test_many_epochs_leave_a_bounded_number_of_snapshots(options: Options, dataset: Dataset) -> None:
    fit = make(replace(options, epochs=150, hidden=(4,), rewire="none"), dataset)
    for _ in fit.run():
        pass
    assert 0 in fit.connectivity
    assert 150 in fit.connectivity
    assert len(fit.connectivity) == 76


def test_a_loss_that_is_no_number_ends_training_with_advice(options: Options, dataset: Dataset) -> None:
    fit = make(replace(options, optimizer="sgd", learning_rate=1e20), dataset)
    with pytest.raises(DivergedError, match="Lower the learning rate"):
        for _ in fit.run():
            pass


@pytest.mark.parametrize("task", [MULTILABEL, REGRESSION])
@pytest.mark.parametrize("weighted", [False, True])
def test_labels_and_numbers_are_learned_too(options: Options, dataset: Dataset, task: Task, weighted: bool) -> None:
    y = torch.from_numpy(np.eye(3)[dataset.train.y])
    weight = torch.ones(len(y), dtype=torch.float64) if weighted else None
    train = Samples(torch.from_numpy(dataset.train.x).double(), y, weight)
    fit = Fit(
        replace(options, epochs=30),
        sparse=True,
        seed=0,
        outputs=3,
        train=train,
        validation=Samples(train.x[:0], train.y[:0]),
        task=task,
    )
    history = list(fit.run())
    assert next(fit.model.parameters()).dtype == torch.float64
    assert history[-1].train_loss < 0.5 * history[0].train_loss
    assert history[-1].train_accuracy > 0.6
    assert (history[-1].validation_loss, history[-1].validation_accuracy) == (0, 0)


def test_a_rule_and_a_model_may_be_given(options: Options, dataset: Dataset) -> None:
    before = make(options, dataset).model
    layer = before.linear1
    assert isinstance(layer, SparseLinear)
    cells = layer.pattern.flat_indices
    fit = Fit(
        replace(options, rewire="none", epochs=2),
        sparse=True,
        seed=0,
        outputs=3,
        train=samples(dataset)["train"],
        validation=samples(dataset)["validation"],
        rule=gs.SET.arguments(0.5),
        model=before,
    )
    for _ in fit.run():
        pass
    assert fit.model is before
    assert fit.history[0].dropped == fit.history[0].grown > 0.4 * layer.nnz
    assert not torch.equal(cells, layer.pattern.flat_indices)


@pytest.mark.parametrize("rule", ["SET", "RigL", "CoDACoRSET"])
def test_convolutions_are_counted_rewired_and_resumed_as_linear_layers_are(options: Options, rule: str) -> None:
    options = replace(options, rewire=rule, epochs=3, batch_size=16)
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(60, 2, 6, 6, generator=generator), torch.arange(60) % 3
    x[:, 0] += y[:, None, None]

    def convolutional() -> Fit:
        chance = torch.Generator().manual_seed(1)
        model = nn.Sequential(
            SparseConv2d(2, 8, 3, density=0.25, generator=chance),
            nn.ReLU(),
            nn.Conv2d(8, 4, 3),
            nn.ReLU(),
            nn.Flatten(),
            SparseLinear(16, 3, density=0.5, generator=chance),
        )
        with torch.no_grad():
            for parameter in model[2].parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=chance) / 8)
        train, validation = Samples(x[:40], y[:40]), Samples(x[40:], y[40:])
        return Fit(options, sparse=True, seed=0, outputs=3, train=train, validation=validation, model=model)

    whole = convolutional()
    states = [through_a_file(whole.state_dict()) for _ in whole.run()]
    assert {epoch.connections for epoch in whole.history} == {round(0.25 * 8 * 18) + 4 * 72 + 24}
    assert whole.history[0].connections == cost(whole.model).total.connections
    assert all(set(epoch.moved) == {"0", "5"} for epoch in whole.history[:-1])
    assert all(grown == dropped > 0 for epoch in whole.history[:-1] for grown, dropped in epoch.moved.values())
    assert whole.connectivity == {}
    scales = {id(p): group["scale"] for group in whole.optimizer.param_groups for p in group["params"]}
    assert [scales[id(p)] for p in whole.model.parameters()] == [2, 1, 1, 1, 2**0.5, 1]
    resumed = convolutional()
    resumed.load_state_dict(states[0])
    for _ in resumed.run():
        pass
    assert_same(whole, resumed)


def test_a_network_of_convolutions_alone_is_rewired_too(options: Options) -> None:
    x = torch.randn(20, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    chance = torch.Generator().manual_seed(1)
    model = nn.Sequential(SparseConv2d(1, 3, 5, density=0.4, generator=chance), nn.Flatten())
    samples = Samples(x, torch.arange(20) % 3)
    fit = Fit(options, sparse=True, seed=0, outputs=3, train=samples, validation=samples, model=model)
    assert [epoch.connections for epoch in fit.run()] == [30] * 5
    assert fit.history[0].dropped > 0


def test_without_validation_growth_in_sequence_hears_of_the_training_loss(options: Options, dataset: Dataset) -> None:
    given = samples(dataset)
    fit = Fit(
        replace(options, rewire="CTRE_seq"),
        sparse=True,
        seed=0,
        outputs=3,
        train=given["train"],
        validation=Samples(given["train"].x[:0], given["train"].y[:0]),
    )
    losses = [epoch.train_loss for epoch in fit.run()]
    assert fit.rewire is not None
    assert fit.rewire.state_dict()["scores"] == [-loss for loss in losses[:-1]]
