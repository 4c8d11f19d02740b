from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gossamer.bench import Plan, projection
from gossamer.bench.projection import by_sorting, projection_comparisons
from gossamer.projections import hoyer_projection


@pytest.mark.parametrize("sparseness", [0.1, 0.5, 0.8, 0.95])
def test_sorting_gives_the_same_projection_and_gradient(sparseness: float, generator: torch.Generator) -> None:
    x = torch.randn(5, 3, 40, dtype=torch.float64, generator=generator, requires_grad=True)
    v = torch.randn(5, 3, 40, dtype=torch.float64, generator=generator)
    ours, theirs = hoyer_projection(x, sparseness), by_sorting(x, sparseness)
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-12)
    for a, b in zip(torch.autograd.grad(theirs, x, v), torch.autograd.grad(ours, x, v), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-11)
    assert by_sorting(x.detach().bfloat16(), sparseness).dtype == torch.bfloat16


def test_sorting_is_as_good_in_float32(generator: torch.Generator) -> None:
    x = torch.randn(1, 1 << 16, generator=generator)
    for sparseness in (0.5, 0.95):
        assert (by_sorting(x, sparseness) - hoyer_projection(x.double(), sparseness)).abs().max() < 1e-5


def test_every_shape_and_sparseness_is_measured_both_ways() -> None:
    comparisons = list(projection_comparisons(Plan(projections=((3, 20), (1, 50)), sparsenesses=(0.5, 0.8))))
    assert [tuple(comparison.setting.values()) for comparison in comparisons] == [
        (rows, units, sparseness, kind)
        for rows, units in ((3, 20), (1, 50))
        for sparseness in (0.5, 0.8)
        for kind in ("forward", "forward + backward")
    ]
    assert [comparison.gradient for comparison in comparisons] == [False, True] * 4
    for comparison in comparisons:
        steps = {name: prepare() for name, prepare in comparison.contenders().items()}
        assert list(steps) == ["gossamer", "softmax", "sort"]
        for step in steps.values():
            assert callable(step)
            result = step()
            if isinstance(result, tuple):
                assert comparison.gradient
                (result,) = result
            assert isinstance(result, Tensor)
            assert result.shape == (comparison.setting["rows"], comparison.setting["units"])


def test_a_wrong_result_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection, "by_sorting", lambda x, sparseness: x.softmax(-1))
    factories = next(projection_comparisons(Plan(projections=((3, 20),)))).contenders()
    with pytest.raises(RuntimeError, match="sort differs from gossamer by"):
        factories["sort"]()
