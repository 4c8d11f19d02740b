from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gossamer import studies
from gossamer.associative import theory
from gossamer.errors import InputError
from gossamer.studies import associative_capacity
from gossamer.studies.associative_capacity import analysis, experiment, outcome
from gossamer.studies.associative_capacity.experiment import PLANS, Part, Plan, carry_out, trials_of
from gossamer.studies.findings import Findings, write
from gossamer.studies.trials import Trial

pytestmark = pytest.mark.usefixtures("one_thread")

TINY = Plan(
    (
        Part("load", "linear program", 40, 2, ({},), (0.8,), keep_weights=True),
        Part("load", "linear program", 40, 2, ({"inhibitory": 0.2},), (0.2,), keep_weights=True),
        Part("capacity", "linear program", 40, 2, ({},), (0.3,)),
        Part("capacity", "greedy", 30, 2, ({"density": 0.3}, {"gap": 1.5}), (0.3,), keep_weights=True),
        Part("integer", "integer program", 10, 2, ({"gap": 1.5},), seconds=20.0),
        Part("capacity", "online rule", 40, 2, ({"gap": 1.5},), (0.3,), steps=2000, keep_weights=True),
        Part("capacity", "older rule", 40, 2, ({"inhibitory": 0.2},), (0.3,), steps=2000),
    )
)


@pytest.fixture(scope="module")
def carried_out(tmp_path_factory: pytest.TempPathFactory) -> tuple[Findings, Path]:
    folder = tmp_path_factory.mktemp("study")
    return associative_capacity.carried_out("quick", TINY, folder), folder


def test_the_study_is_listed() -> None:
    assert "associative-capacity" in studies.names()
    assert studies.load("associative-capacity") is associative_capacity
    assert set(associative_capacity.PRESETS) == set(PLANS)
    for plan in PLANS.values():
        assert len({trial.key for trial in trials_of(plan)}) == len(trials_of(plan))


def test_findings_are_complete_and_can_be_written(carried_out: tuple[Findings, Path], tmp_path: Path) -> None:
    found, _ = carried_out
    verdicts = {claim.text.split(":")[0][:40]: claim.verdict for claim in found.claims}
    assert len(verdicts) == 7
    assert found.claims[0].verdict == "holds"  # the theory alone
    assert [len(table.rows) for table in found.tables] == [5, 2, 5, 1]
    files = {path.name for path in write(found, tmp_path)}
    assert {"study.html", "capacity.svg", "constraints.svg", "trade-off.svg", "weights.svg"} <= files
    json.dumps(found.to_json(), allow_nan=False)


def test_what_was_carried_out_is_not_done_again(
    carried_out: tuple[Findings, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    found, folder = carried_out

    def refuse(trial: Trial) -> None:
        raise AssertionError(trial)

    monkeypatch.setattr(associative_capacity, "carry_out", refuse)
    again = associative_capacity.carried_out("quick", TINY, folder)
    assert [claim.evidence for claim in again.claims] == [claim.evidence for claim in found.claims]


def test_bisection_ends_at_the_largest_load_of_the_linear_program() -> None:
    trial = trials_of(TINY)[4]
    assert trial.settings["kind"] == "capacity"
    n, load = trial.settings["n_inputs"], carry_out(trial)["load"]
    inputs, targets, _ = experiment._patterns(trial, 2 * n)
    from gossamer.associative import Associations

    m = round(load * n)
    stored = experiment._by_program(trial, Associations(inputs[:m], targets[:m]), None)
    beyond = experiment._by_program(trial, Associations(inputs[: m + 1], targets[: m + 1]), None)
    assert stored is not None
    assert beyond is None


def test_patterns_of_a_smaller_load_are_the_first_of_a_larger_one() -> None:
    trial = trials_of(TINY)[2]
    few, many = experiment._patterns(trial, 5), experiment._patterns(trial, 9)
    assert (few[0] == many[0][:5]).all()
    assert (few[1] == many[1][:5]).all()
    assert few[2] is not None
    assert (few[2] == many[2]).all()


def test_weights_of_the_law_are_near_it_and_others_are_not() -> None:
    law = theory.weight_distribution(theory.capacity(0.3))
    weights = law.rvs(4000, np.random.default_rng(0))
    weights = weights[weights != 0]
    near = analysis.Cloud("", "", weights, law.density, law)
    far = analysis.Cloud("", "", weights + 0.5, law.density, law)
    assert analysis.kolmogorov(near) < 0.03
    assert analysis.kolmogorov(far) > 0.1


def test_a_gap_loses_at_most_what_the_claim_says() -> None:
    trade = analysis.losses((0.3,))
    assert trade[0].loss.min() > -1e-9
    assert trade[0].loss.max() == pytest.approx(0.0211, abs=5e-4)
    assert outcome._trade_claim(trade).verdict == "holds"


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="preset must be one of"):
        associative_capacity.run("whole", tmp_path)
    with pytest.raises(InputError, match="seeds must be a whole number of at least 2"):
        associative_capacity.run("quick", tmp_path, seeds=1)
