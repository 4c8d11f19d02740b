"""The study of the supervised auto-encoder, carried out with networks of a moment."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gossamer import studies
from gossamer.errors import InputError
from gossamer.studies import sparse_autoencoder
from gossamer.studies.findings import Findings, write
from gossamer.studies.sparse_autoencoder import experiment, outcome, pictures
from gossamer.studies.sparse_autoencoder.experiment import PLANS, VARIANTS, Plan, carry_out, shifted, trials_of
from gossamer.studies.trials import Record, Trial

TINY = replace(PLANS["quick"], seeds=2, epochs=2, hidden=20, live_units=4, live_weights=8, shifts=True, test_size=0.5)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def carried_out(tmp_path_factory: pytest.TempPathFactory) -> tuple[Findings, Path]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("study")
    found = sparse_autoencoder.carried_out("quick", TINY, folder)
    torch.set_num_threads(threads)
    return found, folder


def made_up(errors: dict[str, list[float]]) -> list[Record]:
    """Records with these errors; networks that aren't named are as the last."""
    rest = list(errors.values())[-1]
    fields = {
        "correlation": 0.9,
        "active_units": 0.1,
        "code_sparseness": 0.8,
        "weight_sparseness": 0.6,
        "loud_weights": 0.5,
        "train_seconds": 1.0,
        "rows": 100,
        "test_rows": 100,
        "image": [2, 2],
        "filters": experiment._packed(np.ones((2, 4), np.float32)),
    }
    return [
        {"variant": name, "seed": seed, "error": error, **fields}
        for name in VARIANTS
        for seed, error in enumerate(errors.get(name, rest))
    ]


def test_the_study_is_listed() -> None:
    assert "sparse-autoencoder" in studies.names()
    assert studies.load("sparse-autoencoder") is sparse_autoencoder


def test_findings_name_every_network_and_can_be_written(carried_out: tuple[Findings, Path], tmp_path: Path) -> None:
    found, _ = carried_out
    assert [row[0] for row in found.tables[0].rows] == list(VARIANTS)
    assert len(found.tables[1].rows) == len(found.claims) == 7
    assert found.departures
    files = {path.name for path in write(found, tmp_path)}
    assert {"study.html", "study.md", "study.json", "errors.svg", "filters.png"} <= files


def test_networks_differ_as_their_names_say(carried_out: tuple[Findings, Path]) -> None:
    _, folder = carried_out
    records = {
        (r["variant"], r["seed"]): r for r in map(json.loads, (folder / "trials.jsonl").read_text().splitlines())
    }
    assert len(records) == 2 * len(VARIANTS)
    for (name, _), record in records.items():
        variant = VARIANTS[name]
        if variant.activation == "projection":
            assert record["code_sparseness"] == pytest.approx(TINY.sparseness, abs=1e-4)
        elif variant.activation == "l0":
            assert record["active_units"] == pytest.approx(4 / 20)
        else:
            assert record["active_units"] == 1
        if variant.connectivity == "projection":
            assert record["weight_sparseness"] == pytest.approx(TINY.connectivity, abs=1e-4)
        elif variant.connectivity == "l0":
            assert record["loud_weights"] <= 8 / 64
        else:
            assert record["loud_weights"] > 0.8
        assert all(math.isfinite(value) for value in record.values() if isinstance(value, float))
        assert 0 <= record["error"] <= 1
        assert ("filters" in record) == (record["seed"] == 0)


