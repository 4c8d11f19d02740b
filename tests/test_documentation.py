"""The examples of the documentation run, one after the other, and say what they promise."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import gossamer as gs

ROOT = Path(__file__).parents[1]

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="the documentation isn't here"),
]

Run = Callable[..., tuple[dict[str, Any], list[tuple[Any, ...]]]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Carries out all examples of a page: their names, and what they print."""
    monkeypatch.chdir(tmp_path)

    def carry_out(page: str, **given: Any) -> tuple[dict[str, Any], list[tuple[Any, ...]]]:
        blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
        assert blocks
        shown: list[tuple[Any, ...]] = []
        names: dict[str, Any] = {"print": lambda *values: shown.append(values), **given}
        with torch.random.fork_rng():
            torch.manual_seed(0)
            for block in blocks:
                exec(compile(block, page, "exec"), names)
        return names, shown

    return carry_out


def test_readme(run: Run) -> None:
    names, _ = run("README.md")
    names["rewire"].step()
    assert names["net"](torch.rand(3, 784)).shape == (3, 10)
    assert names["clf"].feature_importances_.shape == (30,)


def test_estimators(run: Run) -> None:
    _, shown = run("docs/estimators.md")
    (accuracy,), (_, r2), (chosen, fitted), (by_codes, zeros) = shown
    assert accuracy > 0.9
    assert r2 > 0.3
    assert len(set(chosen) & set(range(10))) >= 7
    assert fitted > 0.9
    assert by_codes > 0.9
    assert zeros > 0.5


def test_kernels(run: Run) -> None:
    _, shown = run("docs/kernels.md")
    (printed,) = re.findall(r"```text\n(.*?)```", (ROOT / "docs/kernels.md").read_text("utf-8"), re.DOTALL)
    assert "\n".join(" ".join(map(str, values)) for values in shown) + "\n" == printed


def test_projections(run: Run) -> None:
    names, _ = run("docs/projections.md")
    net = names["net"]
    assert [type(module) for module in net] == [gs.SparseLinear, nn.ReLU, gs.SparseLinear]
    assert net[0].nnz == 20 * 8


def test_rewiring(run: Run) -> None:
    names, shown = run("docs/rewiring.md")
    (accuracy,), (same,) = shown
    assert accuracy > 0.9
    assert same
    assert names["rewire"].steps == 24


def test_pruning(run: Run) -> None:
    _, shown = run("docs/pruning.md")
    (nearest,), (holds,), (first, second, accuracy, smallest), (score, density) = shown
    torch.testing.assert_close(nearest, torch.tensor([[0.85, -0.5, 0.65, 0.0]]))
    assert holds
    assert 0 < first < 0.8
    assert 0 < second < 1
    assert smallest >= 0.2
    assert accuracy > 0.9
    assert score > 0.8
    assert density < 0.4


def test_sparseout(run: Run) -> None:
    run("docs/sparseout.md")


def test_hebbian(run: Run) -> None:
    names, shown = run("docs/hebbian.md")
    (clean, noisy), (active,), (sparseness,), (survived, _) = shown
    assert clean > 0.95
    assert 0.6 < noisy < clean
    assert names["cost"].costs.isfinite().all()
    assert 0.05 < active <= 13 / 64
    assert 0.3 < sparseness < 1
    assert 0.2 < survived < clean


def test_robustness(run: Run) -> None:
    names, shown = run("docs/robustness.md")
    (_, clean), (_, noisy), (_, noisier), (blurred,), (ratios,), (before, attacked), (_, checks) = shown
    assert clean > 0.9
    assert noisier < noisy < clean
    assert blurred[1] < blurred[0] <= clean
    assert list(ratios) == ["linear1", "output"]
    assert before == clean
    assert attacked < 0.6
    assert checks >= 5
    assert names["checked"].accuracy <= names["checked"].clean_accuracy


@pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning")  # by the exporter
def test_pytorch(run: Run) -> None:
    names, shown = run("docs/pytorch.md")
    (first, last), (summary,), (difference,) = shown
    assert last < first
    assert [type(module) for module in names["model"]] == [gs.SparseLinear, nn.ReLU, gs.SparseLinear]
    assert {"linear1", "self_attn.out_proj", "other"} <= {line.split()[0] for line in str(summary).splitlines()}
    assert difference < 1e-5


def test_recurrent(run: Run) -> None:
    names, shown = run("docs/recurrent.md")
    (shape, projections), (same,), (perplexity,), (logits,), (attention, _) = shown
    assert shape == (8, 35, 64)
    assert projections == ["ih_l0", "hh_l0", "ih_l1", "hh_l1"]
    assert same
    assert 10 < perplexity < 100
    assert logits == (8, 32, 50)
    assert attention == "SparseMultiheadAttention"
    assert names["rewire"].steps == 1


def test_tables(run: Run) -> None:
    names, shown = run("docs/tables.md")
    printed = re.findall(r"```text\n(.*?)```", (ROOT / "docs/tables.md").read_text("utf-8"), re.DOTALL)
    assert "\n".join(" ".join(map(str, values)) for values in shown) + "\n" == "".join(printed)
    assert names["new"].y.tolist() == [-1, 0]


def test_associative(run: Run) -> None:
    _, shown = run("docs/associative.md")
    (load, density), (robustness,), (connected, atoms), errors, (status, kappa, nonzero), (l0, proven, gap) = shown[:6]
    (success, sparsity, violated), (network_sparsity, complete, noisy), (best, fitted_gap, p) = shown[6:]
    assert load == pytest.approx([1.5742, 1.0523, 0.7582], abs=1e-3)
    assert density == pytest.approx([0.88, 0.685, 0.5426], abs=1e-3)
    assert 0.5 < robustness < 0.55
    assert connected[0] < 0.5 < connected[1]
    assert atoms == [-2.0, 0.0, 2.0]
    assert errors[0] == pytest.approx([0.0964, 0.0179], abs=1e-3)
    assert status == "optimal"
    assert nonzero[0] == nonzero[1]
    assert min(l0, kappa) > 0
    assert proven
    assert gap == 0
    assert success == 1
    assert violated == 0
    assert sparsity > 1 - 1 / 1.5 - 0.01
    assert network_sparsity > 0.3
    assert complete == 1
    assert 0.5 < noisy < 1
    assert best == "gap"
    assert fitted_gap.value == pytest.approx(2.0, abs=0.15)
    assert p > 0
