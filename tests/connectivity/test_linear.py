"""SparseLinear: the masked dense layer's function, without its zeros."""

from __future__ import annotations

import copy
import io
import math
import pickle
from collections.abc import Callable

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor, nn

import gossamer as gs
from gossamer import InputError, Pattern, SparseLinear
from gossamer.functional import sparse_linear
from gossamer.kernels import Code

pytestmark = pytest.mark.usefixtures("one_thread")


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(into: int = 6, out: int = 5, density: float = 0.4, seed: int = 0, **options: object) -> SparseLinear:
    return SparseLinear(into, out, density, generator=seeded(seed), **options)  # type: ignore[arg-type]


def weight(layer: SparseLinear) -> Tensor:
    """W, dense, differentiable in the values."""
    mask = layer.pattern.to_mask()
    return torch.zeros(mask.shape, dtype=layer.weight_values.dtype).masked_scatter(mask, layer.weight_values)


def numbers(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=seeded(seed))


# ---- making one ----------------------------------------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(1, 40), st.floats(1e-6, 1.0))
@example(10, 15, 0.27)  # a half, by one order of multiplication only
def test_the_count_of_connections_is_exact(into: int, out: int, density: float) -> None:
    layer = make(into, out, density)
    assert layer.nnz == layer.weight_values.numel() == layer.pattern.nnz == max(1, round(density * (into * out)))
    assert layer.density == layer.nnz / (into * out)
    assert layer.pattern.shape == (out, into)


def test_parameters_and_buffers_are_of_the_size_of_what_is_live() -> None:
    layer = make(1000, 1000, 0.001)
    assert {name: p.shape for name, p in layer.named_parameters()} == {"weight_values": (1000,), "bias": (1000,)}
    sizes = {name: b.numel() for name, b in layer.named_buffers()}
    assert sizes == {"indptr": 1001, "indices": 1000, "t_indptr": 1001, "t_indices": 1000}
    assert all(b.dtype == torch.int32 for b in layer.buffers())
    assert set(layer.state_dict()) == {"weight_values", "bias", "indptr", "indices"}


def test_equal_seeds_give_equal_layers() -> None:
    first, again, other = make(seed=1), make(seed=1), make(seed=2)
    assert torch.equal(first.weight_values, again.weight_values)
    assert torch.equal(first.pattern.flat_indices, again.pattern.flat_indices)
    assert not torch.equal(first.pattern.flat_indices, other.pattern.flat_indices)
    torch.manual_seed(3)
    default = SparseLinear(6, 5, 0.4)
    torch.manual_seed(3)
    assert torch.equal(SparseLinear(6, 5, 0.4).weight_values, default.weight_values)


def test_a_generator_leaves_the_global_one_alone() -> None:
    before = torch.get_rng_state()
    layer = make()
    layer.reset_parameters(seeded(1))
    SparseLinear.from_dense(layer.to_dense())
    assert torch.equal(torch.get_rng_state(), before)


def test_initial_weights_have_the_variance_of_a_dense_layer_with_the_live_fan_in() -> None:
    """nn.Linear draws from ±1/√fan_in, of variance 1/(3 fan_in); fan_in is the live one of each output."""
    fan_ins = (1, 4, 100)
    mask = torch.zeros(6000, 100)
    for i, fan_in in enumerate(fan_ins):
        mask[2000 * i : 2000 * (i + 1), :fan_in] = 1
    layer = SparseLinear(100, 6000, pattern=Pattern.from_mask(mask), generator=seeded(0))
    rows = layer.pattern.row_indices
    for i, fan_in in enumerate(fan_ins):
        drawn = layer.weight_values[(rows >= 2000 * i) & (rows < 2000 * (i + 1))].detach()
        assert float(drawn.abs().max()) <= 1 / math.sqrt(fan_in)
        assert float(drawn.abs().max()) > 0.99 / math.sqrt(fan_in)
        assert float(drawn.var()) == pytest.approx(1 / (3 * fan_in), rel=0.1)
        assert abs(float(drawn.mean())) < 0.1 / math.sqrt(fan_in)


