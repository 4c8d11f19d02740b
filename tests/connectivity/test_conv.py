"""SparseConv2d: the masked dense convolution's function, without its zeros."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gossamer import InputError, Pattern, SparseConv2d, SparseLinear, allocate_densities, sparsify_
from gossamer.connectivity import SparseLayer, sparse_conv2d
from gossamer.plasticity.carry import prepare

pytestmark = pytest.mark.usefixtures("one_thread")


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(
    into: int = 4, out: int = 6, kernel: int = 3, density: float = 0.25, seed: int = 0, **options: Any
) -> SparseConv2d:
    return SparseConv2d(into, out, kernel, density=density, generator=seeded(seed), **options)


def numbers(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=seeded(seed))


# ---- making one ----------------------------------------------------------------------------------------------------


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 4), st.integers(1, 3), st.floats(1e-6, 1.0))
def test_the_count_of_connections_is_exact(into: int, out: int, kernel: int, groups: int, density: float) -> None:
    layer = make(into * groups, out * groups, kernel, density, groups=groups)
    positions = out * groups * into * kernel * kernel
    assert layer.nnz == layer.weight_values.numel() == layer.pattern.nnz == max(1, round(density * positions))
    assert layer.pattern.shape == (layer.out_features, layer.in_features) == (out * groups, into * kernel * kernel)
    assert layer.density == layer.nnz / positions


def test_parameters_and_buffers_are_of_the_size_of_what_is_live() -> None:
    layer = make(100, 100, 3, 0.01)
    assert {name: p.shape for name, p in layer.named_parameters()} == {"weight_values": (900,), "bias": (100,)}
    sizes = {name: b.numel() for name, b in layer.named_buffers()}
    assert sizes == {"indptr": 101, "indices": 900, "t_indptr": 901, "t_indices": 900}
    assert set(layer.state_dict()) == {"weight_values", "bias", "indptr", "indices"}


def test_outputs_start_with_the_variance_of_a_dense_convolution() -> None:
    x, dense = numbers(8, 64, 12, 12), nn.Conv2d(64, 128, 3, bias=False)
    layer = SparseConv2d(64, 128, 3, density=0.1, bias=False, generator=seeded(0))
    assert float(layer(x).detach().var()) == pytest.approx(float(dense(x).detach().var()), rel=0.1)


def test_drawing_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    layer = make()
    layer.reset_parameters(seeded(1))
    SparseConv2d.from_dense(layer.to_dense())
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(make().weight_values, make().weight_values)


def test_wrong_arguments_are_refused() -> None:
    wrong: dict[str, dict[str, Any]] = {
        "needs either density or pattern": {"density": None},
        "density must be in": {"density": 1.5},
        "padding_mode must be one of 'zeros', got 'reflect'": {"padding_mode": "reflect"},
        "padding must be one of 'same', 'valid'": {"padding": "full"},
        "padding must be a whole number": {"padding": -1},
        "padding 'same' needs stride 1, got 2": {"padding": "same", "stride": 2},
        "kernel_size must be a whole number or a pair": {"kernel_size": (1, 2, 3)},
        "kernel_size must be a whole number of at least 1": {"kernel_size": 0},
        "stride must be a whole number of at least 1": {"stride": (1, 0)},
        "dilation must be a whole number of at least 1": {"dilation": 0.5},
        "in_channels must be a multiple of groups = 3, got 4": {"groups": 3},
        "out_channels must be a multiple of groups = 4, got 6": {"groups": 4},
        r"pattern must have shape \(out_features, in_features\) = \(6, 36\)": {
            "density": None,
            "pattern": Pattern.erdos_renyi(6, 4, 0.5),
        },
    }
    for message, options in wrong.items():
        arguments: dict[str, Any] = {"kernel_size": 3, "density": 0.5, **options}
        with pytest.raises(InputError, match=message):
            SparseConv2d(4, 6, **arguments)


def test_wrong_inputs_are_refused() -> None:
    layer = make()
    for x in (numbers(2, 3, 8, 8), numbers(3, 8, 8), numbers(4, 8), numbers(1, 2, 4, 8, 8)):
        with pytest.raises(InputError, match="x must have shape"):
            layer(x)
    with pytest.raises(InputError, match="must have images that hold the kernel"):
        layer(numbers(2, 4, 2, 8))
    with pytest.raises(InputError, match=r"x must be torch\.float32"):
        layer(numbers(2, 4, 8, 8).double())


def test_its_description() -> None:
    assert repr(make()) == ("SparseConv2d(4, 6, kernel_size=(3, 3), stride=(1, 1), density=0.25, nnz=54, bias=True)")
    layer = make(stride=(1, 2), padding=1, dilation=2, groups=2, bias=False)
    assert repr(layer) == (
        "SparseConv2d(4, 6, kernel_size=(3, 3), stride=(1, 2), padding=(1, 1), dilation=(2, 2), groups=2, "
        "density=0.25, nnz=27, bias=False)"
    )


# ---- the function --------------------------------------------------------------------------------------------------


@st.composite
def layers(draw: st.DrawFn) -> SparseConv2d:
    groups, size = draw(st.integers(1, 3)), st.integers(1, 3)
    stride = draw(st.one_of(size, st.tuples(size, size)))
    paddings = [st.integers(0, 3), st.tuples(st.integers(0, 3), st.integers(0, 3)), st.just("valid")]
    padding = draw(st.one_of(*paddings, *([st.just("same")] if stride in (1, (1, 1)) else [])))
    return SparseConv2d(
        draw(st.integers(1, 5)) * groups,
        draw(st.integers(1, 5)) * groups,
        draw(st.one_of(size, st.tuples(size, st.integers(1, 4)))),
        stride,
        padding,
        draw(size),
        groups,
        draw(st.booleans()),
        density=draw(st.floats(0.05, 1.0)),
        generator=seeded(draw(st.integers(0, 99))),
        dtype=torch.float64,
    )


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@settings(max_examples=150)
@given(layers(), st.sampled_from((1, 2, 7, 8, 17)), st.integers(9, 14), st.integers(9, 14))
def test_it_is_the_dense_convolution_and_so_are_its_gradients(
    layer: SparseConv2d, batch: int, height: int, width: int
) -> None:
    dense = layer.to_dense()
    x = numbers(batch, layer.in_channels, height, width).double()
    mine, right = x.clone().requires_grad_(), x.clone().requires_grad_()
    y, wanted = layer(mine), dense(right)
    torch.testing.assert_close(y, wanted, rtol=0, atol=1e-10)
    grad = numbers(*wanted.shape, seed=2).double()
    y.backward(grad)
    wanted.backward(grad)
    assert dense.weight.grad is not None
    torch.testing.assert_close(mine.grad, right.grad, rtol=0, atol=1e-10)
    torch.testing.assert_close(
        layer.weight_values.grad, dense.weight.grad.flatten()[layer.pattern.flat_indices], rtol=0, atol=1e-10
    )
    if layer.bias is not None and dense.bias is not None:
        torch.testing.assert_close(layer.bias.grad, dense.bias.grad, rtol=0, atol=1e-10)
    with torch.no_grad():
        torch.testing.assert_close(layer.eval()(x), wanted.detach(), rtol=0, atol=1e-10)


def test_the_function_is_the_layer() -> None:
    layer = make(stride=2, padding=1, groups=2)
    x = numbers(3, 4, 7, 7)
    for p in (layer.pattern, layer.pattern.structure):
        y = sparse_conv2d(x, layer.weight_values, p, layer.bias, kernel_size=3, stride=2, padding=1, groups=2)
        assert torch.equal(y, layer(x))


def test_one_image_needs_no_batch() -> None:
    layer, x = make(padding=1), numbers(4, 7, 5)
    assert torch.equal(layer(x), layer(x[None])[0])
    assert layer(x).shape == (6, 7, 5)


def test_no_image_at_all() -> None:
    layer = make(padding=1)
    x = torch.zeros(0, 4, 5, 5, requires_grad=True)
    y = layer(x)
    assert y.shape == (0, 6, 5, 5)
    y.sum().backward()
    assert x.grad is not None
    assert layer.weight_values.grad is not None
    assert not layer.weight_values.grad.any()


def test_no_connection_gives_the_bias() -> None:
    layer = SparseConv2d.from_dense(nn.Conv2d(2, 3, 2), Pattern.from_mask(torch.zeros(3, 8)))
    x = numbers(2, 2, 4, 4).requires_grad_()
    y = layer(x)
    assert layer.bias is not None
    assert torch.equal(y, layer.bias[:, None, None].expand(2, 3, 3, 3))
    y.sum().backward()
    assert x.grad is not None
    assert not x.grad.any()


def test_it_reads_what_a_sparse_linear_layer_gives_without_a_copy() -> None:
    maps = SparseLinear(10, 4 * 6 * 6, 0.3, generator=seeded(0))(numbers(20, 10)).unflatten(1, (4, 6, 6))
    y = make()(maps)
    assert maps.stride(0) == y.stride(0) == 1
    torch.testing.assert_close(y, make()(maps.contiguous()))


# ---- derivatives, dtypes and devices -------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # PyTorch's own formulas
@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, (2, 4, 5, 4)),
        ({}, (4, 4, 5)),
        ({"kernel": 1, "bias": False}, (3, 4, 2, 2)),
        ({"kernel": (1, 3), "padding": "same", "groups": 2}, (2, 4, 3, 4)),
        ({"stride": (2, 1), "padding": (2, 0), "dilation": (1, 2)}, (1, 4, 4, 6)),
        ({"into": 6, "groups": 6, "padding": 1}, (2, 6, 3, 3)),
    ],
)
def test_derivatives_of_the_layer(options: dict[str, Any], shape: tuple[int, ...]) -> None:
    layer, x = make(**options).double(), numbers(*shape).double().requires_grad_()
    names, parameters = zip(*layer.named_parameters(), strict=True)

    def function(x: Tensor, *parameters: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))  # type: ignore[no-any-return]

    assert torch.autograd.gradcheck(function, (x, *parameters), fast_mode=True)
    assert torch.autograd.gradgradcheck(function, (x, *parameters), fast_mode=True)
    tangent = numbers(*shape, seed=3).double()
    forward_mode = torch.func.jvp(layer, (x.detach(),), (tangent,))[1]
    torch.testing.assert_close(forward_mode, torch.func.jvp(layer.to_dense(), (x.detach(),), (tangent,))[1])


@pytest.mark.parametrize("frozen", ["values", "bias", "x"])
def test_what_is_frozen_gets_no_gradient(frozen: str) -> None:
    layer, x = make(padding=1), numbers(2, 4, 5, 5).requires_grad_()
    tensors = {"values": layer.weight_values, "bias": layer.bias, "x": x}
    expected = torch.autograd.grad(layer(x).square().sum(), [t for t in tensors.values() if t is not None])
    chosen = tensors[frozen]
    assert chosen is not None
    chosen.requires_grad_(False)
    layer(x).square().sum().backward()
    for (name, tensor), grad in zip(tensors.items(), expected, strict=True):
        assert tensor is not None
        if name == frozen:
            assert tensor.grad is None
        else:
            torch.testing.assert_close(tensor.grad, grad)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype) -> None:
    layer = make(padding=1, dtype=dtype)
    dense = copy.deepcopy(layer).to_dense().float()
    x = numbers(5, 4, 6, 6).to(dtype)
    mine, right = x.clone().requires_grad_(), x.float().requires_grad_()
    y, expected = layer(mine), dense(right)
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), expected, rtol=2e-2, atol=2e-2)
    y.float().square().sum().backward()
    expected.square().sum().backward()
    assert mine.grad is not None
    assert right.grad is not None
    assert layer.weight_values.grad is not None
    assert dense.weight.grad is not None
    assert mine.grad.dtype == layer.weight_values.grad.dtype == dtype
    torch.testing.assert_close(mine.grad.float(), right.grad, rtol=5e-2, atol=5e-2)
    live = dense.weight.grad.flatten()[layer.pattern.flat_indices]
    torch.testing.assert_close(layer.weight_values.grad.float(), live, rtol=5e-2, atol=0.3)


def test_a_layer_changes_its_dtype_and_keeps_its_pattern() -> None:
    layer, x = make(), numbers(2, 4, 6, 6)
    y, positions = layer(x), layer.pattern.flat_indices
    torch.testing.assert_close(layer.double()(x.double()).float(), y)
    assert torch.equal(layer.pattern.flat_indices, positions)
    assert layer.indices.dtype == layer.indptr.dtype == positions.to(torch.int32).dtype
    assert layer.weight_values.dtype == layer.to_dense().weight.dtype == torch.float64
    single = make()
    single.load_state_dict(layer.state_dict())
    assert single.weight_values.dtype == torch.float32
    with pytest.raises(InputError, match=r"x must be torch\.float64"):
        layer(x.int())


def test_the_default_dtype_and_device_are_obeyed() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        assert make().weight_values.dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.device("meta"):
        assert all(tensor.is_meta for tensor in make().state_dict().values())


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.contiguous(memory_format=torch.channels_last),
        lambda x: x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2),
        lambda x: torch.stack([x, x], -1)[..., 0],
        lambda x: x[:1].expand(5, -1, -1, -1),
        lambda x: x.flip(3).flip(3),
    ],
)
def test_any_layout_in_memory(change: Callable[[Tensor], Tensor]) -> None:
    layer, x = make(padding=1), change(numbers(5, 4, 6, 7)).requires_grad_()
    y = layer(x)
    expected = layer.to_dense()(x)
    torch.testing.assert_close(y, expected)
    grad = change(numbers(5, 6, 6, 7, seed=2))
    mine, right = (torch.autograd.grad(out, x, grad)[0] for out in (y, expected))
    torch.testing.assert_close(mine, right)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_cuda_device() -> None:
    layer, x = make(padding=1, groups=2), numbers(5, 4, 6, 7)
    expected = layer(x)
    moved = copy.deepcopy(layer).cuda()
    y = moved(x.cuda())
    torch.testing.assert_close(y.cpu(), expected, rtol=1e-3, atol=1e-3)
    y.square().sum().backward()
    expected.square().sum().backward()
    assert moved.weight_values.grad is not None
    torch.testing.assert_close(moved.weight_values.grad.cpu(), layer.weight_values.grad, rtol=1e-3, atol=1e-3)
    moved.set_pattern(Pattern.erdos_renyi(6, 18, 0.5, seeded(1)), torch.ones(54))
    assert moved.pattern.flat_indices.is_cuda
    assert moved(x.cuda()).shape == (5, 6, 6, 7)


# ---- another pattern -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("density", [0.1, 0.25, 0.9])
def test_set_pattern_keeps_the_parameter(density: float) -> None:
    layer = make()
    parameter = layer.weight_values
    layer(numbers(2, 4, 5, 5)).sum().backward()
    pattern = Pattern.erdos_renyi(6, 36, density, seeded(7))
    values = numbers(pattern.nnz)
    layer.set_pattern(pattern, values)
    assert layer.weight_values is parameter
    assert parameter.grad is None
    assert torch.equal(layer.to_dense().weight.flatten()[pattern.flat_indices], values)
    with pytest.raises(InputError, match="pattern must have shape"):
        layer.set_pattern(Pattern.erdos_renyi(6, 35, 0.5, seeded(0)), torch.zeros(105))


def test_links_can_be_moved_with_their_momentum() -> None:
    layer = make()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    layer(numbers(2, 4, 5, 5)).square().sum().backward()
    optimizer.step()
    weights, momentum = (
        layer.weight_values.detach().clone(),
        optimizer.state[layer.weight_values]["momentum_buffer"].clone(),
    )
    before = layer.pattern.to_mask().flatten()
    survives = torch.arange(layer.nnz) % 3 > 0
    kept = layer.pattern.flat_indices[survives]
    grown = (~before).nonzero().flatten()[: layer.nnz - kept.numel()]
    prepare("", layer, kept, survives, grown, torch.zeros(grown.numel()), optimizer).put()
    old = torch.isin(layer.pattern.flat_indices, kept)
    assert torch.equal(layer.pattern.flat_indices, torch.cat([kept, grown]).sort().values)
    assert torch.equal(layer.weight_values.detach()[old], weights[survives])
    assert torch.equal(optimizer.state[layer.weight_values]["momentum_buffer"][old], momentum[survives])
    assert not layer.weight_values.detach()[~old].any()
    torch.testing.assert_close(layer(numbers(2, 4, 5, 5)), layer.to_dense()(numbers(2, 4, 5, 5)))


# ---- to and from dense ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{}, {"bias": False, "padding": "same"}, {"stride": (1, 2), "padding": (0, 1), "dilation": 2, "groups": 2}],
)
def test_dense_and_back_is_the_same_function(options: dict[str, Any]) -> None:
    layer = make(**options).eval()
    dense, x = layer.to_dense(), numbers(3, 4, 9, 8)
    torch.testing.assert_close(dense(x), layer(x))
    assert int((dense.weight != 0).sum()) == layer.nnz
    back = SparseConv2d.from_dense(dense)
    assert torch.equal(back.pattern.flat_indices, layer.pattern.flat_indices)
    assert torch.equal(back.weight_values, layer.weight_values)
    assert repr(back) == repr(layer)
    assert not dense.training
    assert not back.training


def test_from_dense_keeps_the_weights_of_a_pattern() -> None:
    dense = nn.Conv2d(4, 6, 3, dtype=torch.float64).requires_grad_(False)
    pattern = Pattern.erdos_renyi(6, 36, 0.5, seeded(0))
    layer = SparseConv2d.from_dense(dense, pattern)
    assert torch.equal(layer.to_dense().weight.flatten(1), dense.weight.flatten(1) * pattern.to_mask())
    assert layer.weight_values.dtype == torch.float64
    assert not layer.weight_values.requires_grad
    with pytest.raises(InputError, match="padding_mode"):
        SparseConv2d.from_dense(nn.Conv2d(4, 6, 3, padding=1, padding_mode="circular"))


# ---- as a module ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copies_are_equal_and_independent(duplicate: Callable[[SparseConv2d], SparseConv2d]) -> None:
    layer, x = make(), numbers(2, 4, 6, 6)
    expected = layer(x)
    twin = duplicate(layer)
    assert torch.equal(twin(x), expected)
    twin.set_pattern(Pattern.erdos_renyi(6, 36, 0.1, seeded(5)), torch.zeros(22))
    assert torch.equal(layer(x), expected)


@pytest.mark.parametrize("density", [0.25, 0.1, 1.0])
def test_a_state_brings_its_pattern(density: float) -> None:
    layer, other, x = make(), make(density=density, seed=9), numbers(2, 4, 6, 6)
    file = io.BytesIO()
    torch.save(other.state_dict(), file)
    file.seek(0)
    assert str(layer.load_state_dict(torch.load(file))) == "<All keys matched successfully>"
    assert torch.equal(layer(x), other(x))
    assert torch.equal(layer.pattern.flat_indices, other.pattern.flat_indices)
    with pytest.raises(InputError):
        make(into=8).load_state_dict({**other.state_dict(), "indices": other.indices + 99})


def network() -> nn.Sequential:
    return nn.Sequential(make(3, 8, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), make(8, 4, seed=1), nn.Tanh())


def test_it_compiles_without_a_graph_break() -> None:
    torch._dynamo.reset()
    model, x = network(), numbers(5, 3, 7, 6).requires_grad_()
    twin = copy.deepcopy(model)
    expected, got = model(x), torch.compile(twin, fullgraph=True, backend="aot_eager")(x)
    torch.testing.assert_close(got, expected)
    wanted = torch.autograd.grad(expected.square().sum(), (x, *model.parameters()))
    for a, b in zip(torch.autograd.grad(got.square().sum(), (x, *twin.parameters())), wanted, strict=True):
        torch.testing.assert_close(a, b)


def test_it_exports() -> None:
    model = network().eval()
    batch = torch.export.Dim("batch", min=2, max=64)
    exported = torch.export.export(model, (numbers(4, 3, 7, 6),), dynamic_shapes=({0: batch},))
    for size in (2, 20):
        x = numbers(size, 3, 7, 6)
        torch.testing.assert_close(exported.module()(x), model(x))


def test_autocast() -> None:
    layer, dense, x = make(), make().to_dense(), numbers(7, 4, 6, 6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, expected = layer(x), dense(x)
    assert y.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(y, expected, rtol=2e-2, atol=2e-2)
    y.float().sum().backward()
    assert layer.weight_values.grad is not None
    assert layer.weight_values.grad.dtype == torch.float32


def test_layers_without_data() -> None:
    layer = make(device="meta", padding=1)
    y = layer(torch.empty(2, 4, 6, 6, device="meta"))
    assert y.is_meta
    assert y.shape == (2, 6, 6, 6)


def test_torch_func() -> None:
    layer, x = make(), numbers(4, 2, 4, 6, 6)
    torch.testing.assert_close(torch.func.vmap(layer)(x)[1], layer(x[1]))
    parameters: dict[str, Tensor] = dict(layer.named_parameters())
    buffers = dict(layer.named_buffers())

    def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(layer, (parameters, buffers), (x,)).square().sum()  # type: ignore[no-any-return]

    gradients = torch.func.vmap(torch.func.grad(loss), (None, None, 0))(parameters, buffers, x)
    layer(x[2]).square().sum().backward()
    torch.testing.assert_close(gradients["weight_values"][2], layer.weight_values.grad)


def test_inference_mode() -> None:
    layer, x = make(), numbers(3, 4, 6, 6)
    expected = layer(x).detach()
    with torch.inference_mode():
        torch.testing.assert_close(layer.eval()(x), expected)
        torch.testing.assert_close(make()(x), expected)


def test_it_trains_as_a_masked_dense_convolution_and_nothing_else_wakes() -> None:
    """Momentum and weight decay cannot revive a connection that does not exist."""
    layer = make(padding=1).double()
    dense, mask = layer.to_dense(), layer.pattern.to_mask()
    dense.weight.register_hook(lambda grad: grad * mask.view(grad.shape))
    x, y = numbers(16, 4, 5, 5).double(), numbers(16, 6, 5, 5, seed=2).double()
    models = (layer, dense)
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3) for m in models]
    for _ in range(20):
        for model, optimizer in zip(models, optimizers, strict=True):
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x), y).backward()
            optimizer.step()
    torch.testing.assert_close(layer.to_dense().weight, dense.weight, rtol=0, atol=1e-9)
    assert layer.pattern.to_mask().equal(mask)


# ---- in a model ----------------------------------------------------------------------------------------------------


def classifier() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Sequential(nn.Conv2d(16, 32, (3, 1), stride=2, groups=2), nn.ReLU()),
        nn.Flatten(),
        nn.Linear(32 * 3 * 4, 10),
    )


def sparse_layers(model: nn.Module) -> dict[str, SparseLayer]:
    return {name: module for name, module in model.named_modules() if isinstance(module, SparseLayer)}


@pytest.mark.parametrize("keep", ["random", "magnitude"])
def test_sparsify_covers_convolutions(keep: str) -> None:
    model, x = classifier(), numbers(5, 3, 16, 16)
    dense = [
        p.detach().clone().flatten(1) for name, p in model.named_parameters() if name in ("0.weight", "4.0.weight")
    ]
    assert sparsify_(model, 0.2, keep=keep) is model
    layers = sparse_layers(model)
    assert {name: type(layer) for name, layer in layers.items()} == {
        "0": SparseConv2d,
        "4.0": SparseConv2d,
        "6": SparseLinear,
    }
    assert [layer.nnz for layer in layers.values()] == [86, 154, 768]
    model(x).sum().backward()
    if keep == "magnitude":
        for weight, layer in zip(dense, layers.values(), strict=False):
            kept = layer.to_dense().weight.flatten(1)
            live = kept != 0
            assert torch.equal(kept[live], weight[live])
            assert float(weight[live].abs().min()) >= float(weight[~live].abs().max())


def test_erk_knows_the_kernel() -> None:
    shapes = [(16, 3, 3, 3), (32, 8, 3, 1), (10, 384)]
    model = sparsify_(classifier(), 0.2, "erk")
    shares = allocate_densities(shapes, 0.2, "erk")
    positions = [432, 768, 3840]
    assert [layer.nnz for layer in sparse_layers(model).values()] == [
        round(share * count) for share, count in zip(shares, positions, strict=True)
    ]
    assert abs(sum(share * count for share, count in zip(shares, positions, strict=True)) - 0.2 * sum(positions)) < 1e-9
    assert shares[1] / shares[2] == pytest.approx((44 / 768) / (394 / 3840))


def test_where_gets_both_kinds_of_layer() -> None:
    seen: dict[str, type] = {}

    def where(name: str, layer: nn.Module) -> bool:
        seen[name] = type(layer)
        return isinstance(layer, nn.Conv2d) and layer.in_channels > 3

    assert list(sparse_layers(sparsify_(classifier(), 0.2, where=where))) == ["4.0"]
    assert seen == {"0": nn.Conv2d, "4.0": nn.Conv2d, "6": nn.Linear}


def test_other_convolutions_are_left_alone_or_refused() -> None:
    class Special(nn.Conv2d):
        pass

    model = nn.Sequential(Special(3, 3, 1), nn.ConvTranspose2d(3, 3, 1), nn.Conv1d(3, 3, 1))
    with pytest.raises(InputError, match="no layer to make sparse"):
        sparsify_(model, 0.5)
    with pytest.raises(InputError, match=r"use SparseConv2d\.from_dense"):
        sparsify_(nn.Conv2d(3, 3, 1), 0.5)
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect"))
    with pytest.raises(InputError, match="'1' pads with 'reflect', not with zeros: leave it out"):
        sparsify_(model, 0.5)
    assert not sparse_layers(model)
    sparsify_(model, 0.5, where=lambda name, _: name == "0")
    assert list(sparse_layers(model)) == ["0"]
