"""The projection's operators: C++ against the torch reference, on every layout, instruction set and thread count."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gossamer.errors import InputError
from gossamer.kernels import _cpu
from gossamer.kernels.projection import project
from gossamer.kernels.projection_reference import reference, reference_product

ISAS = [0, 1, 2]


def forward(x: Tensor, radius: Tensor, dim: int, magnitude: bool = False) -> tuple[Tensor, Tensor]:
    return torch.ops.gossamer.hoyer(x, radius, dim, magnitude)  # type: ignore[no-any-return]


def product(v: Tensor, s: Tensor, beta: Tensor, radius: Tensor, dim: int, magnitude: bool = False) -> Tensor:
    return torch.ops.gossamer.hoyer_product(v, s, beta, radius, dim, magnitude)  # type: ignore[no-any-return]


def radius_of(n: int, sparseness: float) -> Tensor:
    return torch.tensor(math.sqrt(n) - sparseness * (math.sqrt(n) - 1), dtype=torch.float64)


@pytest.fixture
def isa() -> Iterator[None]:
    before = ["baseline", "avx2", "avx512"].index(_cpu.isa())
    yield
    _cpu.use_isa(before)


Make = Callable[..., Tensor]
LAYOUTS: dict[str, Callable[[int, int, Make], tuple[Tensor, int]]] = {
    "rows": lambda rows, n, make: (make(rows, n), 1),
    "columns": lambda rows, n, make: (make(n, rows).t(), 1),
    "middle": lambda rows, n, make: (make(2, n, rows), 1),
    "wide": lambda rows, n, make: (make(rows, 2 * n)[:, ::2], 1),
    "permuted": lambda rows, n, make: (make(2, n, rows).permute(2, 0, 1), 2),
}


@pytest.mark.parametrize("magnitude", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("which", ISAS)
def test_native_is_the_reference(
    which: int, dtype: torch.dtype, layout: str, magnitude: bool, isa: None, generator: torch.Generator
) -> None:
    try:
        _cpu.use_isa(which)
    except ValueError:
        pytest.skip("this processor lacks the instruction set")
    epsilon = torch.finfo(dtype).eps
    for n in (2, 17, 1100):
        for rows in (1, 5, 21):
            x, dim = LAYOUTS[layout](rows, n, lambda *shape: torch.randn(shape, dtype=dtype, generator=generator))
            v = torch.randn(x.shape, dtype=dtype, generator=generator)
            for sparseness in (0.15, 0.9):
                radius = radius_of(n, sparseness)
                s, beta = forward(x, radius, dim, magnitude)
                exact, exact_beta = reference(x.double(), radius, dim, magnitude)
                torch.testing.assert_close(s.double(), exact, rtol=0, atol=32 * epsilon)
                torch.testing.assert_close(beta.double(), exact_beta, rtol=1e3 * epsilon, atol=0)
                out = product(v, s, beta, radius, dim, magnitude).double()
                error = (out - reference_product(v.double(), exact, exact_beta, radius, dim)).abs()
                assert (error <= 400 * epsilon * exact_beta.clamp(min=1e-3)).all()


@given(
    rows=st.integers(1, 20),
    n=st.integers(2, 40),
    kind=st.sampled_from(["ties", "masked", "huge", "tiny", "heavy", "lowest", "bad"]),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    columns=st.booleans(),
    magnitude=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_native_is_the_reference_on_odd_input(
    rows: int, n: int, kind: str, dtype: torch.dtype, columns: bool, magnitude: bool, seed: int
) -> None:
    random = torch.Generator().manual_seed(seed)
    shape = (n, rows) if columns else (rows, n)
    x = torch.randn(shape, dtype=dtype, generator=random)
    some = torch.rand(shape, generator=random) < 0.4
    match kind:
        case "ties":
            x = x.round()
        case "masked":
            x = torch.where(some, -math.inf, x)
        case "huge":
            x = x * torch.finfo(dtype).max / 8
        case "tiny":
            x = x * torch.finfo(dtype).smallest_normal / 8
        case "heavy":
            x = x / x.flip(0)
        case "lowest":
            x = torch.where(some, torch.finfo(dtype).min, x)
        case _:
            x = torch.where(torch.rand(shape, generator=random) < 0.02, math.nan, x)
            x = torch.where(torch.rand(shape, generator=random) < 0.02, math.inf, x)
    x = x.t() if columns else x
    sparseness = torch.rand(rows, 1, dtype=torch.float64, generator=random) * 0.94 + 0.03
    radius = math.sqrt(n) - sparseness * (math.sqrt(n) - 1)
    s, _ = forward(x, radius, 1, magnitude)
    exact, _ = reference(x.double(), radius, 1, magnitude)
    assert torch.equal(s.isnan(), exact.isnan())
    d = (exact != 0).sum(1, keepdim=True)
    flatness = 1 / (1 - radius**2 / d).clamp(min=1e-6).sqrt()  # how much rounding weighs
    error = ((s - exact).abs() / flatness).nan_to_num(0).max()
    assert error <= 64 * torch.finfo(dtype).eps


def test_long_rows_do_not_depend_on_the_threads(threads: None, generator: torch.Generator) -> None:
    x = torch.randn(2, (1 << 17) + 77, generator=generator)
    radius = radius_of(x.shape[1], 0.9)
    results = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        s, beta = forward(x, radius, 1)
        results.append((s, beta, product(x, s, beta, radius, 1)))
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))
    torch.testing.assert_close(results[0][0].double(), reference(x.double(), radius, 1, False)[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(33, 1000), (1000, 33)])
def test_many_rows_do_not_depend_on_the_threads(
    shape: tuple[int, int], threads: None, generator: torch.Generator
) -> None:
    x = torch.randn(shape, generator=generator)
    dim = 1 if shape[1] == 1000 else 0
    radius = radius_of(1000, 0.8)
    results = []
    for count in (1, 2, 5):
        torch.set_num_threads(count)
        results.append(forward(x, radius, dim))
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))


def passes(x: Tensor, radius: Tensor) -> tuple[float, int]:
    """The mean and the greatest number of passes over a row of a contiguous float matrix."""
    rows, n = x.shape
    s, beta = torch.empty_like(x), x.new_empty(rows)
    total, most = _cpu.hoyer_forward(
        0, 1, x.data_ptr(), s.data_ptr(), beta.data_ptr(), radius.data_ptr(), False, rows, n, 1, False
    )
    return total / rows, most


def test_few_passes(generator: torch.Generator) -> None:
    means = []
    for rows, n in ((400, 16), (200, 100), (100, 1000), (20, 10_000), (2, 1 << 18)):
        x = torch.randn(rows, n, generator=generator)
        for sparseness in (0.1, 0.5, 0.75, 0.9, 0.95):
            mean, most = passes(x, radius_of(n, sparseness))
            means.append(mean)
            assert most <= 14
    assert sum(means) / len(means) <= 5


def test_few_passes_on_other_distributions(generator: torch.Generator) -> None:
    uniform = torch.rand(50, 1000, generator=generator)
    for x in (uniform, -uniform.log(), uniform.logit(), (uniform - 0.5).relu(), 1 / uniform, uniform.round()):
        for sparseness in (0.3, 0.8, 0.95):
            mean, most = passes(x.contiguous(), radius_of(1000, sparseness))
            assert mean <= 11
            assert most <= 16


@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("per_row", [False, True])
def test_operator_contract(columns: bool, per_row: bool, generator: torch.Generator) -> None:
    x = torch.randn(6, 9, dtype=torch.float64, generator=generator)
    x = x.t() if columns else x
    radius = radius_of(x.shape[1], 0.5)
    radius = radius.repeat(x.shape[0], 1) if per_row else radius
    for needed in (False, True):
        arguments = (x.clone().requires_grad_(needed), radius.clone().requires_grad_(needed), 1, False)
        torch.library.opcheck(torch.ops.gossamer.hoyer.default, arguments)
    s, beta = forward(x, radius, 1)
    s, beta = s.detach().requires_grad_(), beta.detach().requires_grad_()
    torch.library.opcheck(torch.ops.gossamer.hoyer_product.default, (x.requires_grad_(), s, beta, radius, 1, False))


@pytest.mark.parametrize("magnitude", [False, True])
def test_beta_has_derivatives_too(magnitude: bool, generator: torch.Generator) -> None:
    x = torch.randn(2, 6, dtype=torch.float64, generator=generator, requires_grad=True)
    radius = torch.tensor([[1.7], [1.9]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, r: forward(x, r, 1, magnitude), (x, radius))
    assert torch.autograd.gradgradcheck(lambda x, r: forward(x, r, 1, magnitude), (x, radius))


def test_compiled_shapes_may_change(generator: torch.Generator) -> None:
    compiled = torch.compile(project, fullgraph=True, dynamic=True, backend="aot_eager")
    for rows, n in ((3, 8), (5, 20)):
        x, radius = torch.randn(rows, n, generator=generator), radius_of(n, 0.5)
        torch.testing.assert_close(compiled(x, radius, 1, False), project(x, radius, 1, False))
        torch.testing.assert_close(compiled(x.t(), radius, 0, True), project(x.t(), radius, 0, True))


def test_parameters_and_subclasses(generator: torch.Generator) -> None:
    class Named(Tensor):
        pass

    x = torch.randn(3, 8, generator=generator)
    radius = radius_of(8, 0.5)
    expected = project(x, radius, 1, False)
    assert torch.equal(project(torch.nn.Parameter(x), radius, 1, False), expected)
    assert torch.equal(project(x.as_subclass(Named), radius, 1, False).as_subclass(Tensor), expected)


def test_impossible_radius_gives_nan() -> None:
    x = torch.tensor([[3.0, 1, 2, 0]] * 4)
    radius = torch.tensor([[0.9], [2.1], [math.nan], [1.5]], dtype=torch.float64)
    for s in (forward(x, radius, 1)[0], reference(x, radius, 1, False)[0]):
        assert s.isnan().all(1).tolist() == [True, True, True, False]


def test_product_takes_any_dtype_and_layout(generator: torch.Generator) -> None:
    x = torch.randn(6, 5, generator=generator)
    v = torch.randn(5, 6, dtype=torch.float64, generator=generator).t()
    radius = radius_of(5, 0.4)
    s, beta = forward(x, radius, 1)
    expected = product(v.float().contiguous(), s, beta, radius, 1)
    torch.testing.assert_close(product(v, s, beta, radius.float(), 1), expected, rtol=1e-4, atol=1e-5)


def test_radius_of_the_wrong_shape() -> None:
    with pytest.raises(InputError, match="one number for each row"):
        project(torch.ones(3, 4), torch.ones(4, dtype=torch.float64), 1, False)


def test_meta_tensors_have_shapes() -> None:
    x = torch.empty(4, 6, 5, device="meta").permute(2, 0, 1)
    s, beta = forward(x, radius_of(4, 0.5), 1)
    assert (s.shape, s.stride()) == (x.shape, x.stride())
    assert beta.shape == (5, 1, 6)


def test_kernels_are_clean_under_sanitizers(tmp_path: Path) -> None:
    """The C++ tests of the projection, under the sanitizers for addresses and undefined behaviour."""
    cpu = Path(__file__).parents[2] / "src" / "gossamer" / "kernels" / "cpu"
    sources = [Path(__file__).parent / "cpp" / "hoyer_test.cpp", cpu / "hoyer.cpp"]
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None or not all(source.exists() for source in sources):
        pytest.skip("no C++ compiler, or no sources beside the tests")
    flags = ["-std=gnu++17", "-O0", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-Wno-psabi"]
    empty = tmp_path / "empty.cpp"
    empty.write_text("int main() { return 0; }\n")
    if subprocess.run([compiler, *flags, str(empty), "-o", str(tmp_path / "empty")], check=False).returncode:
        pytest.skip("the compiler has no sanitizers here")
    program = tmp_path / "hoyer_test"
    command = [compiler, *flags, f"-I{cpu}", "-DGOSSAMER_ISA=baseline", *map(str, sources), "-o", str(program)]
    subprocess.run(command, check=True, capture_output=True)
    result = subprocess.run([str(program)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