@torch.no_grad()
def test_outputs_start_with_the_variance_of_a_dense_layer() -> None:
    x = numbers(50, 200)
    torch.manual_seed(0)
    expected = float(nn.Linear(200, 1000)(x).var())
    for density in (0.05, 0.5, 1.0):
        assert float(make(200, 1000, density)(x).var()) == pytest.approx(expected, rel=0.1)


@torch.no_grad()
def test_initial_biases_are_those_of_the_mean_fan_in() -> None:
    layer = make(200, 3000, 0.08)
    assert layer.bias is not None
    assert float(layer.bias.abs().max()) == pytest.approx(1 / 4, rel=0.01)
    assert float(layer.bias.var()) == pytest.approx(1 / 48, rel=0.1)


def test_an_output_without_connections_gives_its_bias() -> None:
    mask = torch.tensor([[1, 0], [0, 0], [1, 1]])
    layer = SparseLinear(2, 3, pattern=Pattern.from_mask(mask))
    assert layer.bias is not None
    assert torch.equal(layer(numbers(4, 2))[:, 1], layer.bias[1].expand(4))
    empty = SparseLinear(2, 3, pattern=Pattern.from_mask(torch.zeros(3, 2)))
    x = numbers(4, 2).requires_grad_()
    y = empty(x)
    y.sum().backward()
    assert empty.bias is not None
    assert torch.equal(y, empty.bias.expand(4, 3))
    assert x.grad is not None
    assert not x.grad.any()
    assert empty.density == 0


@pytest.mark.parametrize("density", [0, -0.1, 1.1, math.nan, math.inf])
def test_densities_outside_are_refused(density: float) -> None:
    with pytest.raises(InputError, match=r"density must be in \(0, 1\], got"):
        SparseLinear(3, 4, density)


def test_other_wrong_arguments_are_refused() -> None:
    pattern = Pattern.erdos_renyi(4, 3, 0.5, seeded(0))
    with pytest.raises(InputError, match="either density or pattern"):
        SparseLinear(3, 4)
    with pytest.raises(InputError, match="either density or pattern"):
        SparseLinear(3, 4, 0.5, pattern=pattern)
    with pytest.raises(InputError, match=r"pattern must have shape .* = \(3, 4\), got \(4, 3\)"):
        SparseLinear(4, 3, pattern=pattern)
    for into, out in ((0, 3), (3, 0), (-1, 3), (2.5, 3)):
        with pytest.raises(InputError, match="features must be a whole number of at least 1"):
            SparseLinear(into, out, 0.5)  # type: ignore[arg-type]


def test_its_description() -> None:
    assert str(make(bias=False)) == "SparseLinear(in_features=6, out_features=5, density=0.4, nnz=12, bias=False)"


# ---- what it computes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["training", "evaluation", "reading"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(6,), (0, 6), (1, 6), (7, 6), (2, 3, 6), (0, 3, 6), (2, 1, 3, 6)])
def test_it_is_the_masked_dense_layer(shape: tuple[int, ...], bias: bool, mode: str) -> None:
    layer = make(bias=bias).double().train(mode == "training")
    x = numbers(*shape).double()
    expected = nn.functional.linear(x, weight(layer), layer.bias)
    with torch.set_grad_enabled(mode != "reading"):
        y = layer(x)
    assert y.shape == expected.shape == (*shape[:-1], 5)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(
        sparse_linear(x, layer.weight_values, layer.pattern, layer.bias), expected, rtol=0, atol=1e-12
    )
    torch.testing.assert_close(
        sparse_linear(x, layer.weight_values, layer.pattern.structure, layer.bias, relu=True),
        expected.relu(),
        rtol=0,
        atol=1e-12,
    )