def test_what_was_carried_out_is_not_done_again(
    carried_out: tuple[Findings, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    found, folder = carried_out

    def refuse(trial: Trial) -> dict[str, Any]:
        raise AssertionError(f"{trial} was finished")

    monkeypatch.setattr(sparse_autoencoder, "carry_out", refuse)
    again = sparse_autoencoder.carried_out("quick", TINY, folder)
    assert again.tables == found.tables


def test_a_trial_depends_on_its_content_alone() -> None:
    first = next(trial for trial in trials_of(TINY) if trial.variant == "both")
    times = {"train_seconds": 0}
    assert carry_out(first) | times == carry_out(first) | times


def test_presets_ask_for_every_variant_and_seed() -> None:
    for plan in PLANS.values():
        wanted = trials_of(plan)
        assert {(t.variant, t.seed) for t in wanted} == {(v, s) for v in VARIANTS for s in range(plan.seeds)}
        assert plan.seeds >= 5
        assert json.loads(json.dumps(dict(wanted[0].settings))) == {
            name: value for name, value in asdict(plan).items() if name not in ("dataset", "seeds")
        }


def test_seeds_can_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Plan] = []
    monkeypatch.setattr(sparse_autoencoder, "carried_out", lambda preset, plan, folder, **_: seen.append(plan))
    sparse_autoencoder.run("quick", tmp_path, seeds=3)
    assert seen[0].seeds == 3
    with pytest.raises(InputError, match="preset"):
        sparse_autoencoder.run("slow", tmp_path)


def test_shifts_are_by_a_pixel_at_most_and_all_occur() -> None:
    image = torch.zeros(4, 5)
    image[1, 2] = 1
    moved = shifted(image.flatten().repeat(500, 1), (4, 5), torch.Generator().manual_seed(0)).view(-1, 4, 5)
    places = {tuple(place) for place in moved.nonzero()[:, 1:].tolist()}
    assert places == {(i, j) for i in (0, 1, 2) for j in (1, 2, 3)}
    assert (moved.sum((1, 2)) == 1).all()


def test_what_moves_in_is_blank_and_what_moves_out_is_gone() -> None:
    moved = shifted(torch.ones(300, 6), (2, 3), torch.Generator().manual_seed(0))
    assert set(moved.sum(1).tolist()) == {2.0, 3.0, 4.0, 6.0}


def test_verdicts_follow_the_errors() -> None:
    low, high = [0.008, 0.0081, 0.0079, 0.008], [0.0121, 0.012, 0.0119, 0.0122]
    claims = outcome.claims(replace(PLANS["full"], seeds=4), made_up({"both": low, "neither": high}))
    verdicts = {claim.text: claim.verdict for claim in claims}
    assert verdicts["Sparse activations and sparse connectivity together classify better than neither."] == "holds"
    assert verdicts["Sparse activations alone classifies better than neither."] == "undecided"
    assert claims[-1].verdict == "holds"
    assert "0.80\N{NO-BREAK SPACE}%" in claims[-1].evidence

    claims = outcome.claims(replace(PLANS["full"], seeds=4), made_up({"both": high, "neither": low}))
    assert claims[0].verdict == claims[-1].verdict == "does not hold"
    assert claims[0].evidence.count("−") == 3


def test_one_seed_decides_nothing() -> None:
    plan = replace(PLANS["full"], seeds=1)
    found = outcome.findings(plan, made_up({"neither": [0.01]}))
    assert [claim.verdict for claim in found.claims] == ["undecided"]
    assert len(found.tables) == 1
    assert found.tables[0].rows[0][2] is None


def test_departures_speak_of_the_preset_and_of_jobs() -> None:
    records = made_up({"neither": [0.01, 0.02]})
    full, quick = (outcome.findings(PLANS[preset], records, jobs=2).departures for preset in ("full", "quick"))
    assert any("nine shifts" in note for note in full)
    assert not any("nine shifts" in note for note in quick)
    assert any("2 networks" in note for note in full)


def test_filters_keep_their_signs() -> None:
    weight = np.array([[0.5, -1.0, 0.0, 0.25], [0, 0, 0, 0]], np.float32)
    record = {"filters": experiment._packed(weight), "image": [2, 2]}
    np.testing.assert_allclose(experiment.filters_of(record)[0], [[0.5, -1], [0, 0.25]], atol=0.005)
    assert not experiment.filters_of(record)[1].any()


def test_pictures_are_drawn(carried_out: tuple[Findings, Path]) -> None:
    records = made_up({"neither": [0.01, 0.02]})
    assert "<svg" in str(pictures.errors_of_all(records).content)
    assert bytes(pictures.filters(records).content)[:4] == b"\x89PNG"  # type: ignore[arg-type]
