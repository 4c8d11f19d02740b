from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gossamer
from gossamer.bench import Bench, Plan, Sample, rivals, run, runner, training
from gossamer.bench import forward as forward_room
from gossamer.bench.cells import Cell
from gossamer.bench.comparison import Comparison
from gossamer.bench.forward import layer_comparisons
from gossamer.connectivity import SparseLinear
from gossamer.errors import InputError

HAS_SPARSELAB = rivals.why_not_sparselab(torch.float32) is None


def names(found: Bench, task: str) -> set[tuple[str, ...]]:
    return {tuple(sorted(cell.results)) for cell in found.cells if cell.task == task}


def test_every_comparison_is_made(plan: Plan) -> None:
    told: list[tuple[int, int]] = []
    found = run(plan, threads=1, watch=lambda done, comparisons, comparison: told.append((done, comparisons)))
    tasks = [cell.task for cell in found.cells]
    counts = {task: tasks.count(task) for task in dict.fromkeys(tasks)}
    expected = {"layer": 4, "training": 2, "spspmm": 2, "projection": 4, "memory": 2}
    if hasattr(gossamer, "SparseConv2d"):
        expected["convolution"] = 2
    assert counts == expected
    assert told == [(i, len(tasks)) for i in range(len(tasks))]
    assert not found.stopped
    assert tasks == sorted(tasks, key=plan.tasks.index)
    assert found.machine["threads"] == 1
    rest = ("CSR", "SparseLab", "dense", "gossamer")
    assert names(found, "layer") == names(found, "training") == names(found, "memory") == {(*rest, "masked")}
    assert names(found, "spspmm") == {(*rest, "zeros")}
    assert names(found, "projection") == {("gossamer", "softmax", "sort")}
    for cell in found.cells:
        for name, sample in cell.results.items():
            if name not in ("CSR", "SparseLab") and (cell.task != "memory" or sys.platform == "linux"):
                assert isinstance(sample, Sample)
                assert 0 <= sample.low <= sample.median <= sample.high
                assert sample.count >= 2
    assert {cell.results["CSR"] for cell in found.cells if cell.task == "training"} == {"no training"}


def test_rows_are_in_the_order_of_the_tables(plan: Plan) -> None:
    found = run(replace(plan, tasks=("layer",)), threads=1)
    rows = [(cell.setting["batch"], cell.setting["density"]) for cell in found.cells]
    assert rows == [(1, 0.5), (1, 0.1), (8, 0.5), (8, 0.1)]


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_other_dtypes(plan: Plan, dtype: str) -> None:
    found = run(replace(plan, dtype=dtype), threads=1)
    for cell in found.cells:
        assert isinstance(cell.results["gossamer"], Sample) or sys.platform != "linux"
        if HAS_SPARSELAB and "SparseLab" in cell.results:
            assert cell.results["SparseLab"] == "float32 only"
        if cell.task in ("layer", "spspmm"):
            assert isinstance(cell.results["CSR"], str) == (dtype == "bfloat16")


def test_a_rival_that_is_missing_is_named_as_such(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    optional = rivals._optional
    monkeypatch.setattr(rivals, "_optional", lambda name: None if "sparselab" in name else optional(name))
    found = run(replace(plan, tasks=("layer", "training", "spspmm", "memory")), threads=1)
    assert {cell.results["SparseLab"] for cell in found.cells} == {rivals.NOT_INSTALLED}


def test_a_rival_whose_threads_cannot_be_set_does_not_take_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rivals, "_optional", lambda name: None if name == "threadpoolctl" else object())
    assert rivals.why_not_sparselab(torch.float32) == "needs threadpoolctl"


