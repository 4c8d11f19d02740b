"""Robustness on the page: curves, claims and doubts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gossamer import report
from gossamer.errors import InputError
from gossamer.report import accuracy_curves, robustness
from gossamer.report.intervals import mean_interval, newcombe, wilson
from gossamer.report.read import Run
from gossamer.runs.robustness import Cell

MakeRun = Callable[..., Path]


@pytest.fixture(scope="module")
def run(make_run: MakeRun, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return report.read(make_run(tmp_path_factory.mktemp("robustness") / "run", evaluated=True))


@pytest.fixture(scope="module")
def single(make_run: MakeRun, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One seed, all checks passed."""
    folder = tmp_path_factory.mktemp("robustness") / "single"
    return report.read(make_run(folder, evaluated=True, seeds=1, failed=False))


def without(run: Run, *networks: str) -> Run:
    found = run.robustness
    assert found is not None
    cells = tuple(cell for cell in found.cells if cell.network not in networks)
    checks = tuple(check for check in found.checks if check.network not in networks)
    return replace(run, robustness=replace(found, cells=cells, checks=checks))


def test_curves_begin_with_the_clean_accuracy_in_a_fixed_order(run: Run) -> None:
    found = accuracy_curves.curves(run)
    assert [curve.title for curve in found] == [
        "Gaussian noise", "APGD-CE, L∞", "Mean of all corruptions", "JPEG", "Motion blur", "Contrast",
    ]  # fmt: skip
    assert [curve.axis for curve in found[:3]] == ["standard deviation σ", "radius", "severity"]
    assert found[0].strengths == [0.0, 0.1, 0.2, 0.3]
    assert found[2].strengths == [0, 1, 2, 3, 4, 5]
    assert found[0].values["sparse"][0.0] == found[1].values["sparse"][0.0]


def test_intervals_are_over_seeds_or_over_rows(run: Run, single: Run) -> None:
    curve = accuracy_curves.curves(run)[0]
    values = [*curve.values["sparse"][0.1].values()]
    assert len(values) == 3
    assert curve.interval("sparse", 0.1) == mean_interval(values)
    once = accuracy_curves.curves(single)[0]
    [value] = once.values["dense"][0.3].values()
    assert once.interval("dense", 0.3) == wilson(round(360 * value), 360)
    [other] = once.values["sparse"][0.3].values()
    assert once.difference(0.3) == newcombe(round(360 * other), round(360 * value), 360)
    assert once.interval("dense", 0.7) is None
    assert once.difference(0.7) is None


def test_the_mean_of_corruptions_is_taken_by_seed(run: Run) -> None:
    curves = accuracy_curves.curves(run)
    mean, parts = curves[2], curves[3:]
    for seed, value in mean.values["dense"][4.0].items():
        assert value == pytest.approx(np.mean([part.values["dense"][4.0][seed] for part in parts]))


def test_a_failed_check_takes_the_place_of_the_claim(run: Run, single: Run) -> None:
    doubted = {claim.label: claim for claim in robustness.claims(run)}
    attack = doubted["APGD-CE, L∞"]
    assert (attack.against, attack.verdict) == ("not trustworthy", "even")
    assert attack.doubts == tuple(f"sparse, seed {s}: gradient free: 10.0 % of the <samples>" for s in (0, 1, 2))
    assert "points" in doubted["Gaussian noise"].against
    trusted = [claim for claim in robustness.claims(single) if claim.label == "APGD-CE, L∞"]
    assert [claim.strength for claim in trusted] == ["0.05", "0.1"]
    assert all("points" in claim.against and not claim.doubts for claim in trusted)


def test_an_attack_that_was_not_checked_is_no_claim(single: Run) -> None:
    assert single.robustness is not None
    unchecked = replace(single, robustness=replace(single.robustness, checks=()))
    claim = next(claim for claim in robustness.claims(unchecked) if claim.label == "APGD-CE, L∞")
    assert claim.against == "not trustworthy"
    assert claim.doubts == ("sparse: APGD-CE, L∞ was not checked", "dense: APGD-CE, L∞ was not checked")
    other = [replace(check, attack="square") for check in single.robustness.checks]  # of another attack
    elsewhere = replace(single, robustness=replace(single.robustness, checks=tuple(other)))
    assert next(c for c in robustness.claims(elsewhere) if c.label == "APGD-CE, L∞").doubts == claim.doubts


def test_checks_are_summed_up_over_the_seeds(run: Run) -> None:
    zero, free = robustness.check_rows(run)
    assert zero.outcome == {"sparse": "3 of 3 passed: 0.0\xa0%", "dense": "3 of 3 passed: 0.0\xa0%"}
    assert free.outcome["sparse"] == "0 of 3 passed: 10.0\xa0%"
    assert free.failed == {"sparse": True, "dense": False}
    assert free.limit == "2.0\xa0%"


