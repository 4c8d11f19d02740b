from __future__ import annotations

from dataclasses import replace

import pytest

from gossamer import InputError
from gossamer.studies import trials, weak_elimination
from gossamer.studies.findings import Findings, markdown
from gossamer.studies.rows import divided
from gossamer.studies.trials import Record, where
from gossamer.studies.weak_elimination import experiment, outcome, settings
from gossamer.studies.weak_elimination.settings import METHODS, OPTIONS, OTHERS, Plan

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = Plan(
    widths=(0.05, 0.15), tuned=(0.15,), seeds=2, tuning_seeds=1, epochs=4, hidden=(12, 8), batch_size=16, rows=100
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Findings, list[Record]]:
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "PLANS", {"quick": {"wine": SMALL}})
        found = weak_elimination.run("quick", folder)
        before = (folder / trials.FILE).read_bytes()
        assert weak_elimination.run("quick", folder) == found
    assert (folder / trials.FILE).read_bytes() == before
    return found, trials.read(folder / trials.FILE)


def reported(study: tuple[Findings, list[Record]]) -> list[Record]:
    return [r for r in study[1] if "tuning" not in r["settings"]]


def tuning(study: tuple[Findings, list[Record]]) -> list[Record]:
    return [r for r in study[1] if "tuning" in r["settings"]]


def test_options_are_chosen_on_other_seeds_and_rows(study: tuple[Findings, list[Record]]) -> None:
    first, rest = tuning(study), reported(study)
    assert not {r["seed"] for r in first} & {r["seed"] for r in rest}
    assert {(r["rows"], r["test_rows"]) for r in first} == {(80, 20)}  # a fifth of 100 for validation
    assert {r["rows"] for r in rest} == {100}
    for method, options in OPTIONS.items():
        assert [r["settings"]["option"] for r in where(first, variant=method)] == list(options)
    chosen = experiment.chosen_options(first)
    for r in rest:
        if r["variant"] != "dense":
            assert r["settings"]["option"] == chosen["wine", r["variant"]]
    for method in METHODS:
        best = max(r["accuracy"] for r in where(first, variant=method))
        option = chosen["wine", method]
        (own,) = [r for r in where(first, variant=method) if r["settings"]["option"] == option]
        assert own["accuracy"] == best


def test_options_change_the_networks(study: tuple[Findings, list[Record]]) -> None:
    for method in METHODS:
        found = where(tuning(study), variant=method)
        same = int(method in ("l1", "Hoyer"))  # the loosest constraint is none for units of so few inputs
        assert len({tuple(r["losses"]) for r in found}) >= len(found) - same, method


def test_the_first_of_equal_options_and_none_without_connections() -> None:
    def record(method: str, option: object, accuracy: float, connections: int = 5) -> Record:
        settings = {"option": option}
        return {"dataset": "d", "variant": method, "accuracy": accuracy, "connections": connections} | {
            "settings": settings
        }

    found = [record("SET", 0.5, 0.7), record("SET", 0.1, 0.7), record("SET", 0.3, 0.6)]
    empty = [record("gap", "at once", 0.9, 0), record("gap", "cubic", 0.2)]
    assert experiment.chosen_options(found + empty) == {("d", "SET"): 0.1, ("d", "gap"): "cubic"}


def test_validation_rows_are_training_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial that tunes is the same whatever the test rows are."""
    trial = experiment.tuned_gaps({"wine": SMALL})[0]
    before = experiment.carry_out(trial)

    def without_test(name: str, seed: int) -> object:
        rows = divided(name, seed)
        return replace(rows, x_test=rows.x_test[:0], y_test=rows.y_test[:0])

    monkeypatch.setattr(experiment, "divided", without_test)
    after = experiment.carry_out(trial)
    assert {**before, "train_seconds": 0} == {**after, "train_seconds": 0}


def test_every_method_has_the_density_that_the_gap_found(study: tuple[Findings, list[Record]]) -> None:
    records = reported(study)
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
    records = reported(study)
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
    assert len(found.tables) == 5
    assert found.tables[-1].title == "Choice of options"
    assert len(found.claims) == len(OTHERS) + 2
    assert all("adjusted by Holm" in claim.evidence for claim in found.claims[: len(OTHERS)])
    text = markdown(found)
    assert "Accuracy on wine" in text
    assert "Where this departs from the paper" in text
    assert all(method in text for method in METHODS)


def test_one_seed_is_enough_for_tables(study: tuple[Findings, list[Record]]) -> None:
    records = [r for r in reported(study) if r["seed"] == 100]
    plans = {"wine": replace(SMALL, seeds=1)}
    assert outcome.claims(plans, records) == []
    assert outcome.figures(plans, records)
    assert outcome.summary(plans, records)


def test_a_gap_that_leaves_nothing_is_named() -> None:
    record: Record = {"variant": "gap", "dataset": "wine", "seed": 3, "settings": {"width": 9.0}, "connections": 0}
    with pytest.raises(InputError, match="widths must leave connections, got 9, which eliminates all on wine, seed 3"):
        experiment.at_equal_density([record], {})
