"""No operator reads outside its memory, whatever tensors it is called with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import gossamer as gs
from gossamer import InputError

pytestmark = pytest.mark.usefixtures("one_thread")

ops = torch.ops.gossamer


def arguments() -> dict[str, list[Any]]:
    """A valid call of each operator."""
    torch.manual_seed(0)
    values, bias = torch.randn(12), torch.randn(5)
    index = list(gs.Pattern.erdos_renyi(5, 8, 12 / 40).structure)
    code, units = torch.randn(3, 2), torch.tensor([[0, 7], [3, 4], [1, 1]], dtype=torch.int32)
    geometry = [[2, 2], [1, 1], [0, 0, 0, 0], [1, 1], 1]
    image, gradient = torch.randn(3, 2, 4, 4), torch.randn(3, 5, 3, 3)
    rows, beta, radius = torch.randn(3, 6), torch.rand(3, 1), torch.tensor(1.5, dtype=torch.float64)
    return {
        "spmm": [values, *index, torch.randn(8, 3)],
        "spmm_t": [values, *index, torch.randn(5, 3)],
        "sddmm": [torch.randn(5, 3), torch.randn(8, 3), *index],
        "linear": [values, *index, torch.randn(3, 8), bias, True],
        "linear_backward": [torch.randn(3, 5), values, *index, torch.randn(3, 8)],
        "spspmm": [values, *index, code, units, bias, False],
        "spspmm_backward": [torch.randn(3, 5), values, *index, code, units],
        "conv2d": [values, *index, image, bias, *geometry],
        "conv2d_input": [values, *index, gradient, [4, 4], *geometry],
        "conv2d_values": [gradient, *index, image, *geometry],
        "conv2d_backward": [gradient, values, *index, image, *geometry],
        "hoyer": [rows, radius, 1, True],
        "hoyer_product": [rows, rows.abs(), beta, radius, 1, True],
    }


def spoilt(tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Tensors of other shapes and dtypes in its place."""
    if tensor.dim():
        for dim in range(tensor.dim()):
            yield f"one less along {dim}", tensor.narrow(dim, 0, tensor.shape[dim] - 1)
            yield f"one more along {dim}", torch.cat([tensor, tensor.narrow(dim, 0, 1)], dim)
        yield "empty", tensor[:0]
        yield "flat" if tensor.dim() > 1 else "a matrix", tensor.flatten() if tensor.dim() > 1 else tensor[None]
    yield "one dimension more", tensor.expand(2, *tensor.shape)
    for dtype in (torch.float64, torch.float16, torch.int64, torch.uint8, torch.bool, torch.complex64):
        if dtype != tensor.dtype:
            yield str(dtype), tensor.to(dtype)


def harmless(name: str, position: int, how: str) -> bool:
    """Whether such a call is a valid one."""
    if name == "hoyer":  # any rows, and any floating dtype of either
        return (position == 0 and how not in ("torch.int64", "torch.uint8", "torch.bool", "torch.complex64")) or (
            position == 1 and how == "torch.float16"
        )
    if name == "hoyer_product":
        return (position == 3 and how == "torch.float16") or (position in (0, 1, 2) and how in FLOATING)
    if position == 5 and name in BATCHES:  # another number of samples, or of pixels
        return how in BATCHES[name]
    return False


FLOATING = ("torch.float64", "torch.float16")
BATCHES: dict[str, tuple[str, ...]] = {
    "spmm": ("one less along 1", "one more along 1"),
    "spmm_t": ("one less along 1", "one more along 1"),
    "linear": ("one less along 0", "one more along 0", "empty"),
    "conv2d": ("empty", *(f"one {way} along {dim}" for way in ("less", "more") for dim in (0, 2, 3))),
    "conv2d_input": ("one less along 0", "one more along 0", "empty"),
}


CASES = [
    (name, position) for name, call in arguments().items() for position, a in enumerate(call) if isinstance(a, Tensor)
]


@pytest.mark.parametrize(("name", "position"), CASES)
def test_a_wrong_tensor_is_refused(name: str, position: int) -> None:
    operator: Callable[..., Any] = getattr(ops, name)
    operator(*arguments()[name])
    for how, other in spoilt(arguments()[name][position]):
        call = arguments()[name]
        call[position] = other
        if not harmless(name, position, how):
            with pytest.raises(InputError):
                operator(*call)


