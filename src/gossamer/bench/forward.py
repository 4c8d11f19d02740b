"""A forward pass of one layer: dense input, and sparse input.

Layers are n → n with a bias, in evaluation mode without gradients. All rivals but SparseLab, which draws its own, have
the same weights, and their outputs are compared with the dense one's before they are timed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache, partial

import torch
from torch import Tensor
from torch.nn import functional as F

from gossamer.bench import rivals
from gossamer.bench.cells import DTYPES, Plan
from gossamer.bench.comparison import Comparison, Factories
from gossamer.bench.measure import Step
from gossamer.connectivity import SparseLinear
from gossamer.kernels import Code

__all__ = ["layer_comparisons", "spspmm_comparisons"]

_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-10, torch.bfloat16: 5e-2}  # of the largest output


class _Layers:
    """One layer in each of its forms, made at their first use."""

    def __init__(self, width: int, density: float, dtype: torch.dtype, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.density, self.dtype, self.seed = density, dtype, seed
        self.sparse = SparseLinear(width, width, density, generator=generator, dtype=dtype).eval()
        self.sparse.requires_grad_(False)
        self._made: dict[str, Callable[[Tensor], Tensor] | str] = {}

    def __getitem__(self, name: str) -> Callable[[Tensor], Tensor] | str:
        if name not in self._made:
            self._made[name] = self._make(name)
        return self._made[name]

    def _make(self, name: str) -> Callable[[Tensor], Tensor] | str:
        if name == "dense":
            dense = self.sparse.to_dense().requires_grad_(False)
            return lambda x: F.linear(x, dense.weight, dense.bias)
        if name == "masked":
            return rivals.MaskedLinear(self.sparse).requires_grad_(False)
        if name == "CSR":
            return "no bfloat16" if self.dtype == torch.bfloat16 else rivals.csr_layer(self.sparse)
        reason = rivals.why_not_sparselab(self.dtype)
        width = self.sparse.in_features
        return reason or rivals.sparselab_layer(width, width, self.density, self.seed).requires_grad_(False)


def layer_comparisons(plan: Plan) -> Iterator[Comparison]:
    """Compare layers on x (batch, n), dense and normally distributed, for each width, density and batch."""
    dtype = DTYPES[plan.dtype]
    layers = lru_cache(maxsize=1)(partial(_Layers, dtype=dtype, seed=plan.seed))
    for width in plan.widths:
        for density in plan.densities:
            for batch in plan.batches:

                def contenders(width: int = width, density: float = density, batch: int = batch) -> Factories:
                    own = layers(width, density)
                    x = torch.randn(batch, width, generator=torch.Generator().manual_seed(plan.seed)).to(dtype)
                    return _factories(own, x, {"gossamer": lambda: own.sparse(x)}, ("masked", "CSR", "SparseLab"))

                yield Comparison("layer", {"width": width, "batch": batch, "density": density}, contenders)


def spspmm_comparisons(plan: Plan) -> Iterator[Comparison]:
    """Compare layers on x (batch, n) with round(c · n) active units a sample at code density c.

    ``gossamer`` is given the code (the active units and their values), ``zeros`` the dense x, in which it finds them.
    """
    dtype = DTYPES[plan.dtype]
    layers = lru_cache(maxsize=1)(partial(_Layers, dtype=dtype, seed=plan.seed))
    for width in plan.spspmm_widths:
        for code, density in plan.spspmm_densities:
            for batch in plan.spspmm_batches:

                def contenders(
                    width: int = width, code: float = code, density: float = density, batch: int = batch
                ) -> Factories:
                    own = layers(width, density)
                    x = _sparse_input(batch, width, code, plan.seed).to(dtype)
                    packed = Code.pack(x)
                    steps: dict[str, Step] = {"gossamer": lambda: own.sparse(packed), "zeros": lambda: own.sparse(x)}
                    return _factories(own, x, steps, ("CSR", "SparseLab"))

                setting = {"width": width, "batch": batch, "code density": code, "density": density}
                yield Comparison("spspmm", setting, contenders)


def _sparse_input(batch: int, width: int, density: float, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    count = max(1, round(density * width))
    x = torch.zeros(batch, width)
    active = torch.rand(batch, width, generator=generator).topk(count).indices
    return x.scatter_(1, active, torch.rand(batch, count, generator=generator) + 0.1)


def _factories(own: _Layers, x: Tensor, ours: dict[str, Step], others: tuple[str, ...]) -> Factories:
    """``ours``, the dense layer and the ``others`` on x, each checked against the dense one."""
    dense = own["dense"]
    assert not isinstance(dense, str)
    expected = dense(x)

    def made(name: str) -> Step | str:
        layer = own[name]
        if isinstance(layer, str):
            return layer
        return _ready(name, lambda: layer(x), None if name == "SparseLab" else expected)

    return {
        **{name: partial(_ready, name, step, expected) for name, step in ours.items()},
        **{name: partial(made, name) for name in ("dense", *others)},
    }


def _ready(name: str, step: Step, expected: Tensor | None) -> Step:
    """Return ``step`` after its result has been checked."""
    if expected is not None:
        y = step()
        assert isinstance(y, Tensor)
        error = float((y - expected).abs().max() / expected.abs().max())
        if not error <= _TOLERANCE[expected.dtype]:
            raise RuntimeError(f"{name} differs from the dense product by {error:.2g} of the largest output")
    return step