@pytest.mark.parametrize("shape", [(6,), (7, 6), (2, 3, 6)])
def test_its_gradients_are_those_of_the_masked_dense_layer(shape: tuple[int, ...]) -> None:
    layer = make().double()
    assert layer.bias is not None
    x = numbers(*shape).double().requires_grad_()
    inputs = (x, layer.weight_values, layer.bias)
    got = torch.autograd.grad(layer(x).sin().sum(), inputs)
    expected = torch.autograd.grad(nn.functional.linear(x, weight(layer), layer.bias).sin().sum(), inputs)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("active", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_evaluation_gives_what_training_gives(dtype: torch.dtype, active: float) -> None:
    """Without gradients a layer may read active inputs alone: another order of the sums, the same result."""
    layer = make(40, 30, 0.3).to(dtype)
    generator = seeded(4)
    for batch in (1, 2, 9):
        x = torch.randn(batch, 40, generator=generator) * (torch.rand(batch, 40, generator=generator) < active)
        for this_x in (x.to(dtype), x.t().contiguous().t().to(dtype)):
            expected = layer.train()(this_x)
            with torch.no_grad():
                got = layer.eval()(this_x)
            tolerance = 2e-2 if dtype.itemsize == 2 else 1e-5
            torch.testing.assert_close(got, expected.detach(), rtol=tolerance, atol=tolerance)


@torch.no_grad()
def test_evaluation_follows_every_change_of_the_weights() -> None:
    layer = make(40, 30, 0.3).eval()
    x = torch.zeros(1, 40)
    x[0, 3] = 1.0
    changes: list[Callable[[], object]] = [
        lambda: layer.weight_values.mul_(2),
        lambda: layer.weight_values.copy_(numbers(layer.nnz)),
        lambda: setattr(layer.weight_values, "data", numbers(layer.nnz, seed=2)),
        lambda: setattr(layer, "weight_values", nn.Parameter(numbers(layer.nnz, seed=3))),
        lambda: layer.set_pattern(Pattern.erdos_renyi(30, 40, 0.3, seeded(1)), numbers(360, seed=4)),
        lambda: layer.set_pattern(Pattern.erdos_renyi(30, 40, 0.6, seeded(2)), numbers(720, seed=5)),
        lambda: layer.set_pattern(Pattern.erdos_renyi(30, 40, 0.2, seeded(3)), numbers(240, seed=6)),
        lambda: layer.load_state_dict(make(40, 30, 0.3, seed=9).state_dict()),
        lambda: layer.double().float(),
        lambda: layer.train().eval(),
        lambda: layer.reset_parameters(seeded(8)),
    ]
    for change in changes:
        layer(x)
        change()
        torch.testing.assert_close(layer(x), nn.functional.linear(x, weight(layer), layer.bias))


def test_a_spoilt_pattern_is_refused_in_every_mode() -> None:
    for name in ("indptr", "indices", "t_indptr", "t_indices"):
        layer = make(40, 30, 0.3)
        x = torch.zeros(1, 40)
        layer(x)
        with torch.no_grad():
            layer.eval()(x)
        getattr(layer, name)[-1] = 10**6
        for training in (True, False):
            for gradients in (True, False):
                with torch.set_grad_enabled(gradients), pytest.raises(InputError, match="not a valid pattern"):
                    layer.train(training)(x)


def test_wrong_inputs_are_refused() -> None:
    layer = make()
    for x, message in (
        (numbers(3, 5), r"x must have shape \(batch, 6\), got \(3, 5\)"),
        (numbers(5), r"x must have shape \(…, 6\), got \(5,\)"),
        (numbers(2, 3, 5), r"x must have shape \(…, 6\), got \(2, 3, 5\)"),
        (torch.tensor(1.0), r"x must have shape \(…, 6\), got \(\)"),
        (numbers(3, 6).double(), "x must have the dtype of values, torch.float32, got torch.float64"),
        (torch.ones(3, 6, dtype=torch.int64), "x must have the dtype of values, torch.float32, got torch.int64"),
    ):
        for gradients in (True, False):
            with torch.set_grad_enabled(gradients), pytest.raises(InputError, match=message):
                layer.train(gradients)(x)


@pytest.mark.parametrize("gradients", [True, False])
def test_a_wrong_bias_is_refused_and_a_strange_one_read_rightly(gradients: bool) -> None:
    x = torch.zeros(1, 40)
    for wrong in (torch.zeros(29), torch.zeros(1, 30), torch.zeros(30).double()):
        layer = make(40, 30, 0.3).eval()
        layer.bias = nn.Parameter(wrong)
        for this_x in (x, Code.pack(x)):
            with torch.set_grad_enabled(gradients), pytest.raises(InputError, match="bias must be a vector of 30"):
                layer(this_x)
    layer.bias = nn.Parameter(torch.arange(60.0)[::2])
    layer.bias.data = torch.arange(60.0)[::2]
    assert not layer.bias.is_contiguous()
    for this_x in (x, Code.pack(x)):
        with torch.set_grad_enabled(gradients):
            assert layer(this_x).tolist() == [list(range(0, 60, 2))]


def test_two_layers_pass_activations_on_without_a_copy() -> None:
    first, second = make(6, 5), make(5, 4, seed=1)
    hidden = first(numbers(9, 6)).relu()
    assert hidden.stride() == (1, 9)
    torch.testing.assert_close(second(hidden), second(hidden.contiguous()), rtol=0, atol=0)


# ---- connectivity anew -----------------------------------------------------------------------------------------------


def test_set_pattern_keeps_the_parameter() -> None:
    layer = make()
    parameter = layer.weight_values
    layer(numbers(3, 6)).sum().backward()
    pattern = Pattern.erdos_renyi(5, 6, 0.4, seeded(7))
    values = numbers(pattern.nnz)
    layer.set_pattern(pattern, values)
    assert layer.weight_values is parameter
    assert parameter.grad is None
    assert torch.equal(layer.pattern.flat_indices, pattern.flat_indices)
    assert torch.equal(weight(layer)[pattern.to_mask()], values)


@pytest.mark.parametrize("density", [0.1, 0.4, 0.9])
def test_set_pattern_copies_the_values(density: float) -> None:
    layer = make()
    pattern = Pattern.erdos_renyi(5, 6, density, seeded(7))
    values = numbers(pattern.nnz)
    layer.set_pattern(pattern, values)
    with torch.no_grad():
        layer.weight_values.zero_()
    assert values.any()
    assert layer.weight_values.requires_grad
    assert layer.nnz == pattern.nnz


def test_set_pattern_refuses_what_does_not_fit_and_changes_nothing() -> None:
    layer = make()
    before = {name: t.clone() for name, t in layer.state_dict().items()}
    with pytest.raises(InputError, match="values must be a vector of 12 numbers"):
        layer.set_pattern(Pattern.erdos_renyi(5, 6, 0.4), torch.zeros(11))
    with pytest.raises(InputError, match="pattern must have shape"):
        layer.set_pattern(Pattern.erdos_renyi(6, 5, 0.4), torch.zeros(12))
    assert all(torch.equal(t, before[name]) for name, t in layer.state_dict().items())


# ---- to and from dense ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
def test_dense_and_back_is_the_same_function(bias: bool) -> None:
    layer = make(bias=bias).eval()
    dense = layer.to_dense()
    x = numbers(7, 6)
    torch.testing.assert_close(dense(x), layer(x))
    assert int((dense.weight != 0).sum()) == layer.nnz
    back = SparseLinear.from_dense(dense)
    assert torch.equal(back.pattern.flat_indices, layer.pattern.flat_indices)
    assert torch.equal(back.weight_values, layer.weight_values)
    assert (back.bias is None) == (dense.bias is None) == (not bias)
    assert not dense.training
    assert not back.training


def test_from_dense_keeps_the_weights_of_a_pattern() -> None:
    dense = nn.Linear(6, 5, dtype=torch.float64).requires_grad_(False)
    pattern = Pattern.erdos_renyi(5, 6, 0.5, seeded(0))
    layer = SparseLinear.from_dense(dense, pattern)
    assert torch.equal(weight(layer), dense.weight * pattern.to_mask())
    assert torch.equal(layer.bias, dense.bias)  # type: ignore[arg-type]
    assert layer.weight_values.dtype == torch.float64
    assert not layer.weight_values.requires_grad
    assert not layer.to_dense().weight.requires_grad
    with pytest.raises(InputError, match="pattern must have shape"):
        SparseLinear.from_dense(dense, Pattern.erdos_renyi(6, 5, 0.5))


def test_from_dense_counts_what_is_not_a_number_as_live() -> None:
    dense = nn.Linear(2, 2)
    with torch.no_grad():
        dense.weight.copy_(torch.tensor([[torch.nan, 0.0], [-0.0, torch.inf]]))
    assert SparseLinear.from_dense(dense).pattern.to_mask().tolist() == [[True, False], [False, True]]


# ---- as a module ---------------------------------------------------------------------------------------------------


def through_file(layer: SparseLinear) -> SparseLinear:
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    return torch.load(file, weights_only=False)  # type: ignore[no-any-return]


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer)), through_file])
def test_copies_are_equal_and_independent(duplicate: Callable[[SparseLinear], SparseLinear]) -> None:
    layer = make()
    x = numbers(3, 6)
    expected = layer(x)
    with torch.no_grad():
        layer.eval()(x)  # may leave something remembered behind
    twin = duplicate(layer)
    assert torch.equal(twin(x), expected)
    twin.set_pattern(Pattern.erdos_renyi(5, 6, 0.2, seeded(5)), numbers(6))
    assert torch.equal(layer(x), expected)
    assert layer.nnz == 12


