from __future__ import annotations

from dataclasses import replace

import pytest

from gossamer import InputError
from gossamer.studies import trials, weak_elimination
from gossamer.studies.findings import Findings, markdown
from gossamer.studies.trials import Record, where
from gossamer.studies.weak_elimination import experiment, outcome
from gossamer.studies.weak_elimination.experiment import METHODS, OTHERS, Plan

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = Plan(widths=(0.05, 0.15), seeds=2, epochs=4, hidden=(12, 8), batch_size=16, rows=100)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Findings, list[Record]]:
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "PLANS", {"quick": {"wine": SMALL}})
        found = weak_elimination.run("quick", folder)
        before = (folder / trials.FILE).read_bytes()
        assert weak_elimination.run("quick", folder) == found
    assert (folder / trials.FILE).read_bytes() == before
    return found, trials.read(folder / trials.FILE)


def test_every_method_has_the_density_that_the_gap_found(study: tuple[Findings, list[Record]]) -> None:
    records = study[1]
    assert len(records) == 2 * (1 + 2 * len(METHODS))
    for gap in where(records, variant="gap"):
        assert gap["curve"] == sorted(gap["curve"], reverse=True)
        assert 0 < gap["connections"] < gap["positions"] == 13 * 12 + 12 * 8
        for method in OTHERS:
            (other,) = [
                r
                for r in where(records, variant=method, seed=gap["seed"])
                if r["settings"]["width"] == gap["settings"]["width"]
            ]
            if method in ("l1", "Hoyer"):  # a constraint may have left fewer weights than that
                assert other["connections"] <= gap["connections"]
            else:
                assert abs(other["connections"] - gap["connections"]) <= 1
    for r in records:
        assert 0 <= r["accuracy"] <= 1
        assert r["macs"] > 0
        assert r["rows"] == 100


def test_training_costs_what_its_connections_cost(study: tuple[Findings, list[Record]]) -> None:
    records = study[1]
    steps = 4 * 7
    for dense in where(records, variant="dense"):
        assert dense["macs"] == 3 * (13 * 12 + 12 * 8) * 16 * steps
    for random in where(records, variant="random"):
        assert random["macs"] == 3 * random["connections"] * 16 * steps
    for gap in where(records, variant="gap"):
        assert 3 * gap["connections"] * 16 * steps < gap["macs"] < where(records, variant="dense")[0]["macs"]


def test_findings_hold_tables_a_picture_and_verdicts(study: tuple[Findings, list[Record]]) -> None:
    found = study[0]
    assert [figure.file for figure in found.figures] == ["accuracy.svg"]
    assert len(found.tables) == 4
    assert len(found.claims) == len(OTHERS) + 2
    assert all("adjusted by Holm" in claim.evidence for claim in found.claims[: len(OTHERS)])
    text = markdown(found)
    assert "Accuracy on wine" in text
    assert "Where this departs from the paper" in text
    assert all(method in text for method in METHODS)


def test_one_seed_is_enough_for_tables(study: tuple[Findings, list[Record]]) -> None:
    records = [r for r in study[1] if r["seed"] == 0]
    plans = {"wine": replace(SMALL, seeds=1)}
    assert outcome.claims(plans, records) == []
    assert outcome.figures(plans, records)
    assert outcome.summary(plans, records)


def test_a_gap_that_leaves_nothing_is_named() -> None:
    record: Record = {"variant": "gap", "dataset": "wine", "seed": 3, "settings": {"width": 9.0}, "connections": 0}
    with pytest.raises(InputError, match="widths must leave connections, got 9, which eliminates all on wine, seed 3"):
        experiment.at_equal_density([record])