@pytest.mark.parametrize("name", [name for name in arguments() if name.startswith("conv2d")])
def test_a_wrong_geometry_is_refused(name: str) -> None:
    for position, wrong in enumerate(([3, 2], [2, 1], [1, 0, 0, 0], [1, 2], 2)):
        call = arguments()[name]
        call[len(call) - 5 + position] = wrong
        if name == "conv2d" and position in (1, 2, 3):
            continue  # another convolution, as valid
        with pytest.raises(InputError):
            getattr(ops, name)(*call)


@pytest.mark.parametrize("units", [-1, 8, 2**31 - 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("name", ["spspmm", "spspmm_backward"])
def test_a_unit_that_does_not_exist_is_refused(name: str, dtype: torch.dtype, units: int) -> None:
    call = [a.to(dtype) if isinstance(a, Tensor) and a.is_floating_point() else a for a in arguments()[name]]
    at = 6 if name == "spspmm" else 7
    call[at] = call[at].clone().fill_(units)
    with pytest.raises(InputError, match="indices of a code must be in"):
        getattr(ops, name)(*call)


# ---- patterns and layers whose tensors were replaced ---------------------------------------------------------------


def layer(kind: type[gs.SparseLinear] = gs.SparseLinear) -> gs.SparseLinear:
    return kind(8, 5, density=0.3, generator=torch.Generator().manual_seed(0))


SPOILERS: dict[str, Callable[[Tensor], Tensor]] = {
    "long": lambda t: t.long(),
    "shorter": lambda t: t[:-1],
    "longer": lambda t: torch.cat([t, t[-1:]]),
    "resized": lambda t: t.clone().resize_(t.numel() + 1000),
    "out of range": lambda t: t + 10**6,
    "negative": lambda t: -t - 1,
    "empty": lambda t: t[:0],
}


@pytest.mark.parametrize("how", SPOILERS)
@pytest.mark.parametrize("field", ["indptr", "indices", "t_indptr", "t_indices"])
@pytest.mark.parametrize("read", ["flat_indices", "to_mask", "row_indices", "fan_in", "fan_out", "to_dense", "step"])
def test_replaced_buffers_are_refused(read: str, field: str, how: str) -> None:
    net = layer()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    rewire = gs.Rewire(net, optimizer)
    setattr(net, field, SPOILERS[how](getattr(net, field)))
    calls: dict[str, Callable[[], object]] = {
        "to_dense": net.to_dense,
        "step": rewire.step,
        "to_mask": lambda: net.pattern.to_mask(),
    }
    call: Callable[[], object] = calls.get(read, lambda: getattr(net.pattern, read))
    with pytest.raises(InputError):
        call()


@pytest.mark.parametrize("values", [torch.zeros(11), torch.zeros(13), torch.zeros(0), torch.zeros(3, 4)])
@pytest.mark.parametrize("read", ["pattern", "to_dense", "step", "forward", "reset_parameters"])
def test_replaced_weights_are_refused(read: str, values: Tensor) -> None:
    net = layer()
    rewire = gs.Rewire(net)
    net.weight_values.data = values
    calls: dict[str, Callable[[], object]] = {
        "pattern": lambda: net.pattern,
        "to_dense": net.to_dense,
        "step": rewire.step if values.numel() else net.to_dense,  # a layer without connections has nothing to move
        "forward": lambda: net(torch.zeros(2, 8)),
        "reset_parameters": net.reset_parameters,
    }
    with pytest.raises(InputError, match="values must be a vector of 12 numbers"):
        calls[read]()


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
def test_another_dtype_between_forward_and_backward_is_exact(frozen: bool, relu: bool) -> None:
    def gradient(convert: bool, code: bool = False) -> Tensor:
        net = layer(gs.SparseLinearReLU if relu else gs.SparseLinear)
        net.weight_values.requires_grad_(not frozen)
        x = torch.randn(4, 8, generator=torch.Generator().manual_seed(1)).requires_grad_()
        loss = (net(gs.Code.pack(x)) if code else net(x)).square().sum()
        if convert:
            net.to(torch.float64)
        loss.backward()
        assert x.grad is not None
        return x.grad

    assert torch.equal(gradient(True), gradient(False))
    assert torch.equal(gradient(True, code=True), gradient(False, code=True))


def test_another_dtype_between_forward_and_backward_of_a_convolution_is_exact() -> None:
    def gradient(convert: bool) -> Tensor:
        net = gs.SparseConv2d(2, 3, 3, density=0.4, generator=torch.Generator().manual_seed(0))
        x = torch.randn(4, 2, 6, 6, generator=torch.Generator().manual_seed(1)).requires_grad_()
        loss = net(x).square().sum()
        if convert:
            net.to(torch.float64)
        loss.backward()
        assert x.grad is not None
        return x.grad

    assert torch.equal(gradient(True), gradient(False))
