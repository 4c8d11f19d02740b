from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from gossamer import InputError, Pattern, SparseConv2d, SparseLinear
from gossamer.evaluate import measure_activations
from gossamer.evaluate.unit_activations import fan_out, isolated
from gossamer.kernels import Code

pytestmark = pytest.mark.usefixtures("one_thread")


def literal() -> nn.Sequential:
    """2 -> 3 -> 1; unit 1 of the hidden layer never fires, unit 0 fires for positive x_0, unit 2 always."""
    first = SparseLinear(2, 3, pattern=Pattern.from_mask(torch.tensor([[1, 0], [1, 1], [0, 0]])))
    second = nn.Linear(3, 1)
    with torch.no_grad():
        first.weight_values.copy_(torch.tensor([1.0, 0.0, 0.0]))
        assert first.bias is not None
        first.bias.copy_(torch.tensor([0.0, -1.0, 1.0]))
    return nn.Sequential(first, nn.ReLU(), second)


def test_literal_activation() -> None:
    x = torch.tensor([[1.0, 0.0], [2.0, 0.0], [-1.0, 5.0], [0.0, 0.0]])
    found = measure_activations(literal(), x)
    assert list(found) == ["0", "2"]
    first, second = found["0"], found["2"]
    assert first.samples == second.samples == 4
    assert first.input_active.tolist() == [0.75, 0.25]
    assert first.input_active_fraction == 0.5
    assert first.dead_inputs == 0
    assert first.fan_out.tolist() == [2, 1]
    assert first.active_connections == 2 * 0.75 + 0.25
    assert first.output_active is not None
    assert first.output_active.tolist() == [0.5, 0.0, 1.0]
    assert first.output_active_fraction == 0.5
    assert first.dead_units == 1
    assert second.input_active is first.output_active
    assert second.dead_inputs == 1
    assert second.fan_out.tolist() == [1, 1, 1]
    assert second.active_connections == 1.5
    assert second.output_active is None
    assert second.output_active_fraction is None
    assert second.dead_units is None


@given(st.integers(1, 20), st.integers(1, 25))
def test_batches_do_not_matter(samples: int, batch_size: int) -> None:
    x = torch.randn(samples, 2, generator=torch.Generator().manual_seed(samples)).relu()
    whole, cut = measure_activations(literal(), x), measure_activations(literal(), x, batch_size)
    for name in whole:
        assert torch.equal(whole[name].input_active, cut[name].input_active)
        assert whole[name].samples == cut[name].samples == samples


def test_a_model_is_left_as_it_was() -> None:
    model = literal()
    model[0].eval()  # one module frozen, the others in training
    modes = [module.training for module in model.modules()]
    with torch.no_grad():
        state = {name: t.clone() for name, t in model.state_dict().items()}
    measure_activations(model, torch.ones(3, 2))
    assert [module.training for module in model.modules()] == modes
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(t, state[name]) for name, t in model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in model.modules())
    with pytest.raises(InputError):
        measure_activations(model, torch.ones(3, 5))
    assert [module.training for module in model.modules()] == modes
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_it_is_measured_in_evaluation_mode() -> None:
    seen = []

    class Watch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append((self.training, torch.is_grad_enabled()))
            return x

    measure_activations(nn.Sequential(Watch(), nn.Dropout(0.9), nn.Linear(2, 2)), torch.ones(3, 2))
    assert seen == [(False, False)]