@pytest.mark.parametrize("density", [0.4, 0.1, 1.0])
def test_a_state_brings_its_pattern(density: float) -> None:
    layer, other = make(), make(density=density, seed=9)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    layer(numbers(3, 6)).sum().backward()
    file = io.BytesIO()
    torch.save(other.state_dict(), file)
    file.seek(0)
    assert str(layer.load_state_dict(torch.load(file))) == "<All keys matched successfully>"
    x = numbers(7, 6)
    assert torch.equal(layer(x), other(x))
    assert torch.equal(layer.pattern.flat_indices, other.pattern.flat_indices)
    assert optimizer.param_groups[0]["params"][0] is layer.weight_values
    assert layer.weight_values.grad is None or layer.weight_values.grad.shape == layer.weight_values.shape
    layer.zero_grad()
    layer(x).sum().backward()
    optimizer.step()


def test_a_state_is_copied() -> None:
    layer, other = make(), make(density=0.2, seed=9)
    layer.load_state_dict(other.state_dict())
    with torch.no_grad():
        layer.weight_values.zero_()
    assert other.weight_values.any()


def test_a_state_of_values_alone_leaves_the_pattern() -> None:
    layer = make()
    positions = layer.pattern.flat_indices
    layer.load_state_dict({"weight_values": torch.ones(12)}, strict=False)
    assert torch.equal(layer.pattern.flat_indices, positions)
    assert layer.weight_values.tolist() == [1.0] * 12
    with pytest.raises(RuntimeError, match="indptr"):
        layer.load_state_dict({"weight_values": torch.ones(12), "bias": torch.ones(5)})


