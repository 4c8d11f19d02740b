from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gossamer.associative import learn_online, random_associations, theory
from gossamer.associative.fit import FittedStatistics, MeasuredWeights, fit_statistics
from gossamer.associative.solve import robust_weights
from gossamer.errors import InputError

CASES: dict[str, dict[str, Any]] = {"l1": {}, "l0": {"density": 0.3}, "gap": {"gap": 2.0}}


def drawn(case: str, cells: int = 25, unit: float = 3.7, **more: Any) -> np.ndarray:
    law = theory.weight_distribution(theory.capacity(0.3, **CASES[case], **more))
    return law.rvs(cells * 200, np.random.default_rng(1)).reshape(cells, 200) * unit


@cache
def fitted(case: str) -> FittedStatistics:
    return fit_statistics(drawn(case), bootstrap=12, generator=0)


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[] if case == "gap" else pytest.mark.slow) for case in CASES]
)
def test_known_parameters_are_recovered(case: str) -> None:
    found = fitted(case)
    solution = theory.capacity(0.3, **CASES[case])
    assert found.best == case
    truth = {
        "robustness": 0.3,
        "connection_probability": float(solution.density),
        "load": float(solution.load),
        "mean_weight": 3.7,
    }
    truth |= {"gap": 2.0} if case == "gap" else {}
    for name, value in truth.items():
        estimate = found.fit.estimates[name]
        assert estimate.low <= estimate.value <= estimate.high or case == "l0", name
        width = max(estimate.high - estimate.low, 0.02 * value)
        assert abs(estimate.value - value) < 1.2 * width, name
    assert found.fit.support > 0.9
    assert found.fit.p_value > 0.05
    assert found.fit.distance < 0.07


def test_a_wrong_constraint_is_rejected() -> None:
    found = fitted("gap")
    assert found.fits["l1"].p_value == 0
    assert found.fits["l1"].distance > 5 * found.fit.distance
    assert found.fits["l1"].bic > found.fit.bic + 1000


def test_the_result_can_be_read_and_written() -> None:
    found = fitted("gap")
    text = repr(found)
    assert "* l1 + gap" in text
    assert "connection probability 0.3" in text
    content = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert content["fits"]["gap"]["estimates"]["gap"]["value"] == pytest.approx(2, abs=0.2)


@pytest.mark.slow
def test_signs_and_one_kind_of_input() -> None:
    solution = theory.capacity(0.3, inhibitory=0.2, gap=2.0)
    rng = np.random.default_rng(2)
    laws = [theory.weight_distribution(solution, sign=sign) for sign in (1, -1)]
    parts = [law.rvs(20 * n, rng).reshape(20, n) for law, n in zip(laws, (160, 40), strict=True)]
    both = fit_statistics(np.hstack(parts), signs=np.repeat([1, -1], [160, 40]), bootstrap=0)
    one = fit_statistics(parts[0] * 0.1, signs=1, inhibitory=0.2, bootstrap=0)
    for found in (both, one):
        assert found.best == "gap"
        assert found.fit.estimates["gap"].value == pytest.approx(2.0, abs=0.3)
        assert found.fit.estimates["robustness"].value == pytest.approx(0.3, abs=0.1)
        for name, law in zip(("excitatory", "inhibitory"), laws, strict=True):
            assert found.fit.estimates[name].value == pytest.approx(law.density, abs=0.04)
    assert one.fit.estimates["mean_weight"].value == pytest.approx(0.1, rel=0.1)


def test_strengths_with_a_probability_are_as_good_as_a_matrix() -> None:
    law = theory.weight_distribution(theory.capacity(0.3, inhibitory=0.2), sign=1)
    weights = law.rvs(3000, np.random.default_rng(3))
    strengths = weights[weights > 0]
    measured = MeasuredWeights.from_strengths(strengths, len(strengths) / 3000)
    lists = fit_statistics(measured, inhibitory=0.2, bootstrap=0)
    matrix = fit_statistics(weights.reshape(30, 100), signs=1, inhibitory=0.2, bootstrap=0)
    assert lists.best == matrix.best == "l1"
    for name, estimate in matrix.fit.estimates.items():
        assert lists.fit.estimates[name].value == pytest.approx(estimate.value, rel=0.02)


