from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gossamer.studies import feature_selection, trials
from gossamer.studies.feature_selection import experiment, outcome
from gossamer.studies.feature_selection.experiment import JUDGES, SELECTORS, USUAL, Plan
from gossamer.studies.findings import Findings, markdown
from gossamer.studies.trials import Record

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = Plan(seeds=2, counts=(2, 5), network={"hidden": 20, "max_epochs": 2})


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Findings, list[Record]]:
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "PLANS", {"quick": {"wine": SMALL, "madelon_like": replace(SMALL, seeds=1)}})
        found = feature_selection.run("quick", folder)
        before = (folder / trials.FILE).read_bytes()
        assert feature_selection.run("quick", folder) == found
    assert (folder / trials.FILE).read_bytes() == before
    return found, trials.read(folder / trials.FILE)


def test_every_selector_is_judged_by_every_judge(study: tuple[Findings, list[Record]]) -> None:
    assert len(study[1]) == len(SELECTORS) * (2 + 1)
    for record in study[1]:
        assert set(record["accuracy"]) == set(JUDGES)
        assert record["counts"] == [2, 5]
        assert all(0 <= value <= 1 for curve in record["accuracy"].values() for value in curve)
        assert len(set(record["ranking"])) == len(record["ranking"]) == min(200, record["features"])


def test_findings_hold_tables_pictures_and_verdicts(study: tuple[Findings, list[Record]]) -> None:
    found = study[0]
    assert [figure.file for figure in found.figures] == ["curves.svg", "ranks.svg"]
    assert len(found.tables) == 7
    assert len(found.claims) == 7
    assert len(found.tables[0].rows) == len(SELECTORS)
    text = markdown(found)
    assert "Networks against trees" in text
    assert "found, madelon_like" in text


def test_one_data_set_and_one_division_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "PLANS", {"quick": {"digits": SMALL}})
    found = feature_selection.run("quick", tmp_path, seeds=1, data=("wine",))
    assert [figure.name for figure in found.figures] == ["curves"]
    assert all(claim.verdict == "undecided" for claim in found.claims)
    assert all("of 1 data set," in claim.evidence and "With 1 data set p" in claim.evidence for claim in found.claims)
    assert "data sets" not in found.summary


def test_counts_beyond_the_features_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "PLANS", {"quick": {"wine": replace(SMALL, counts=(2, 13, 14))}})
    trial = next(t for t in experiment.trials_of(experiment.plans("quick", 1, None)) if t.variant == "F test")
    assert experiment.carry_out(trial)["counts"] == [2, 13]


@pytest.mark.parametrize("selector", USUAL)
def test_a_column_that_is_the_class_comes_first(selector: str) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 150)
    x = rng.normal(size=(150, 12)).astype(np.float32)
    x[:, 7] = (y - 1) * 1.2 + rng.normal(0, 0.05, 150)
    ranking = experiment._SELECTORS[selector](x, y.astype(np.int64), SMALL, 0)
    assert sorted(ranking.tolist()) == list(range(12))
    assert ranking[0] == 7


def test_a_network_that_diverges_ranks_by_chance() -> None:
    plan = replace(SMALL, network={"hidden": 20, "max_epochs": 5, "learning_rate": 1e9})
    trial = next(t for t in experiment.trials_of({"wine": plan}) if t.variant == "CoDACoRSET")
    found = experiment.carry_out(trial)
    assert found["diverged"]
    assert sorted(found["ranking"]) == list(range(13))


def test_made_up_data_are_those_of_their_seed() -> None:
    first, same, other = (experiment.made(seed) for seed in (0, 0, 1))
    assert np.array_equal(first.x, same.x)
    assert not np.array_equal(first.x, other.x)
    assert (first.x.shape, first.x_test.shape, first.classes) == ((1000, 200), (500, 200), 2)
    correlation = np.abs(np.corrcoef(first.x, rowvar=False)) - np.eye(200)
    assert correlation[:20].max(axis=1).min() > 0.4 > correlation[20:].max()


def fake(seed: int, ranking: list[int], value: float = 0.5) -> Record:
    accuracy = {judge: [value, value] for judge in JUDGES}
    return {"dataset": "d", "variant": "L1", "seed": seed, "ranking": ranking, "features": 80, "accuracy": accuracy}


def test_stability_by_hand() -> None:
    half = list(range(10))
    records = [fake(0, half + list(range(10, 20))), fake(1, half + list(range(30, 40)))]
    assert outcome.stability(records, "d", "L1") == pytest.approx(10 / 30)
    assert outcome.stability(records[:1], "d", "L1") == 1


def test_scores_are_means_over_judges_and_counts() -> None:
    records = [fake(1, [], 0.25), fake(0, [], 0.75)]
    records[0]["accuracy"]["trees"] = [1.0, 0.5]
    assert outcome.scores(records, "d", "L1").tolist() == pytest.approx([0.75, (0.25 + 0.25 + 0.75) / 3])
    assert outcome.scores(records, "d", "L1", "trees").tolist() == [0.75, 0.75]