def test_ratios_by_layer_are_means_over_the_seeds(run: Run) -> None:
    levels, layers = robustness.snr_rows(run)
    assert levels == [0.1, 0.2, 0.3]
    assert [layer for layer, _ in layers] == ["0", "2", "4"]
    assert layers[0][1]["sparse"] == [None, None, None]
    assert layers[1][1]["dense"] == pytest.approx([14, 9, 4])


def test_a_run_without_twin_or_without_evaluation(run: Run) -> None:
    alone = without(run, "dense")
    assert {claim.against for claim in robustness.claims(alone)} == {"no twin", "not trustworthy"}
    assert all(claim.dense == "–" for claim in robustness.claims(alone))
    nothing = replace(run, robustness=None)
    assert accuracy_curves.curves(nothing) == []
    assert robustness.claims(nothing) == []
    assert robustness.check_rows(nothing) == []
    assert robustness.snr_rows(nothing) == ([], [])


def test_a_network_that_is_half_measured_is_compared_by_the_seeds_that_both_have(run: Run) -> None:
    assert run.robustness is not None
    kept = tuple(cell for cell in run.robustness.cells if cell.network == "sparse" or cell.seed == 1)
    half = replace(run, robustness=replace(run.robustness, cells=kept))
    curve = accuracy_curves.curves(half)[0]
    sparse, dense = curve.values["sparse"][0.2][1], curve.values["dense"][0.2][1]
    assert curve.difference(0.2) == newcombe(round(360 * sparse), round(360 * dense), 360)


def test_names_with_settings_are_readable() -> None:
    curve = accuracy_curves.Curve("attack", "pgd:steps=40,restarts=2", "l2", 10, {"sparse": {}, "dense": {}})
    assert curve.title == "PGD (steps=40,restarts=2), L2"
    assert accuracy_curves.Curve("attack", "square", "linf", 10, {"sparse": {}, "dense": {}}).title == "Square, L∞"


def test_page_holds_claims_doubts_and_checks(make_run: MakeRun, tmp_path: Path) -> None:
    page = report.write(make_run(tmp_path / "run", evaluated=True)).read_text("utf-8")
    assert '<h2 id="robustness">Robustness</h2>' in page
    assert "not trustworthy: sparse, seed 0: gradient free: 10.0 % of the &lt;samples&gt;" in page
    assert page.count("<samples>") == 0
    assert "Checks of APGD-CE, L∞ at radius 0.05" in page
    assert "Signal-to-noise ratio by layer" in page
    assert '<h2 id="noise">' not in page  # its curve is among the others
    titles = re.findall(r"<figcaption><b>([^<]*)</b></figcaption>\s*<div class=\"chart[^>]*robustness", page)
    assert titles[:3] == ["Gaussian noise", "APGD-CE, L∞", "Mean of all corruptions"]
    assert len(titles) == 6
    plain = report.write(make_run(tmp_path / "plain")).read_text("utf-8")
    assert 'id="robustness"' not in plain
    assert '<h2 id="noise">' in plain


def test_comparison_has_a_line_for_every_run_and_network(make_run: MakeRun, tmp_path: Path) -> None:
    folders = [make_run(tmp_path / name, evaluated=True, seeds=1) for name in ("one", "two")]
    plain = make_run(tmp_path / "plain")
    runs = [report.read(folder) for folder in (*folders, plain)]
    found = accuracy_curves.comparison_curves(runs)
    assert [curve["title"] for curve in found][:2] == ["Gaussian noise", "APGD-CE, L∞"]
    assert [line["label"] for line in found[0]["lines"]] == ["one, sparse", "one, dense", "two, sparse", "two, dense"]
    page = report.write([*folders, plain]).read_text("utf-8")
    assert "one is not trustworthy: sparse, seed 0" in page
    assert accuracy_curves.comparison_curves(runs[1:]) == []  # one run alone is compared with nothing
    assert 'id="robustness"' not in report.write([folders[0], plain]).read_text("utf-8")


def test_damaged_evaluation_is_refused(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", evaluated=True)
    path = folder / "robustness.json"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"robustness\.json is damaged"):
        report.write(folder)


def test_cells_survive_the_way_through_the_file(run: Run) -> None:
    assert run.robustness is not None
    cell = run.robustness.cells[1]
    assert isinstance(cell, Cell)
    assert cell.snr is not None
    assert json.loads((run.folder / "robustness.json").read_bytes())["cells"][1]["snr"] == cell.snr