def damage(**changes: object) -> Callable[[dict[str, Tensor]], None]:
    def apply(state: dict[str, Tensor]) -> None:
        for name, change in changes.items():
            if change is None:
                del state[name]
            else:
                state[name] = change(state[name].clone())  # type: ignore[operator]

    return apply


def put(position: int, value: int) -> Callable[[Tensor], Tensor]:
    def apply(t: Tensor) -> Tensor:
        t[position] = value
        return t

    return apply


@pytest.mark.parametrize(
    "harm",
    [
        damage(indices=put(0, 6)),
        damage(indices=put(-1, -1)),
        damage(indices=put(0, 2**31 - 1)),
        damage(indices=lambda t: t.flip(0)),
        damage(indices=lambda t: t[:-1]),
        damage(indices=lambda t: t.long()),
        damage(indices=lambda t: t.float()),
        damage(indices=lambda t: t[None]),
        damage(indices=lambda t: t[:0]),
        damage(indptr=put(0, 1)),
        damage(indptr=put(-1, 13)),
        damage(indptr=put(2, -4)),
        damage(indptr=lambda t: t[:-1]),
        damage(indptr=lambda t: t[:0]),
        damage(indptr=lambda t: torch.cat([t, t[-1:]])),
        damage(weight_values=lambda t: t[:-1]),
        damage(weight_values=lambda t: t[None]),
        damage(weight_values=None),
        damage(indices=None),
        damage(indptr=None),
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_a_damaged_state_is_refused_and_changes_nothing(
    harm: Callable[[dict[str, Tensor]], None], strict: bool
) -> None:
    layer, other = make(), make(seed=9)
    x = numbers(3, 6)
    expected = layer(x)
    state = dict(other.state_dict())
    harm(state)
    with pytest.raises((InputError, RuntimeError)):
        layer.load_state_dict(state, strict=strict)
    assert torch.equal(layer(x), expected)


@pytest.mark.parametrize("size", [(5, 6), (6, 6), (5, 5), (4, 6), (5, 7)])
def test_a_state_of_another_size_is_refused_and_changes_nothing(size: tuple[int, int]) -> None:
    layer = make(6, 6, 1 / 3)
    out, into = size
    other = SparseLinear(into, out, pattern=Pattern.from_flat_indices(torch.arange(12), out, into))
    x = numbers(3, 6)
    expected = layer(x)
    if size == (6, 6):
        layer.load_state_dict(other.state_dict())
    else:
        with pytest.raises((InputError, RuntimeError)):
            layer.load_state_dict(other.state_dict())
        assert torch.equal(layer(x), expected)


def test_inside_a_model_states_have_prefixes() -> None:
    def network(seed: int) -> nn.Sequential:
        return nn.Sequential(make(seed=seed), nn.ReLU(), make(5, 3, seed=seed + 1))

    model, other = network(0), network(5)
    model.load_state_dict(other.state_dict())
    assert torch.equal(model(numbers(3, 6)), other(numbers(3, 6)))
    state = other.state_dict()
    del state["2.weight_values"]
    with pytest.raises(InputError, match="the state of layer '2' must have weight_values with indptr and indices"):
        model.load_state_dict(state)


def test_dtypes_move_the_numbers_and_not_the_indices() -> None:
    layer = make()
    x = numbers(3, 6)
    expected = layer(x)
    for dtype in (torch.float64, torch.bfloat16, torch.float16, torch.float32):
        layer.to(dtype)
        assert layer.weight_values.dtype == dtype
        assert layer.indices.dtype == torch.int32
        y = layer(x.to(dtype))
        assert y.dtype == dtype
        torch.testing.assert_close(y.float(), expected, rtol=3e-2, atol=3e-2)
    assert make(dtype=torch.float64).weight_values.dtype == torch.float64


def test_layers_without_data() -> None:
    with torch.device("meta"):
        inside = SparseLinear(6, 5, 0.4)
    outside = make().to("meta")
    for layer in (inside, outside, make(device="meta")):
        assert layer.weight_values.device.type == layer.indices.device.type == "meta"
        assert layer(torch.empty(3, 6, device="meta")).shape == (3, 5)
        layer.reset_parameters()
    state = make(density=0.7).state_dict()
    inside.load_state_dict(state, assign=True)
    assert {t.device.type for t in (*inside.parameters(), *inside.buffers())} == {"cpu"}
    assert torch.equal(inside(numbers(3, 6)), make(density=0.7)(numbers(3, 6)))


def test_emptied_layers_are_refused_until_they_are_loaded() -> None:
    layer = make().to("meta").to_empty(device="cpu")
    for buffer in layer.buffers():
        buffer.fill_(7)
    with pytest.raises(InputError, match="not a valid pattern"):
        layer(numbers(3, 6))
    layer.load_state_dict(make().state_dict())
    assert torch.equal(layer(numbers(3, 6)), make()(numbers(3, 6)))


# ---- with the rest of PyTorch --------------------------------------------------------------------------------------


def network() -> nn.Sequential:
    return nn.Sequential(make(6, 8), nn.ReLU(), make(8, 3, seed=1), nn.Tanh())


@pytest.mark.parametrize("shape", [(5, 6), (2, 5, 6)])
def test_it_compiles_without_a_graph_break(shape: tuple[int, ...]) -> None:
    torch._dynamo.reset()
    model = network()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    x = numbers(*shape).requires_grad_()
    expected = model(x)
    wanted = torch.autograd.grad(expected.sum(), (x, *model.parameters()))
    got = compiled(x)
    torch.testing.assert_close(got, expected)
    for a, b in zip(torch.autograd.grad(got.sum(), (x, *model.parameters())), wanted, strict=True):
        torch.testing.assert_close(a, b)
    with torch.no_grad():
        model.eval()
        torch.testing.assert_close(compiled(x), expected)


def test_a_compiled_model_follows_a_new_pattern() -> None:
    torch._dynamo.reset()
    model = network()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    x = numbers(5, 6)
    compiled(x)
    for density in (0.4, 0.8):
        first = model[0]
        assert isinstance(first, SparseLinear)
        pattern = Pattern.erdos_renyi(8, 6, density, seeded(3))
        first.set_pattern(pattern, numbers(pattern.nnz))
        torch.testing.assert_close(compiled(x), model(x))


def test_it_exports() -> None:
    model = network().eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(model, (numbers(4, 6),), dynamic_shapes=({0: batch},))
    for size in (1, 4, 9):
        torch.testing.assert_close(exported.module()(numbers(size, 6)), model(numbers(size, 6)))
    assert "gossamer.linear.default" in {str(node.target) for node in exported.graph.nodes}


def test_autocast() -> None:
    layer, dense = make(), make().to_dense()
    for x in (numbers(7, 6), numbers(2, 7, 6)):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y, expected = layer(x), dense(x)
        assert y.dtype == expected.dtype == torch.bfloat16
        torch.testing.assert_close(y, expected, rtol=2e-2, atol=2e-2)
        y.float().sum().backward()
    assert layer.weight_values.grad is not None
    assert layer.weight_values.grad.dtype == torch.float32
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer.eval()(numbers(1, 6)).dtype == torch.bfloat16


def test_torch_func() -> None:
    layer = make()
    x = numbers(4, 3, 6)
    torch.testing.assert_close(torch.func.vmap(layer)(x), layer(x))
    with torch.no_grad():
        torch.testing.assert_close(torch.func.vmap(layer.eval())(x), layer(x))
    parameters: dict[str, Tensor] = dict(layer.named_parameters())
    buffers = dict(layer.named_buffers())

    def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(layer, (parameters, buffers), (x,)).square().sum()  # type: ignore[no-any-return]

    gradients = torch.func.vmap(torch.func.grad(loss), (None, None, 0))(parameters, buffers, x)
    layer(x[2]).square().sum().backward()
    torch.testing.assert_close(gradients["weight_values"][2], layer.weight_values.grad)


def test_inference_mode() -> None:
    layer = make()
    x = numbers(3, 6)
    expected = layer(x)
    with torch.inference_mode():
        torch.testing.assert_close(layer(x), expected.detach())
        torch.testing.assert_close(layer.eval()(x), expected.detach())
        inside = make()
        torch.testing.assert_close(inside(x), expected.detach())
        torch.testing.assert_close(inside.eval()(x), expected.detach())
        with torch.no_grad():
            torch.testing.assert_close(inside.eval()(x[:1]), expected.detach()[:1])


@pytest.mark.parametrize(
    "make_optimizer",
    [
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-3),
        lambda p: torch.optim.AdamW(p, lr=0.01),
        lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9),
    ],
)
def test_it_trains_as_a_masked_dense_layer_and_nothing_else_wakes(
    make_optimizer: Callable[[object], torch.optim.Optimizer],
) -> None:
    """Momentum and weight decay cannot revive a connection that does not exist."""
    layer = make().double()
    dense, mask = layer.to_dense(), layer.pattern.to_mask()
    dense.weight.register_hook(lambda grad: grad * mask)
    x, y = numbers(16, 6).double(), numbers(16, 5, seed=2).double()
    optimizers = make_optimizer(layer.parameters()), make_optimizer(dense.parameters())
    for _ in range(20):
        for model, optimizer in zip((layer, dense), optimizers, strict=True):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x), y).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
    torch.testing.assert_close(weight(layer), dense.weight, rtol=0, atol=1e-9)
    assert layer.nnz == 12
    assert layer.pattern.to_mask().equal(mask)


def test_one_import_gives_it_all() -> None:
    assert gs.SparseLinear is SparseLinear
    assert gs.functional.sparse_linear is sparse_linear
