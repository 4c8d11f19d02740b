from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gossamer import studies
from gossamer.errors import InputError
from gossamer.studies import dictionary
from gossamer.studies.dictionary import experiment, outcome
from gossamer.studies.dictionary.experiment import PLANS, Plan, Rival, carry_out, trials_of
from gossamer.studies.findings import Findings, write

TINY = Plan(
    dataset="sample_images",
    side=6,
    grid=(4, 5),
    patches=600,
    held_out=40,
    passes=(1, 2),
    rivals=(Rival(0.2, 64),),
    budget=0.1,
    images=2,
    stride=6,
    seeds=1,
)


@pytest.fixture(scope="module")
def carried_out(tmp_path_factory: pytest.TempPathFactory) -> tuple[Findings, Path]:
    folder = tmp_path_factory.mktemp("study")
    return dictionary.carried_out("quick", TINY, folder), folder


def test_the_study_is_listed() -> None:
    assert "dictionary" in studies.names()
    assert studies.load("dictionary") is dictionary


def test_findings_name_every_dictionary_and_can_be_written(carried_out: tuple[Findings, Path], tmp_path: Path) -> None:
    found, _ = carried_out
    assert len(found.claims) == 5
    names = [row[0] for row in found.tables[1].rows]
    assert names == [
        "patches", "EZDL, 1 pass", "EZDL, 2 passes", "separable", "sparse atoms", "topographic",
        "scikit-learn, α 0.2, batch 64, lars",
    ]  # fmt: skip
    assert all(math.isfinite(cell) for row in found.tables[0].rows for cell in row if isinstance(cell, float))
    files = {path.name for path in write(found, tmp_path)}
    assert {"study.html", "atoms.png", "curves.svg"} <= files


def test_what_was_carried_out_is_not_done_again(
    carried_out: tuple[Findings, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    found, folder = carried_out
    monkeypatch.setattr(dictionary, "carry_out", None)
    again = dictionary.carried_out("quick", TINY, folder)
    assert again.tables == found.tables


def test_records_are_whole(carried_out: tuple[Findings, Path]) -> None:
    records = [json.loads(line) for line in (carried_out[1] / "trials.jsonl").read_text().splitlines()]
    assert len(records) == len(trials_of(TINY)) == 7
    for record in records:
        atoms = experiment.atoms_of(record)
        assert atoms.shape == (20, 6, 6)
        assert np.abs(atoms).reshape(20, -1).max(1) == pytest.approx(1)
        seconds = [point["seconds"] for point in record["curve"]]
        assert seconds == sorted(seconds)
        assert all(0 < error < 1 for point in record["curve"] for error in point["errors"])
        assert len(record["psnr"]) == 2
    learned = {record["variant"]: record["curve"][-1]["errors"][1] for record in records}
    assert learned["EZDL, 2 passes"] < learned["patches"]


def test_the_same_trial_gives_the_same_atoms() -> None:
    trial = trials_of(TINY)[1]
    assert carry_out(trial)["atoms"] == carry_out(trial)["atoms"]
    other = trials_of(replace(TINY, seeds=2))[8]
    assert other.seed == 1
    assert carry_out(other)["atoms"] != carry_out(trial)["atoms"]


def test_plans_give_each_trial_its_own_name() -> None:
    for plan in PLANS.values():
        trials = trials_of(plan)
        assert len({(trial.variant, trial.seed) for trial in trials}) == len(trials)
        assert any(experiment.is_ours(trial.variant) for trial in trials)
        assert any(experiment.is_rival(trial.variant) for trial in trials)


CURVE = [{"seconds": 1.0, "errors": [0.9]}, {"seconds": 4.0, "errors": [0.5]}, {"seconds": 8.0, "errors": [0.6]}]


@pytest.mark.parametrize(("level", "seconds"), [(0.95, 1.0), (0.9, 1.0), (0.7, 2.0), (0.5, 4.0), (0.4, math.inf)])
def test_times_are_read_off_between_measurements(level: float, seconds: float) -> None:
    assert outcome.time_to(CURVE, level, 0) == pytest.approx(seconds)


def record(variant: str, seed: int, *points: tuple[float, float]) -> dict[str, Any]:
    curve = [{"seconds": seconds, "errors": [error]} for seconds, error in points]
    return {"variant": variant, "seed": seed, "curve": curve}


def test_the_race_is_to_the_lowest_error_that_both_reach() -> None:
    records = [
        record("EZDL, 1 pass", 0, (1.0, 0.5), (2.0, 0.4)),
        record("EZDL, 9 passes", 0, (1.0, 0.6), (9.0, 0.1)),
        record("scikit-learn, a", 0, (10.0, 0.9), (20.0, 0.4)),
        record("scikit-learn, b", 0, (10.0, 0.8), (12.0, 0.5)),
        record("patches", 0, (0.0, 0.05)),
    ]
    found = outcome.race(records, 0)
    assert (found.level, found.ours, found.theirs, found.ratio) == (0.4, 2.0, 20.0, 10.0)
    assert (found.our_setting, found.their_setting) == ("EZDL, 1 pass", "scikit-learn, a")
    weaker = [record("EZDL, 1 pass", 1, (1.0, 0.7)), record("scikit-learn, b", 1, (10.0, 0.8), (12.0, 0.5))]
    alone = outcome.race(weaker, 0)
    assert alone.level == 0.7
    assert alone.theirs == pytest.approx(10 * 1.2 ** (1 / 3))
    both = outcome.race(records + weaker, 0)
    assert both.level == pytest.approx(0.55)
    assert both.ours == pytest.approx(1.5)


def test_neighbours_on_a_torus() -> None:
    atoms = np.zeros((9, 3, 3), np.float32)
    for i in range(9):
        atoms[i, i // 3, :] = 1  # alike within a row of the grid, orthogonal otherwise
    near, far = outcome.neighbours_alike(atoms, (3, 3))
    assert near == pytest.approx(0.5)  # two in the row, two in the column
    assert far == pytest.approx(0.0)


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="preset must be one of"):
        dictionary.run("huge", tmp_path)
    with pytest.raises(InputError, match="seeds"):
        dictionary.run("quick", tmp_path, seeds=0)
    with pytest.raises(InputError, match="dataset must be"):
        carry_out(replace(trials_of(TINY)[0], dataset="postcards"))