@pytest.mark.skipif(not HAS_SPARSELAB, reason="sparselab isn't installed")
@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")  # its own to_dense
def test_sparselab_computes_with_the_density_that_was_asked_for() -> None:
    before = torch.random.get_rng_state()
    layer = rivals.sparselab_layer(64, 48, 0.25, seed=3)
    assert torch.equal(before, torch.random.get_rng_state())
    assert float(layer.density) == pytest.approx(0.25, abs=0.05)  # type: ignore[arg-type]
    W: Tensor = layer._csr.to_dense()  # type: ignore[operator]
    x = torch.randn(5, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(layer(x), nn.functional.linear(x, W, layer.bias))  # type: ignore[arg-type]
    layer(x).sum().backward()
    rivals.forget_sparselab()


def test_the_rivals_compute_the_same_layer() -> None:
    sparse = SparseLinear(40, 30, 0.2, generator=torch.Generator().manual_seed(0))
    x = torch.randn(7, 40, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        y = sparse.to_dense()(x)
        masked = rivals.MaskedLinear(sparse)
        masked.weight += (1 - masked.mask) * 9  # dead weights have no say
        torch.testing.assert_close(masked(x), y)
        torch.testing.assert_close(rivals.csr_layer(sparse)(x), y)
        torch.testing.assert_close(sparse(x), y)


def test_a_wrong_result_is_not_timed(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(sparse: SparseLinear) -> Callable[[Tensor], Tensor]:
        return lambda x: x.new_full((len(x), sparse.out_features), float("nan"))

    monkeypatch.setattr(rivals, "csr_layer", wrong)
    factories = next(layer_comparisons(plan)).contenders()
    with pytest.raises(RuntimeError, match="CSR differs from the dense product"):
        factories["CSR"]()
    assert callable(factories["gossamer"]())


def test_inputs_have_the_live_units_that_were_asked_for() -> None:
    x = forward_room._sparse_input(5, 200, 0.05, seed=0)
    assert (x != 0).sum(1).tolist() == [10] * 5
    assert (forward_room._sparse_input(3, 200, 0.001, seed=0) != 0).sum(1).tolist() == [1] * 3


@pytest.mark.parametrize("kind", ["gossamer", "dense", "masked"])
def test_a_training_step_trains_and_leaves_no_gradient(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = training.network(kind, 32, 0.2, torch.float32, seed=0)
    monkeypatch.setattr(training, "network", lambda *_: net)
    before = [parameter.clone() for parameter in net.parameters()]
    training.training_step(kind, 32, 0.2, 16, torch.float32, seed=0)()
    changed = [not torch.equal(old, new) for old, new in zip(before, net.parameters(), strict=True)]
    assert all(changed)
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is measured on Linux")
def test_peak_bytes_see_what_a_network_holds() -> None:
    megabytes = 40 * 2**20

    def prepare() -> Callable[[], object]:
        held = torch.ones(megabytes // 4)
        return lambda: held.sum()

    found = training.peak_bytes(prepare)
    assert isinstance(found, Sample)
    assert 0.95 * megabytes < found.median < 1.1 * megabytes
    assert training.peak_bytes(lambda: "not installed") == "not installed"


def test_the_threads_are_as_asked_and_as_before_afterwards(plan: Plan) -> None:
    before = torch.get_num_threads()
    seen: list[int] = []
    small = replace(plan, tasks=("projection",))
    run(small, threads=before + 1, watch=lambda *_: seen.append(torch.get_num_threads()))
    assert set(seen) == {before + 1}
    assert torch.get_num_threads() == before


def test_ctrl_c_keeps_what_was_measured(plan: Plan) -> None:
    def watch(done: int, comparisons: int, comparison: Comparison) -> None:
        if done == 2:
            raise KeyboardInterrupt

    found = run(replace(plan, tasks=("layer",)), threads=1, watch=watch)
    assert found.stopped
    assert len(found.cells) == 2

    def at_once(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(plan, threads=1, watch=at_once)


@pytest.mark.parametrize(
    ("spreads", "kept", "times"), [((0.5, 0.3, 0.9), 0.3, 3), ((0.4, 0.1), 0.1, 2), ((0.1,), 0.1, 1)]
)
def test_noisy_comparisons_are_made_again_and_the_calmest_counts(
    spreads: tuple[float, ...], kept: float, times: int, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def measured(comparison: Comparison, plan: Plan) -> Cell:
        spread = spreads[made.count(id(comparison))]
        made.append(id(comparison))
        return Cell(comparison.task, comparison.setting, {"gossamer": Sample(1.0, 1.0, 1.0 + spread, 9)})

    monkeypatch.setattr(runner, "_measured", measured)
    told: list[tuple[int, int]] = []
    plan = replace(plan, tasks=("layer",), again=2)
    found = run(plan, threads=1, watch=lambda done, comparisons, comparison: told.append((done, comparisons)))
    assert [cell.spread for cell in found.cells] == pytest.approx([kept] * 4)
    assert len(made) == 4 * times
    assert told[:4] == [(i, 4) for i in range(4)]
    assert told[4:8] == [(4 + i, 8) for i in range(4)] * (times > 1)


def test_too_little_memory_costs_one_cell_and_not_the_run(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(sparse: SparseLinear) -> nn.Module:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")

    monkeypatch.setattr(rivals, "MaskedLinear", too_large)
    found = run(replace(plan, tasks=("layer", "memory")), threads=1)
    assert {cell.results["masked"] for cell in found.cells} == {runner.OUT_OF_MEMORY}
    assert all(isinstance(cell.results["gossamer"], Sample) for cell in found.cells if cell.task == "layer")


def test_too_little_memory_for_what_is_shared(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> Any:
        raise MemoryError

    monkeypatch.setattr(torch, "randn", full)
    found = run(replace(plan, tasks=("projection",)), threads=1)
    assert {tuple(cell.results.items()) for cell in found.cells} == {
        (("gossamer", runner.OUT_OF_MEMORY), ("softmax", runner.OUT_OF_MEMORY))
    }


def test_other_errors_are_not_hidden(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Any:
        raise RuntimeError("broken")

    monkeypatch.setattr(rivals, "csr_layer", broken)
    with pytest.raises(RuntimeError, match="broken"):
        run(replace(plan, tasks=("layer",)), threads=1)


def test_the_convolution_is_measured(plan: Plan) -> None:
    found = run(replace(plan, tasks=("convolution", "projection")), threads=1)
    cells = [cell for cell in found.cells if cell.task == "convolution"]
    assert [dict(cell.setting) for cell in cells] == [
        {"channels": 4, "batch": 2, "size": 6, "density": density} for density in (0.5, 0.1)
    ]
    assert [line.task for line in found.break_evens] == ["convolution"]


@pytest.mark.parametrize(
    ("changes", "threads", "message"),
    [
        ({"tasks": ("layers",)}, None, "tasks must be one of 'layer'"),
        ({"tasks": ()}, None, "the plan is empty"),
        ({"tasks": ("layer",), "widths": ()}, None, "the plan is empty"),
        ({}, 0, "threads must be"),
    ],
)
def test_what_cannot_be_run_is_refused(plan: Plan, changes: dict[str, Any], threads: int | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(replace(plan, **changes), threads=threads)