class Branches(nn.Module):
    """Layers that are not called in the order of their names, one twice, one never, one by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.unused, self.first, self.again = (nn.Linear(4, 4) for _ in range(4))
        self.narrow = nn.Linear(2, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(input=x)
        x = self.again(self.again(x).relu())
        return self.last(self.narrow(x[:, :2]).relu())  # type: ignore[no-any-return]


def test_layers_are_reported_as_they_ran() -> None:
    found = measure_activations(Branches(), torch.ones(5, 4))
    assert list(found) == ["first", "again", "narrow", "last"]
    assert found["again"].samples == 10
    assert found["first"].output_active is not None
    assert found["again"].output_active is None  # the next layer reads two of four
    assert found["narrow"].output_active is not None


def test_time_steps_count_as_samples() -> None:
    x = torch.zeros(2, 3, 2)
    x[0, 0, 0] = 1
    found = measure_activations(nn.Linear(2, 4), x)
    assert found[""].samples == 6
    assert found[""].input_active.tolist() == pytest.approx([1 / 6, 0])


def test_what_is_not_a_number_is_not_zero() -> None:
    found = measure_activations(nn.Linear(3, 1), torch.tensor([[torch.nan, -0.0, -torch.inf]]))
    assert found[""].input_active.tolist() == [1, 0, 1]


def test_sparse_codes_count_as_what_they_stand_for() -> None:
    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = SparseLinear(6, 4, 0.5)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(Code.pack(x))  # type: ignore[no-any-return]

    x = torch.tensor([[0.0, 2.0, 0.0, 0.0, -1.0, 0.0], [0.0, 1.0, 0.0, 0.0, 0.0, 0.0]])
    found = measure_activations(Packed(), x)
    assert found["layer"].input_active.tolist() == [0, 1, 0, 0, 0.5, 0]


def test_nothing_to_measure() -> None:
    assert measure_activations(nn.ReLU(), torch.ones(3)) == {}
    for x in (torch.ones(0, 2), torch.tensor(1.0)):
        with pytest.raises(InputError, match="x must hold at least one sample"):
            measure_activations(literal(), x)
    with pytest.raises(InputError, match="batch_size must be a whole number of at least 1, got 0"):
        measure_activations(literal(), torch.ones(3, 2), 0)


# ---- convolutions --------------------------------------------------------------------------------------------------


def two_channels() -> SparseConv2d:
    """Output 0 reads two cells of channel 0 and one of channel 1, output 1 nothing, output 2 one cell of channel 0."""
    mask = torch.tensor([[1, 0, 0, 1, 0, 1, 0, 0], [0] * 8, [1, 0, 0, 0, 0, 0, 0, 0]])
    return SparseConv2d(2, 3, 2, pattern=Pattern.from_mask(mask))


def test_literal_activation_of_a_convolution() -> None:
    x = torch.zeros(1, 2, 2, 3)
    x[0, 0] = torch.tensor([[1.0, 0.0, 2.0], [0.0, 3.0, 0.0]])
    found = measure_activations(two_channels(), x)[""]
    assert (found.samples, found.positions) == (1, 2)
    assert found.input_active.tolist() == [0.5, 0]
    assert found.dead_inputs == 1
    assert found.fan_out.tolist() == [3, 1]
    # at the left position the two outer cells of channel 0 are active, which three connections read; at the right none
    assert found.active_connections == 1.5
    assert found.output_active is None
    assert isolated(two_channels()) == (0, 1)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@given(
    st.integers(1, 3),
    st.integers(1, 3),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.sampled_from([{}, {"stride": 2}, {"stride": (1, 2), "dilation": 2}, {"padding": "same"}]),
    st.sampled_from(["zeros", "reflect", "circular", "replicate"]),
    st.integers(0, 99),
)
def test_active_connections_are_those_that_read_something(
    groups: int, channels: int, kernel: tuple[int, int], options: dict[str, Any], mode: Any, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(3, channels * groups, 7, 6, generator=generator).relu()
    dense = nn.Conv2d(
        channels * groups, 2 * groups, kernel, groups=groups, bias=False, padding_mode=mode, **{"padding": 1, **options}
    )
    nn.init.ones_(dense.requires_grad_(False).weight)
    layers: list[nn.Conv2d | SparseConv2d] = [dense]
    if mode == "zeros":
        cells = Pattern.erdos_renyi(2 * groups, channels * kernel[0] * kernel[1], 0.4, generator)
        layers.append(SparseConv2d.from_dense(dense, cells))
    for layer in layers:
        found, live = measure_activations(layer, x)[""], layer(x.sign())
        assert found.samples == 3
        assert found.positions == live[0, 0].numel()
        assert found.active_connections == pytest.approx(float(live.sum()) / live[:, 0].numel())
        weight = (layer.to_dense() if isinstance(layer, SparseConv2d) else layer).weight.view(groups, 2, channels, -1)
        assert torch.equal(fan_out(layer), weight.sum((1, 3)).flatten().long())


class Pictures(nn.Module):
    """Channel 1 of the first convolution never fires, channel 0 always, channel 2 where the image is positive."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 3, 1), SparseConv2d(3, 2, 2, density=1.0)
        self.head = nn.Linear(2 * 2 * 2, 4)
        with torch.no_grad():
            self.first.weight.copy_(torch.tensor([0.0, 0.0, 1.0]).view(3, 1, 1, 1))
            self.first.bias.copy_(torch.tensor([1.0, -1.0, 0.0]))  # type: ignore[union-attr]
            self.second.weight_values.copy_(torch.tensor([1.0, -1.0]).repeat_interleave(12))
            self.second.bias.zero_()  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.first(x).relu()).relu()
        y: Tensor = self.head(nn.functional.max_pool2d(x, 2).flatten(1))
        return y


def test_live_and_dead_channels() -> None:
    x = torch.ones(2, 1, 5, 5)
    x[:, :, :, 3:] = -1
    found = measure_activations(Pictures(), x)
    assert [found[name].positions for name in ("first", "second", "head")] == [25, 16, 1]
    assert found["first"].output_active is not None
    assert found["first"].output_active.tolist() == [1, 0, 0.6]
    assert found["first"].dead_units == found["second"].dead_inputs == 1
    assert found["second"].output_active is not None  # behind pooling and flattening
    assert found["second"].output_active.tolist() == [1, 0]
    assert found["second"].dead_units == 1
    assert found["head"].dead_inputs == 4


def test_one_image_needs_no_batch() -> None:
    x = torch.randn(2, 2, 4, 4, generator=torch.Generator().manual_seed(0)).relu()

    class Each(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = two_channels()

        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([self.layer(image) for image in x])

    mine, right = measure_activations(Each(), x)["layer"], measure_activations(two_channels(), x)[""]
    assert (mine.samples, mine.positions, mine.active_connections) == (2, 9, right.active_connections)
    assert torch.equal(mine.input_active, right.input_active)


@pytest.mark.parametrize("layer", [two_channels(), two_channels().to_dense()])
def test_wrong_images_are_refused_and_nothing_is_left_behind(layer: nn.Module) -> None:
    for x in (torch.ones(1, 3, 4, 4), torch.ones(2, 4), torch.ones(1, 2, 1, 4)):
        with pytest.raises((InputError, RuntimeError)):
            measure_activations(layer, x)
    assert layer.training
    assert not layer._forward_pre_hooks
