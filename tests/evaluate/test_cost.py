from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import pytest
import torch
from torch import nn

from gossamer import InputError, SparseConv2d, SparseLinear
from gossamer.evaluate import LayerCost, cost, measure_activations


def network(density: float = 0.25) -> nn.Sequential:
    generator = torch.Generator().manual_seed(0)
    return nn.Sequential(
        SparseLinear(8, 10, density, generator=generator),
        nn.BatchNorm1d(10),
        nn.ReLU(),
        nn.Linear(10, 3, bias=False),
    )


def test_literal_counts() -> None:
    found = cost(network())
    sparse, dense = found.layers
    assert sparse == LayerCost(
        name="0",
        kind="SparseLinear",
        shape=(10, 8),
        parameters=20 + 10,
        connections=20,
        weight_bytes=4 * 30,
        gradient_bytes=4 * 30,
        optimizer_bytes=None,
        index_bytes=4 * (11 + 20 + 9 + 20),
        macs_per_sample=20,
        active_macs_per_sample=None,
    )
    assert sparse.density == 0.25
    assert (dense.name, dense.kind, dense.shape, dense.density) == ("3", "Linear", (3, 10), 1.0)
    assert (dense.parameters, dense.connections, dense.macs_per_sample) == (30, 30, 30)
    assert dense.index_bytes == 0
    assert (found.other.parameters, found.other.weight_bytes, found.other.connections) == (20, 80, 0)
    total = found.total
    assert total.parameters == sum(p.numel() for p in network().parameters()) == 80
    assert (total.connections, total.macs_per_sample) == (50, 50)
    assert (total.weight_bytes, total.gradient_bytes, total.index_bytes) == (320, 320, 240)
    assert total.optimizer_bytes is None
    assert total.training_bytes is None
    assert total.density is None


def test_bytes_follow_the_dtype_and_gradients_what_is_trained() -> None:
    model = network().double()
    model[0].requires_grad_(False)
    found = cost(model)
    assert found.layers[0].weight_bytes == 240
    assert found.layers[0].gradient_bytes == 0
    assert found.layers[1].gradient_bytes == 240
    assert found.layers[0].index_bytes == 240
    assert cost(model.bfloat16()).layers[0].weight_bytes == 60


@pytest.mark.parametrize(
    ("make", "copies", "extra"),
    [
        (lambda p: torch.optim.SGD(p, lr=0.1), 0, 0),
        (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), 1, 0),
        (lambda p: torch.optim.Adam(p), 2, 4),  # and a step count for each parameter
        (lambda p: torch.optim.Adam(p, amsgrad=True), 3, 4),
    ],
)
def test_the_state_of_optimizers_is_measured(
    make: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer], copies: int, extra: int
) -> None:
    model = network()
    optimizer = make(model.parameters())
    assert cost(model, optimizer).total.optimizer_bytes is None  # it has none yet
    model(torch.ones(4, 8)).sum().backward()
    optimizer.step()
    found = cost(model, optimizer)
    if not optimizer.state:
        assert found.total.optimizer_bytes is None
        return
    assert found.layers[0].optimizer_bytes == copies * 120 + 2 * extra
    assert found.layers[1].optimizer_bytes == copies * 120 + extra
    assert found.total.optimizer_bytes == copies * 320 + 5 * extra
    assert found.total.training_bytes == 320 + 320 + 240 + copies * 320 + 5 * extra


def test_nested_state_is_counted() -> None:
    model = network()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss: torch.Tensor = model(torch.eye(8)).square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    total = cost(model, optimizer).total.optimizer_bytes
    assert total is not None
    assert total >= 2 * 320


def test_multiply_adds_at_a_given_activation() -> None:
    model = network()
    found = cost(model, activation={"0": 0.5, "3": 0.1})
    assert found.layers[0].active_macs_per_sample == 10
    assert found.layers[1].active_macs_per_sample == pytest.approx(3)
    assert found.total.active_macs_per_sample == pytest.approx(13)
    partly = cost(model, activation={"3": 1.0})
    assert partly.layers[0].active_macs_per_sample is None
    assert partly.total.active_macs_per_sample is None


def test_multiply_adds_at_a_measured_activation_weigh_inputs_by_their_connections() -> None:
    model = network()
    layer = model[0]
    assert isinstance(layer, SparseLinear)
    x = torch.zeros(4, 8)
    x[0, 2] = 1.0
    x[:, 5] = -1.0
    found = cost(model, activation=measure_activations(model, x))
    fan_out = layer.pattern.fan_out
    assert found.layers[0].active_macs_per_sample == float(fan_out[2]) / 4 + float(fan_out[5])


