from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gossamer.data.catalogue import MADELON_INFORMATIVE
from gossamer.studies import evolving_connectivity, trials
from gossamer.studies.evolving_connectivity import experiment, tables, verdicts
from gossamer.studies.evolving_connectivity.experiment import CONTROLS, PLANS, RULES, VARIANTS, Plan
from gossamer.studies.findings import Findings, markdown
from gossamer.studies.trials import Record, Trial

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = Plan(epochs=3, seeds=2, hidden=(20, 20), epsilon=2, batch_size=50, learning_rate=0.05)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Findings, list[Record]]:
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        plans = {"digits": replace(SMALL, controls=True), "breast_cancer": SMALL}
        patch.setattr(experiment, "PLANS", {"quick": plans})
        found = evolving_connectivity.run("quick", folder)
        before = (folder / trials.FILE).read_bytes()
        again = evolving_connectivity.run("quick", folder)
    assert (folder / trials.FILE).read_bytes() == before
    assert again == found
    return found, trials.read(folder / trials.FILE)


def test_every_variant_of_every_data_set_and_seed_is_tried(study: tuple[Findings, list[Record]]) -> None:
    tried = {(r["dataset"], r["variant"], r["seed"]) for r in study[1]}
    expected = {(d, v, s) for d in ("digits", "breast_cancer") for v in VARIANTS for s in range(2)}
    assert tried == expected | {("digits", control, seed) for control in CONTROLS for seed in range(2)}


def test_sparse_variants_have_the_same_number_of_links_and_the_dense_one_all(
    study: tuple[Findings, list[Record]],
) -> None:
    found = trials.where(study[1], dataset="digits")
    sparse = {record["connections"] for record in found if record["variant"] != "dense"}
    assert sparse == {2 * (64 + 20) + 2 * (20 + 20) + 20 * 10}
    assert {r["connections"] for r in trials.where(found, variant="dense")} == {64 * 20 + 20 * 20 + 20 * 10}
    assert all(len(record["curve"]) == 3 for record in found)


def test_only_what_rewires_spends_time_on_it(study: tuple[Findings, list[Record]]) -> None:
    for record in study[1]:
        assert (record["rewire_seconds"] > 0) == (record["variant"] not in ("fixed", "dense"))
        assert record["train_seconds"] >= record["rewire_seconds"]


def test_ablation_starts_with_the_whole_network_and_ends_blind(study: tuple[Findings, list[Record]]) -> None:
    for record in study[1]:
        assert ("ablation" in record) == (record["variant"] != "dense")
        if "ablation" in record:
            curves = record["ablation"]
            assert curves["zeroed"][0] == 0
            assert curves["least_first"][0] == curves["most_first"][0] == record["curve"][-1]
            assert curves["least_first"][-1] == curves["most_first"][-1] <= record["largest_class"] + 1e-5
            assert sum(record["degrees"]) > 0
            assert all(sum(state["inputs"]) == curves["zeroed"][-1] for state in record["spread"])


def test_findings_hold_tables_pictures_and_verdicts(study: tuple[Findings, list[Record]]) -> None:
    found = study[0]
    assert [table.title for table in found.tables] == [
        "Accuracy", "Ranks", "Costs", "Do connections show which inputs matter?",
        "Choice of the connections that are removed",
    ]  # fmt: skip
    assert [figure.file for figure in found.figures] == [
        "ranks.svg", "curves.svg", "maps.png", "ablation.svg", "degrees.svg",
    ]  # fmt: skip
    assert len(found.claims) == 5
    assert len(found.tables[0].rows) == len(VARIANTS)
    assert "| SET |" in markdown(found)
    assert found.settings["epsilon"] == 2
    assert "controls" not in found.settings


def test_one_data_set_and_one_seed_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experiment, "PLANS", {"quick": {"digits": replace(SMALL, epochs=1)}})
    found = evolving_connectivity.run("quick", tmp_path, seeds=1, data=("wine",))
    assert found.tables[0].columns == ("variant", "wine")
    assert [figure.name for figure in found.figures] == ["curves", "ablation", "degrees"]
    assert all(claim.verdict == "undecided" for claim in found.claims)


def test_a_trial_depends_on_its_content_alone(study: tuple[Findings, list[Record]]) -> None:
    [record] = trials.where(study[1], dataset="digits", variant="CoPACoRSET", seed=1)
    again = experiment.carry_out(Trial("CoPACoRSET", "digits", 1, record["settings"]))
    for name in ("curve", "degrees", "ablation", "spread", "accuracy"):
        assert again[name] == record[name]


def test_a_network_that_diverges_is_an_outcome_too() -> None:
    settings = trials_settings(replace(SMALL, learning_rate=1e6, epochs=4))
    found = experiment.carry_out(Trial("SET", "breast_cancer", 0, settings))
    assert found["diverged"]
    assert len(found["curve"]) == 4
    assert "ablation" not in found


