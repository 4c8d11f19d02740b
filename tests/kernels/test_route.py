"""Which implementation runs, and that none is taken where its result would be wrong."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.flop_counter import FlopCounterMode

import gossamer as gs
from gossamer.kernels import Code, route

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning"),  # by forward mode, in torch
]


def start() -> torch.Generator:
    return torch.Generator().manual_seed(0)


LAYER = gs.SparseLinear(8, 5, density=0.5, generator=start(), dtype=torch.float64)
HOYER = gs.Hoyer(0.6)
SRELU = gs.SReLU(8, generator=start(), dtype=torch.float64)


def samples(seed: int = 1) -> Tensor:
    return torch.rand(3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def code_of(values: Tensor) -> Code:
    units = torch.tensor([[0, 2, 5], [1, 2, 7], [3, 4, 6]], dtype=torch.int32)
    return Code(values, units, 8)


FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda x: LAYER(x),
    "spspmm": lambda x: LAYER(code_of(x[:, :3])),
    "hoyer": lambda x: HOYER(x),
    "signed hoyer": lambda x: gs.functional.hoyer_projection(x - 0.5, 0.6, signed=True),
    "srelu": lambda x: SRELU(x - 0.5),
}
FORWARD_MODE = [name for name in FUNCTIONS if name != "srelu"]  # which refuses it


def numeric(f: Callable[[Tensor], Tensor], x: Tensor, t: Tensor) -> Tensor:
    with torch.no_grad():
        return (f(x + 1e-6 * t) - f(x - 1e-6 * t)) / 2e-6


@pytest.mark.parametrize("name", FORWARD_MODE)
@pytest.mark.parametrize("gradients", [True, False])
def test_forward_mode_loses_no_tangent(name: str, gradients: bool) -> None:
    f, x, t = FUNCTIONS[name], samples(), samples(2)
    with forward_ad.dual_level(), torch.set_grad_enabled(gradients):
        tangent = forward_ad.unpack_dual(f(forward_ad.make_dual(x, t))).tangent
    assert tangent is not None
    torch.testing.assert_close(tangent, numeric(f, x, t), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", FORWARD_MODE)
def test_functional_transforms_agree_with_autograd(name: str) -> None:
    f, x, t = FUNCTIONS[name], samples(), samples(2)
    value, tangent = torch.func.jvp(f, (x,), (t,))[:2]
    torch.testing.assert_close(value, f(x).detach())
    torch.testing.assert_close(tangent.detach(), numeric(f, x, t), rtol=1e-6, atol=1e-8)
    expected = torch.autograd.functional.jacobian(f, x)
    torch.testing.assert_close(torch.func.jacrev(f)(x).detach(), expected)
    torch.testing.assert_close(torch.func.jacfwd(f)(x).detach(), expected)
    torch.testing.assert_close(torch.func.vmap(f)(torch.stack([x, x]))[1].detach(), f(x).detach())

    def scalar(x: Tensor) -> Tensor:
        return f(x).pow(3).sum()

    torch.testing.assert_close(torch.func.hessian(scalar)(x).detach(), torch.autograd.functional.hessian(scalar, x))


@pytest.mark.parametrize("magnitude", [False, True])
def test_transforms_give_rows_without_a_threshold_no_derivative(magnitude: bool) -> None:
    """Ties, one unit apart from ties, and rows of which just enough units are finite: zero as decided, never NaN."""
    x = torch.tensor([[1.0, 1, 1, 1], [2, 1, 1, 1], [0, 0, 0, 0], [3, 1, 2, 1.5]], dtype=torch.float64)

    def f(x: Tensor) -> Tensor:
        return gs.functional.hoyer_projection(x, 0.6, signed=magnitude)

    expected = torch.autograd.functional.jacobian(f, x)
    torch.testing.assert_close(torch.func.jacrev(f)(x), expected)
    torch.testing.assert_close(torch.func.jacfwd(f)(x), expected)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_recorded_gradient_is_that_of_other_inputs_too(name: str) -> None:
    def gradient(x: Tensor) -> Tensor:
        return torch.autograd.grad(FUNCTIONS[name](x).square().sum(), x)[0]

    x, other = samples().requires_grad_(), samples(3).requires_grad_()
    recorded = make_fx(gradient)(x)
    torch.testing.assert_close(recorded(other), gradient(other))


def test_ways() -> None:
    x, values = samples(), torch.ones(3)
    assert route.way(x, values) is route.AUTOGRAD
    with torch.no_grad():
        assert route.way(x, values) is route.KERNEL
    assert route.way(x, values.to("meta")) is route.OPERATOR
    with FlopCounterMode(display=False):
        assert route.way(x, values) is route.OPERATOR
        assert not route.is_plain(x)
    with forward_ad.dual_level():
        assert route.way(x, values) is route.REFERENCE
        assert not route.is_plain(x)
    seen: list[route.Way] = []
    torch.func.vmap(lambda row: seen.append(route.way(row, values)) or row)(x)  # type: ignore[func-returns-value]
    assert seen == [route.REFERENCE]


def test_ways_back() -> None:
    grad = samples()
    assert route.way_back(grad) is route.AUTOGRAD
    with torch.no_grad():
        assert route.way_back(grad) is route.KERNEL
        with FlopCounterMode(display=False):
            assert route.way_back(grad) is route.OPERATOR
        with forward_ad.dual_level():
            assert route.way_back(grad) is route.AUTOGRAD


@pytest.mark.parametrize(
    ("dtype", "products", "elementwise"),
    [
        (torch.float32, True, True),
        (torch.float64, True, True),
        (torch.bfloat16, True, False),
        (torch.float16, False, False),
        (torch.int64, False, False),
    ],
)
def test_dtypes_of_cpp(dtype: torch.dtype, products: bool, elementwise: bool) -> None:
    x = torch.ones(2, dtype=dtype)
    assert route.in_cpp(x) == products
    assert route.in_cpp(x, route.ELEMENTWISE) == elementwise
    assert not route.in_cpp(x.to("meta"))
    assert route.sums_in(dtype) == (torch.float32 if dtype == torch.bfloat16 else dtype)