def test_what_is_shared_is_counted_once() -> None:
    layer = SparseLinear(6, 6, 0.5)
    twice = cost(nn.Sequential(layer, nn.ReLU(), layer))
    assert [entry.name for entry in twice.layers] == ["0"]
    embedding, tied = nn.Embedding(10, 4), nn.Linear(4, 10)
    tied.weight = embedding.weight
    found = cost(nn.Sequential(embedding, tied))
    assert found.total.parameters == 50
    assert found.layers[0].parameters == 50
    assert found.other.parameters == 0


def test_a_model_may_be_a_layer_or_have_none() -> None:
    found = cost(SparseLinear(6, 5, 0.5))
    assert [layer.name for layer in found.layers] == [""]
    assert found.total.connections == 15
    nothing = cost(nn.Sequential(nn.PReLU(), nn.Dropout()))
    assert nothing.layers == ()
    assert (nothing.total.parameters, nothing.total.macs_per_sample) == (1, 0)


@pytest.mark.parametrize("fraction", [-0.1, 1.1, math.nan])
def test_activations_outside_are_refused(fraction: float) -> None:
    with pytest.raises(InputError, match=r"activation\['0'\] must be in \[0, 1\], got"):
        cost(network(), activation={"0": fraction})


def test_unknown_layers_are_refused() -> None:
    with pytest.raises(InputError, match=r"activation must name linear layers of the model, \['0', '3'\], got '1'"):
        cost(network(), activation={"1": 0.5})


# ---- convolutions --------------------------------------------------------------------------------------------------


def pictures() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, stride=2, padding=1, bias=False),
        nn.ReLU(),
        SparseConv2d(4, 6, (2, 1), groups=2, density=0.5),
        nn.Flatten(),
        SparseLinear(6 * 3 * 4, 5, 0.1),
    )


def test_literal_counts_of_convolutions() -> None:
    dense, sparse, linear = cost(pictures()).layers
    assert sparse == LayerCost(
        name="2",
        kind="SparseConv2d",
        shape=(6, 4),
        kernel=(2, 1),
        parameters=12 + 6,
        connections=12,
        weight_bytes=4 * 18,
        gradient_bytes=4 * 18,
        optimizer_bytes=None,
        index_bytes=4 * (7 + 12 + 5 + 12),
        macs_per_sample=None,
        active_macs_per_sample=None,
    )
    assert sparse.density == 0.5
    assert (dense.shape, dense.kernel, dense.connections, dense.density) == ((4, 18), (3, 3), 72, 1.0)
    assert (dense.index_bytes, dense.weight_bytes, dense.macs_per_sample) == (0, 288, None)
    assert linear.macs_per_sample == 36
    assert cost(pictures()).total.macs_per_sample is None  # the size of the images is not known


def test_multiply_adds_of_a_convolution_are_counted_at_each_position() -> None:
    x = torch.ones(3, 2, 8, 7)
    found = cost(pictures(), x=x)
    assert [layer.macs_per_sample for layer in found.layers] == [72 * 4 * 4, 12 * 3 * 4, 36]
    assert found.total.macs_per_sample == 72 * 16 + 12 * 12 + 36
    assert found.layers[0].active_macs_per_sample == 4 * 2 * (2 + 3 + 3 + 3) * (2 + 3 + 3 + 2)  # but for the padding
    shares = cost(pictures(), activation={"2": 0.25}, x=x)
    assert shares.layers[1].active_macs_per_sample == 0.25 * 12 * 12
    assert shares.layers[0].active_macs_per_sample == found.layers[0].active_macs_per_sample
    assert cost(pictures(), activation={"2": 0.25}).layers[1].active_macs_per_sample is None
    assert cost(pictures(), activation=measure_activations(pictures(), x)).total.macs_per_sample == (
        found.total.macs_per_sample
    )


def test_multiply_adds_of_time_steps_and_repeated_calls() -> None:
    layer = SparseLinear(6, 6, 0.5)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    assert cost(model).total.macs_per_sample == 18
    found = cost(model, x=torch.ones(4, 5, 6))
    assert found.total.macs_per_sample == 18 * 5 * 2
    assert cost(layer, x=torch.ones(4, 5, 6)).total.active_macs_per_sample == 18 * 5
