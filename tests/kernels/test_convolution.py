"""The sparse convolution against the masked dense one, on every instruction set, dtype and layout; its derivatives."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from gossamer import InputError
from gossamer.connectivity import Pattern
from gossamer.kernels import Geometry, Structure, _cpu, conv2d, images
from gossamer.kernels.convolution import conv2d_input, conv2d_values

pytestmark = pytest.mark.usefixtures("one_thread")

# What a result may be off by, relative to the largest: rounding of the result, and of the sums (PyTorch's, in float16).
ERROR = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2.0**-8, torch.float16: 2.0**-6}
DTYPES = tuple(ERROR)


def instruction_sets() -> list[int]:
    found, chosen = [], _cpu.isa()
    names = []
    for level in range(8):
        try:
            _cpu.use_isa(level)
        except ValueError:
            break
        found.append(level)
        names.append(_cpu.isa())
    _cpu.use_isa(names.index(chosen))
    return found


ISAS = instruction_sets()


@contextmanager
def instruction_set(level: int) -> Iterator[None]:
    try:
        _cpu.use_isa(level)
        yield
    finally:
        _cpu.use_isa(ISAS[-1])


def contiguous(x: Tensor) -> Tensor:
    return x.contiguous()


def innermost(x: Tensor) -> Tensor:
    """The samples of a pixel side by side in memory."""
    return x.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2)


def channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def sliced(x: Tensor) -> Tensor:
    return torch.cat([x, x], 3)[..., : x.shape[3]]


LAYOUTS = (contiguous, innermost, channels_last, sliced)


def pattern(out: int, into: int, density: float, seed: int = 0) -> Pattern:
    return Pattern.from_mask(torch.rand(out, into, generator=seeded(seed)) < density)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbers(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64).to(dtype)


def weight(values: Tensor, p: Pattern, g: Geometry) -> Tensor:
    """The dense weight, differentiable in ``values``."""
    mask = p.to_mask()
    return torch.zeros(mask.shape, dtype=values.dtype).masked_scatter(mask, values).view(mask.shape[0], -1, *g.kernel)


def dense(values: Tensor, p: Pattern, x: Tensor, bias: Tensor | None, g: Geometry) -> Tensor:
    top, bottom, left, right = g.padding
    padded = functional.pad(x, (left, right, top, bottom))
    return functional.conv2d(padded, weight(values, p, g), bias, g.stride, 0, g.dilation, g.groups)


def assert_close(got: Tensor | None, wanted: Tensor | None, dtype: torch.dtype) -> None:
    assert got is not None
    assert wanted is not None
    assert got.shape == wanted.shape
    assert got.dtype == dtype
    if got.numel():
        got, wanted = got.detach().double(), wanted.detach().double()
        assert float((got - wanted).abs().max()) <= ERROR[dtype] * (1 + float(wanted.abs().max()))


def pairs(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(low, high), st.integers(low, high))


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    padding = draw(st.tuples(*[st.integers(0, 4)] * 4))
    return Geometry(
        draw(pairs(1, 4)), draw(pairs(1, 3)), padding, draw(pairs(1, 3)), draw(st.sampled_from((1, 1, 2, 3)))
    )


# ---- the function --------------------------------------------------------------------------------------------------


@settings(max_examples=300)
@given(
    geometries(),
    pairs(1, 15),
    st.sampled_from((0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33, 40)),
    pairs(1, 7),
    st.sampled_from((0.0, 0.05, 0.3, 1.0)),
    st.sampled_from(DTYPES),
    st.sampled_from(LAYOUTS),
    st.sampled_from(ISAS),
    st.integers(1, 3),
    st.booleans(),
)
def test_it_is_the_masked_dense_convolution_with_all_its_gradients(
    threads: None,
    g: Geometry,
    size: tuple[int, int],
    batch: int,
    channels: tuple[int, int],
    density: float,
    dtype: torch.dtype,
    layout: Callable[[Tensor], Tensor],
    isa: int,
    workers: int,
    with_bias: bool,
) -> None:
    assume(min(g.output_size(size)) >= 1)
    into, out = channels[0] * g.groups, channels[1] * g.groups
    p = pattern(out, channels[0] * g.kernel[0] * g.kernel[1], density)
    x, values = numbers(batch, into, *size, seed=1, dtype=dtype), numbers(p.nnz, seed=2, dtype=dtype)
    bias = numbers(out, seed=3, dtype=dtype) if with_bias else None
    grad = numbers(batch, out, *g.output_size(size), seed=4, dtype=dtype)

    def run(
        function: Callable[..., Tensor], where: object, wide: bool, laid_out: Callable[[Tensor], Tensor]
    ) -> list[Tensor | None]:
        kind = torch.float64 if wide else dtype
        v, images_in = values.to(kind, copy=True).requires_grad_(), laid_out(x.to(kind, copy=True)).requires_grad_()
        b = None if bias is None else bias.to(kind, copy=True).requires_grad_()
        y = function(v, where, images_in, b, g)
        y.backward(laid_out(grad.to(kind)))
        return [y.detach(), images_in.grad, v.grad, None if b is None else b.grad]

    torch.set_num_threads(workers)
    with instruction_set(isa):
        got = run(conv2d, p.structure, False, layout)
        alone = [
            conv2d_input(values, p.structure, layout(grad), size, g),
            conv2d_values(layout(grad), p.structure, layout(x), g),
        ]
    wanted = run(dense, p, True, contiguous)
    for mine, right in zip(got[: 3 + with_bias], wanted, strict=False):
        assert_close(mine, right, dtype)
    for single, right in zip(alone, wanted[1:3], strict=True):
        assert_close(single, right, dtype)


def test_a_literal_convolution() -> None:
    # [[. 2], [3 .]] over rows of 1 … 9
    p = Pattern.from_mask(torch.tensor([[False, True, True, False]]))
    x = torch.arange(1.0, 10.0).view(1, 1, 3, 3)
    y = conv2d(torch.tensor([2.0, 3.0]), p.structure, x, torch.tensor([100.0]), Geometry((2, 2)))
    assert y.tolist() == [[[[2 * 2 + 3 * 4 + 100, 2 * 3 + 3 * 5 + 100], [2 * 5 + 3 * 7 + 100, 2 * 6 + 3 * 8 + 100]]]]


@pytest.mark.parametrize("batch", [3, 40])
@pytest.mark.parametrize("isa", ISAS)
def test_more_than_the_caches_hold(isa: int, batch: int) -> None:
    """Several strips, blocks of channels and blocks of samples, whole and in part."""
    g = Geometry((3, 3), padding=(1, 1, 1, 1))
    p = pattern(48, 80 * 9, 0.1)
    x, values, grad = numbers(batch, 80, 41, 19), numbers(p.nnz), numbers(batch, 48, 41, 19, seed=2)
    with instruction_set(isa):
        y = conv2d(values, p.structure, x, None, g)
        grad_x, grad_values = torch.ops.gossamer.conv2d_backward(grad, values, *p.structure, x, *g)
    x.requires_grad_()
    values.requires_grad_()
    wanted = dense(values, p, x, None, g)
    wanted.backward(grad)
    for got, right in ((y, wanted), (grad_x, x.grad), (grad_values, values.grad)):
        assert_close(got, right, torch.float64)


@pytest.mark.parametrize("units", [1, 30])
def test_threads_agree(threads: None, units: int) -> None:
    g = Geometry((3, 3), padding=(1, 1, 1, 1))
    p = pattern(32, 32 * 9, 0.2)
    x, values = numbers(16 * units, 32, 8, 8), numbers(p.nnz)
    results = []
    for workers in (1, 2, 3):
        torch.set_num_threads(workers)
        y = conv2d(values, p.structure, x, None, g)
        results.append((y, *torch.ops.gossamer.conv2d_backward(y, values, *p.structure, x, *g)))
    for result in results[1:]:
        assert torch.equal(result[0], results[0][0])
        assert torch.equal(result[1], results[0][1])
        assert_close(result[2], results[0][2], torch.float64)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("batch", [3, 20])
def test_a_number_that_is_not_finite_stays_in_its_sample_and_its_connections(bad: float, batch: int) -> None:
    g = Geometry((3, 3), padding=(1, 1, 1, 1))
    p = Pattern.from_mask(torch.eye(4).repeat_interleave(9, 1) > 0)  # output c reads channel c alone
    x = numbers(batch, 4, 6, 7)
    x[1, 2, 3, 3] = bad
    y = conv2d(torch.ones(p.nnz, dtype=torch.float64), p.structure, x, None, g)
    touched = torch.zeros(y.shape, dtype=torch.bool)
    touched[1, 2, 2:5, 2:5] = True
    assert torch.equal(~y.isfinite(), touched)


# ---- layouts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_results_have_the_layout_of_the_input(dtype: torch.dtype) -> None:
    g = Geometry((3, 3), (2, 2), (1, 1, 1, 1))
    p = pattern(6, 4 * 9, 0.5)
    values = numbers(p.nnz, dtype=dtype)
    for layout in LAYOUTS:
        x = layout(numbers(20, 4, 8, 8, dtype=dtype))
        y = conv2d(values, p.structure, x, None, g)
        grad_x, _ = torch.ops.gossamer.conv2d_backward(y, values, *p.structure, x, *g)
        for images_out in (y, grad_x):
            assert images.innermost(images_out) == (layout is innermost)
            assert images_out.is_contiguous() != (layout is innermost)


def test_a_result_may_be_changed_in_place() -> None:
    g, p = Geometry((1, 1)), pattern(3, 2, 1.0)
    for layout in (contiguous, innermost):
        x = layout(numbers(4, 2, 3, 3)).requires_grad_()
        functional.relu(conv2d(numbers(p.nnz), p.structure, x, None, g), inplace=True).sum().backward()


def test_inputs_are_left_as_they_are() -> None:
    g, p = Geometry((3, 3), padding=(1, 1, 1, 1)), pattern(3, 18, 0.5)
    x, values, grad = numbers(5, 2, 4, 4), numbers(p.nnz), numbers(5, 3, 4, 4)
    before = [t.clone() for t in (x, values, grad)]
    conv2d(values, p.structure, x, None, g)
    torch.ops.gossamer.conv2d_backward(grad, values, *p.structure, x, *g)
    assert all(torch.equal(t, b) for t, b in zip((x, values, grad), before, strict=True))


# ---- derivatives ---------------------------------------------------------------------------------------------------

G = Geometry((2, 3), (2, 1), (1, 0, 1, 2), (1, 2), 2)
P = pattern(4, 2 * 6, 0.5)
SIZE = (5, 4)


def leaves(*shapes: tuple[int, ...]) -> tuple[Tensor, ...]:
    return tuple(numbers(*shape, seed=i).requires_grad_() for i, shape in enumerate(shapes))


def bilinear(values: Tensor, x: Tensor, bias: Tensor) -> Tensor:
    return conv2d(values, P.structure, x, bias, G)


def backward_to_input(values: Tensor, grad: Tensor) -> Tensor:
    return conv2d_input(values, P.structure, grad, SIZE, G)


def backward_to_values(grad: Tensor, x: Tensor) -> Tensor:
    return conv2d_values(grad, P.structure, x, G)


X, Y = (2, 4, *SIZE), (2, 4, *G.output_size(SIZE))
FUNCTIONS = [
    (bilinear, leaves((P.nnz,), X, (4,))),
    (backward_to_input, leaves((P.nnz,), Y)),
    (backward_to_values, leaves(Y, X)),
]


@pytest.mark.parametrize(("function", "inputs"), FUNCTIONS)
def test_first_and_second_derivatives(function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> None:
    assert torch.autograd.gradcheck(function, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, inputs, fast_mode=True)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # PyTorch's own formulas
@pytest.mark.parametrize(("function", "inputs"), FUNCTIONS)
def test_torch_func(function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> None:
    inputs = tuple(t.detach() for t in inputs)
    tangents = tuple(numbers(*t.shape, seed=9) for t in inputs)
    step = 1e-6
    shifted = [function(*(t + s * step * d for t, d in zip(inputs, tangents, strict=True))) for s in (1, -1)]
    derivative = torch.func.jvp(function, inputs, tangents)[1]
    torch.testing.assert_close(derivative, (shifted[0] - shifted[1]) / (2 * step), rtol=1e-6, atol=1e-6)
    stacked = tuple(torch.stack([t, 2 * t]) for t in inputs)
    mapped = torch.func.vmap(function)(*stacked)
    torch.testing.assert_close(mapped[1], function(*(2 * t for t in inputs)))
    first = torch.func.grad(lambda *a: function(*a).square().sum())(*inputs)
    start = inputs[0].clone().requires_grad_()
    function(start, *inputs[1:]).square().sum().backward()
    torch.testing.assert_close(first, start.grad)


def test_only_what_is_needed_has_a_gradient() -> None:
    values, x, bias = (t.detach() for t in leaves((P.nnz,), X, (4,)))
    for one in (values, x, bias):
        one.requires_grad_()
        bilinear(values, x, bias).sum().backward()
        assert one.grad is not None
        one.requires_grad_(False)
        assert all(t.grad is None for t in (values, x, bias) if t is not one)
        one.grad = None


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
@pytest.mark.parametrize("layout", [contiguous, innermost])
def test_operators_are_well_formed(dtype: torch.dtype, layout: Callable[[Tensor], Tensor]) -> None:
    tests: tuple[str, ...] = ("test_schema", "test_faketensor", "test_autograd_registration")
    if dtype == torch.float64:
        tests += ("test_aot_dispatch_dynamic",)
    x, grad = layout(numbers(3, 4, *SIZE, dtype=dtype)), layout(numbers(3, *Y[1:], dtype=dtype))
    values, bias, s = numbers(P.nnz, dtype=dtype), numbers(4, dtype=dtype), P.structure
    ops = torch.ops.gossamer
    for op, arguments in (
        (ops.conv2d, (values.requires_grad_(), *s, x.requires_grad_(), bias.requires_grad_(), *G)),
        (ops.conv2d_input, (values, *s, grad.requires_grad_(), SIZE, *G)),
        (ops.conv2d_values, (grad, *s, x, *G)),
    ):
        torch.library.opcheck(op, arguments, test_utils=tests)
    plain = tuple(t.detach() for t in (grad, values, *s, x))
    torch.library.opcheck(ops.conv2d_backward, (*plain, *G), test_utils=("test_schema", "test_faketensor"))


@pytest.mark.parametrize(("function", "inputs"), FUNCTIONS)
def test_it_compiles_without_a_graph_break(function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> None:
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    mine, right = ([t.detach().clone().requires_grad_() for t in inputs] for _ in range(2))
    compiled(*mine).square().sum().backward()
    function(*right).square().sum().backward()
    for got, wanted in zip(mine, right, strict=True):
        torch.testing.assert_close(got.grad, wanted.grad)


def test_shapes_without_data() -> None:
    values, x = torch.empty(P.nnz, device="meta"), torch.empty(X, device="meta")
    y = conv2d(values, Structure(*(t.to("meta") for t in P.structure)), x, None, G)
    assert y.shape == Y
    assert y.is_meta


# ---- what is refused -----------------------------------------------------------------------------------------------


def call(**changes: object) -> Tensor:
    arguments: dict[str, object] = {
        "values": numbers(P.nnz),
        "s": P.structure,
        "x": numbers(*X),
        "bias": numbers(4),
        "g": G,
    }
    return conv2d(**(arguments | changes))  # type: ignore[arg-type]


def test_wrong_arguments_are_refused() -> None:
    call()
    wrong: dict[str, dict[str, object]] = {
        r"values must be a vector of \d+ numbers": {"values": numbers(P.nnz + 1)},
        "values must be floating point": {"values": torch.ones(P.nnz, dtype=torch.int64)},
        r"x must have shape \(batch, 4, height, width\), got \(2, 5, 5, 4\)": {"x": numbers(2, 5, *SIZE)},
        r"x must have shape \(batch, 4, height, width\), got \(4, 5, 4\)": {"x": numbers(4, *SIZE)},
        "x must be torch.float64": {"x": numbers(*X).float()},
        r"x must have images that hold the kernel \(2, 3\).* got \(5, 1\)": {"x": numbers(2, 4, 5, 1)},
        "bias must be a vector of 4": {"bias": numbers(5)},
        r"with out divisible by groups = 3, got \(4, 12\)": {"g": G._replace(groups=3)},
        r"shape \(out, in / groups · 5 · 1\)": {"g": G._replace(kernel=(5, 1))},
        "must be at least 1": {"g": G._replace(stride=(0, 1))},
        "padding at least 0": {"g": G._replace(padding=(0, 0, -1, 0))},
        "padding four numbers": {"g": G._replace(padding=(1, 1))},  # type: ignore[arg-type]
    }
    for message, changes in wrong.items():
        with pytest.raises(InputError, match=message):
            call(**changes)
        with pytest.raises(InputError, match=message), torch.no_grad():
            call(**changes)


def test_wrong_gradients_are_refused() -> None:
    values, x = numbers(P.nnz), numbers(*X)
    with pytest.raises(InputError, match="grad must be of images of the output's size"):
        conv2d_input(values, P.structure, numbers(2, 4, 9, 9), SIZE, G)
    with pytest.raises(InputError, match="must have the same batch, got 3 and 2"):
        conv2d_values(numbers(3, *Y[1:]), P.structure, x, G)
    with pytest.raises(InputError, match=r"grad must have shape \(batch, 4"):
        conv2d_values(numbers(2, 3, *Y[2:]), P.structure, x, G)


def test_a_corrupt_pattern_is_refused_before_a_kernel_reads_it() -> None:
    s = Structure(*(t.clone() for t in P.structure))
    s.indices[0] = 99
    with pytest.raises(InputError, match="not a valid pattern"):
        call(s=s)


# ---- the pieces in C++ ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_the_pieces_are_clean(sanitizer: str, tmp_path: Path) -> None:
    cpu = Path(__file__).parents[2] / "src" / "gossamer" / "kernels" / "cpu"
    sources = [Path(__file__).parent / "cpp" / "convolution_test.cpp", cpu / "convolution.cpp"]
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None or not all(source.exists() for source in sources):
        pytest.skip("no C++ compiler, or the sources are not beside the tests")
    flags = [f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all", "-std=gnu++17", "-g", "-O0", "-pthread"]
    empty = tmp_path / "empty.cpp"
    empty.write_text("int main() { return 0; }\n")
    linked = subprocess.run(
        [compiler, *flags, str(empty), "-o", str(tmp_path / "empty")], capture_output=True, check=False
    )
    if linked.returncode or subprocess.run([str(tmp_path / "empty")], capture_output=True, check=False).returncode:
        pytest.skip(f"the compiler can't build or run programs with -fsanitize={sanitizer}")
    program = str(tmp_path / "convolution_test")
    command = [compiler, *flags, "-Wno-psabi", f"-I{cpu}", "-DGOSSAMER_ISA=baseline", *map(str, sources), "-o", program]
    subprocess.run(command, check=True, capture_output=True)
    result = subprocess.run([program, "60"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "0 failures" in result.stdout