def test_measurement_error_is_found() -> None:
    rng = np.random.default_rng(4)
    weights = drawn("gap")
    strength = np.abs(weights[weights != 0]).mean()
    noisy = np.where(weights == 0, 0, weights + 0.1 * strength * rng.standard_normal(weights.shape))
    found = fit_statistics(noisy, bootstrap=0)
    assert found.best == "gap"
    assert found.fit.estimates["noise"].value == pytest.approx(0.1, abs=0.02)
    assert found.fit.estimates["gap"].value == pytest.approx(2.0, abs=0.15)


def test_solutions_of_the_linear_program_are_at_capacity() -> None:
    weights = []
    for seed in range(8):
        problem = random_associations(150, 158, np.random.default_rng(seed))
        found = robust_weights(problem)
        assert found.weights is not None
        weights.append(found.weights)
    fit = fit_statistics(np.stack(weights), bootstrap=0)
    assert fit.best == "l1"
    expected = theory.max_robustness(158 / 150)
    assert fit.fit.estimates["robustness"].value == pytest.approx(float(expected.robustness), abs=0.05)
    assert fit.fit.estimates["load"].value == pytest.approx(158 / 150, abs=0.12)


@pytest.mark.usefixtures("one_thread")
def test_the_online_rule_leaves_no_weak_weights() -> None:
    problem = random_associations(150, 75, np.random.default_rng(0), n_units=20)
    learned = learn_online(problem, robustness=0.3 * np.sqrt(150), gap=2.0, generator=0)
    weights = learned.weights[learned.success]
    assert len(weights) >= 10
    fit = fit_statistics(weights, bootstrap=0)
    assert fit.best in ("gap", "l0")
    assert fit.fits["l1"].bic > fit.fit.bic + 300
    assert fit.fit.estimates["connection_probability"].value == pytest.approx(1 - learned.sparsity.mean(), abs=0.03)


def test_a_file_is_read_and_a_seed_repeats_the_result(tmp_path: Path) -> None:
    path = tmp_path / "weights.csv"
    np.savetxt(path, drawn("gap", cells=8), delimiter=",")
    calls: list[tuple[int, int]] = []
    once, again = (
        fit_statistics(path, constraints=("gap",), bootstrap=10, generator=5, progress=lambda *c: calls.append(c))
        for _ in range(2)
    )
    assert once.to_json() == again.to_json()
    assert calls[-1] == (21, 21)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"bootstrap": 20}, "generator must be"),
        ({"bootstrap": 3, "generator": 0}, "bootstrap must be 0 or at least 10, got 3"),
        ({"bootstrap": -1}, "bootstrap must be a whole number"),
        ({"bootstrap": 10, "generator": 1.5}, "generator must be"),
        ({"noise": 0.0}, "noise must be in"),
        ({"noise": float("nan")}, "noise must be in"),
        ({"f_in": 1.0}, "f_in must be in"),
        ({"f_out": 0.0}, "f_out must be in"),
        ({"threshold": float("nan")}, "threshold must be in"),
        ({"threshold": 0.9}, "threshold must be in"),
        ({"level": 1.0}, "level must be in"),
        ({"constraints": ()}, "constraints must be some of"),
        ({"constraints": ("l2",)}, "constraints must be some of"),
        ({"inhibitory": 0.2}, "inhibitory must be None"),
        ({"signs": np.full(4, 2)}, "signs must be"),
    ],
)
def test_bad_input(given: dict[str, Any], message: str) -> None:
    weights = np.random.default_rng(0).standard_normal((6, 4))
    with pytest.raises(InputError, match=message):
        fit_statistics(weights, **{"bootstrap": 0, **given})


def test_one_kind_of_input_needs_the_fraction_of_the_circuit() -> None:
    with pytest.raises(InputError, match="inhibitory must be given where all measured inputs are excitatory"):
        fit_statistics(np.ones((6, 4)), signs=1, bootstrap=0)
    measured = MeasuredWeights.from_strengths(np.ones(20), 0.5)
    with pytest.raises(InputError, match="signs must be None"):
        fit_statistics(measured, signs=1, bootstrap=0)


@pytest.mark.parametrize("weights", [np.tile([1.0, -1.0], (6, 4)), np.tile([1.0, 0, -1.0, 0], (6, 4))])
def test_equal_strengths_and_full_connectivity_end(weights: np.ndarray) -> None:
    found = fit_statistics(weights, bootstrap=0)
    assert all(np.isfinite(fit.bic) for fit in found.fits.values())