def test_weights_for_the_dense_shape_are_drawn_as_the_authors_do() -> None:
    from torch import Generator

    from gossamer.models import MLP

    model = MLP(300, (200,), 10, density=0.1, generator=Generator().manual_seed(0))
    experiment._draw_for_dense_shape(model, Generator().manual_seed(0))
    values, bound = model.get_parameter("linear1.weight_values").detach(), np.sqrt(6 / 500)
    assert 0.95 * bound < float(values.abs().max()) <= bound
    assert not model.get_parameter("linear1.bias").any()


def trials_settings(plan: Plan) -> Mapping[str, Any]:
    return experiment.trials_of({"x": plan})[0].settings


def test_plans_are_as_published_where_nothing_else_is_said() -> None:
    plan = PLANS["full"]["madelon"]
    assert (plan.hidden, plan.epsilon, plan.batch_size, plan.fraction) == ((1000, 1000, 1000), 20, 100, 0.3)
    assert (plan.epochs, plan.dropout, plan.momentum, plan.tail) == (100, 0.3, 0.9, 10)
    assert all(plan.seeds >= 3 for plan in PLANS["full"].values())
    assert len(RULES) == 8


# ---- what the numbers are turned into ----


def ablation(least: list[float], most: list[float]) -> Record:
    return {"ablation": {"zeroed": [0, 1, 2], "least_first": least, "most_first": most}}


def test_contrast_by_hand() -> None:
    assert tables.contrast(ablation([1, 1, 0], [1, 0, 0])) == pytest.approx(0.5)
    assert tables.contrast(ablation([1, 0.5, 0], [1, 0.5, 0])) == 0
    assert tables.contrast(ablation([1, 0, 0], [1, 1, 0])) == pytest.approx(-0.5)


def test_hits_count_informative_inputs_among_the_best_connected() -> None:
    degrees = np.zeros(500, dtype=int)
    degrees[list(MADELON_INFORMATIVE)] = 50
    assert tables.hits({"degrees": degrees.tolist()}) == 20
    degrees[[0, 1]] = 60
    assert tables.hits({"degrees": degrees.tolist()}) == 18


def fake(dataset: str, variant: str, seed: int, accuracy: float) -> Record:
    return {"dataset": dataset, "variant": variant, "seed": seed, "accuracy": accuracy, "largest_class": 0.1}


@pytest.mark.parametrize(("gain", "verdict"), [(0.01, "holds"), (-0.01, "does not hold"), (0.0, "undecided")])
def test_verdict_follows_the_sign_where_it_is_sure(gain: float, verdict: str) -> None:
    plans = {f"d{i}": SMALL for i in range(8)}
    records = [
        fake(d, v, s, 0.8 + (gain * (1 + i) if v != "SET" else 0))
        for i, d in enumerate(plans)
        for v in ("SET", "CoDASET")
        for s in range(2)
    ]
    claim = verdicts._against(plans, records, ("CoDASET",), "SET", "It is better.")
    assert claim.verdict == verdict


@pytest.mark.parametrize(("count", "said"), [(1, "With 1 data set p is at least 1 "), (2, "With 2 data sets p is ")])
def test_few_data_sets_are_said_to_be_few(count: int, said: str) -> None:
    plans = {f"d{i}": SMALL for i in range(count)}
    records = [fake(d, v, s, 0.8) for d in plans for v in ("SET", "CoDASET") for s in range(2)]
    assert said in verdicts._against(plans, records, ("CoDASET",), "SET", "It is better.").evidence


@pytest.mark.parametrize(
    ("by_chance", "by_largest", "verdict"),
    [(0.5, 0.12, "holds"), (0.89, 0.12, "does not hold"), (0.5, 0.4, "does not hold")],
)
def test_controls_must_lose_what_the_paper_says(by_chance: float, by_largest: float, verdict: str) -> None:
    plans = {"digits": replace(SMALL, controls=True)}
    values = {"SET": 0.9, CONTROLS[0]: by_chance, CONTROLS[1]: by_largest}
    records = [fake("digits", variant, 0, value) for variant, value in values.items()]
    assert verdicts._controls(plans, records).verdict == verdict


@pytest.mark.skipif("GOSSAMER_DATA" not in os.environ, reason="GOSSAMER_DATA names no folder with madelon")
def test_madelons_informative_columns_are_those_that_correlate() -> None:
    largest = tables.madelon_correlations()
    informative = np.sort(largest[list(MADELON_INFORMATIVE)])
    assert (informative[2:] >= 0.988).all()
    assert informative[:2] == pytest.approx([0.69, 0.69], abs=0.02)
    assert np.delete(largest, list(MADELON_INFORMATIVE)).max() <= 0.094
