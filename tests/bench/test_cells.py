from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gossamer.bench import Bench, Cell, Plan, Sample, break_even
from gossamer.errors import InputError

# ---- break-even ------------------------------------------------------------------------------------------------------


def test_break_even_is_interpolated_in_logarithms() -> None:
    density, beyond = break_even([0.4, 0.025], [0.5, 2.0])
    assert density == pytest.approx(0.1)
    assert not beyond


def test_break_even_where_one_side_always_wins() -> None:
    assert break_even([0.1, 0.5, 0.01], [2.0, 1.0, 9.0]) == (0.5, True)
    assert break_even([0.1, 0.5, 0.01], [0.5, 0.1, 0.9]) == (None, False)


def test_break_even_is_the_first_crossing_from_below() -> None:
    density, beyond = break_even([0.01, 0.1, 0.2, 0.5], [4.0, 0.5, 2.0, 0.1])
    assert density is not None
    assert 0.01 < density < 0.1
    assert not beyond


def test_break_even_of_one_density() -> None:
    assert break_even([0.1], [2.0]) == (0.1, True)
    assert break_even([0.1], [0.5]) == (None, False)


@pytest.mark.parametrize(("densities", "ratios"), [([], []), ([0.1], [1.0, 2.0])])
def test_break_even_needs_points(densities: list[float], ratios: list[float]) -> None:
    with pytest.raises(InputError):
        break_even(densities, ratios)


@settings(deadline=None, max_examples=50)
@given(st.floats(0.011, 0.49), st.floats(0.2, 2.0))
def test_break_even_of_a_power_law_is_exact(where: float, power: float) -> None:
    densities = [0.01, 0.05, 0.1, 0.2, 0.5]
    density, beyond = break_even(densities, [(where / d) ** power for d in densities])
    assert density is not None
    assert math.isclose(density, where, rel_tol=1e-6)
    assert not beyond


def test_a_bench_has_a_break_even_for_each_task_with_several_densities(bench: Bench) -> None:
    layer, training = bench.break_evens
    assert (layer.task, layer.setting, layer.tried) == ("layer", {"width": 32, "batch": 8}, (0.025, 0.4))
    assert layer.density == pytest.approx(0.1)
    assert (training.density, training.beyond) == (0.4, True)


# ---- ratios ----------------------------------------------------------------------------------------------------------


def test_a_ratio_needs_both_sides() -> None:
    ours, theirs = Sample(2.0, 2.0, 2.0, 1), Sample(6.0, 6.0, 6.0, 1)
    assert Cell("layer", {}, {"gossamer": ours, "dense": theirs}).ratio == 3.0
    assert Cell("layer", {}, {"gossamer": ours, "dense": "out of memory"}).ratio is None
    assert Cell("layer", {}, {"gossamer": ours}).ratio is None
    assert Cell("memory", {}, {"gossamer": Sample(0.0, 0.0, 0.0, 2), "dense": theirs}).ratio is None
    assert Cell("layer", {}, {"gossamer": ours, "CSR": ours, "dense": theirs}).ratio_of("CSR") == 3.0


# ---- JSON ------------------------------------------------------------------------------------------------------------


def test_json_holds_everything(bench: Bench) -> None:
    content = json.loads(json.dumps(bench.to_json(), allow_nan=False))
    assert list(content) == ["date", "command", "stopped", "machine", "plan", "cells", "break_even"]
    assert content["machine"]["instruction_set"]
    assert content["machine"]["torch"]
    assert len(content["cells"]) == len(bench.cells)
    first, last = content["cells"][0], content["cells"][-1]
    assert first["ratio"] == pytest.approx(0.5)
    assert first["unit"] == "seconds"
    assert first["results"]["CSR"]["noisy"] is True
    assert first["results"]["gossamer"]["noisy"] is False
    assert first["results"]["SparseLab"] == {"missing": "not installed"}
    assert last["unit"] == "bytes"
    assert content["break_even"][0]["density"] == pytest.approx(0.1)


# ---- plans -----------------------------------------------------------------------------------------------------------


def test_the_full_plan_has_all_of_the_quick_one() -> None:
    quick, full = Plan.quick(), Plan.full()
    for name in (
        "tasks",
        "widths",
        "densities",
        "batches",
        "spspmm_densities",
        "channels",
        "projections",
        "sparsenesses",
    ):
        assert set(getattr(quick, name)) <= set(getattr(full, name))
    assert Plan.full(widths=(7,)).widths == (7,)


@pytest.mark.parametrize(
    "changes",
    [
        {"widths": (1,)},
        {"widths": (10.5,)},
        {"batches": (0,)},
        {"densities": (0.0,)},
        {"densities": (1.0,)},
        {"densities": (float("nan"),)},
        {"sparsenesses": (1.0,)},
        {"spspmm_densities": ((0.1, 2.0),)},
        {"dtype": "int8"},
        {"rounds": 0},
        {"seconds": -1.0},
    ],
)
def test_a_plan_refuses_what_cannot_be_measured(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(changes))):
        Plan(**changes)
