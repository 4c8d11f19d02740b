from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from gossamer import InputError
from gossamer.functional import hebbian_cost
from gossamer.models.blocks import HaHBlock
from gossamer.studies import strong_activations, trials
from gossamer.studies.findings import Findings, markdown
from gossamer.studies.strong_activations import experiment, outcome, pictures, plans, results
from gossamer.studies.strong_activations.activations import activations
from gossamer.studies.strong_activations.images import Images, images
from gossamer.studies.strong_activations.networks import augmented, hebbian_loss, network, train
from gossamer.studies.strong_activations.plans import VARIANTS, Plan
from gossamer.studies.trials import Record, where

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = Plan(
    (4, "M", 6),
    linf=(0.1,),
    l2=(0.5,),
    variants=("baseline", "HaH"),
    seeds=2,
    hebbian_blocks=1,
    epochs=1,
    rows=200,
    test_rows=100,
    attacked=6,
    checked=3,
    checked_seeds=1,
    queries=10,
)


@pytest.fixture
def one_image() -> Images:
    x = torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return Images(x, torch.arange(12) % 3, x[:6], torch.arange(6) % 3, 3, [0.5], [0.3])


@pytest.fixture(scope="module", autouse=True)
def short_attacks() -> Iterator[None]:
    sanity = importlib.import_module("gossamer.evaluate.attacks.sanity")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sanity, "_BUDGETS", {"quick": sanity._Budget(5, 1, 8, 1, 10)})
        patch.setattr(experiment, "_STEPS", 8)
        yield


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Findings, list[Record], Path]:
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plans, "PLANS", {"quick": {"digits": SMALL}})
        found = strong_activations.run("quick", folder)
        before = (folder / trials.FILE).read_bytes()
        assert strong_activations.run("quick", folder) == found
    assert (folder / trials.FILE).read_bytes() == before
    return found, trials.read(folder / trials.FILE), folder


def test_every_network_is_measured(study: tuple[Findings, list[Record], Path]) -> None:
    records = study[1]
    assert [r["variant"] for r in records] == ["baseline"] * 2 + ["HaH"] * 2
    for r in records:
        assert 0 <= r["accuracy"] <= 1
        assert len(r["noise"]) == 3
        assert [(a["norm"], a["radius"]) for a in r["attacks"]] == [("linf", 0.1), ("l2", 0.5)]
        for attack in r["attacks"]:
            assert attack["strongest"] <= min(attack["accuracy"].values()) <= r["attacked_accuracy"]
            assert ("sanity" in attack) == (r["seed"] == 0)
            assert ("transfer" in attack["accuracy"]) == (r["variant"] != "baseline")
    for seed in (0, 1):
        base, ours = (where(records, variant=v, seed=seed)[0] for v in ("baseline", "HaH"))
        assert ours["active"][0] <= 13 / 64 < base["active"][0]  # 64 − ⌊0.8 · 64⌋ stay
        assert ours["hoyer"][0] > base["hoyer"][0]


def test_a_lost_network_is_trained_again_to_the_same_result(study: tuple[Findings, list[Record], Path]) -> None:
    _, records, folder = study
    chosen = plans.trials_of({"digits": SMALL})[1][1]
    kept = {path: path.read_bytes() for path in (folder / "networks").iterdir()}
    assert len(kept) == 4
    (record,) = where(records, variant=chosen.variant, seed=chosen.seed)
    for path in kept:
        path.unlink()
    again = json.loads(json.dumps(experiment.carry_out(chosen, folder)))
    assert {**again, "train_seconds": 0} == {**{key: record[key] for key in again}, "train_seconds": 0}


def test_findings_hold_tables_pictures_and_verdicts(study: tuple[Findings, list[Record], Path]) -> None:
    found = study[0]
    assert [figure.file for figure in found.figures] == ["noise.svg", "attacks.svg"]
    assert [table.title for table in found.tables] == [
        "Published results beside ours",
        "Accuracy and ablations on digits",
        "Activations on digits",
        "Single attacks on digits",
        "Sanity checks on digits",
    ]
    assert [claim.text[:3] for claim in found.claims] == ["(a)", "(b)", "(c)", "(c)"]
    published = found.tables[0].rows[:2]
    assert [list(row[1:]) for row in published] == [
        ["92.5", "26.6", "10.4 (2/255)", "13.9 (0.25)"],
        ["87.3", "64.0", "21.5 (2/255)", "27.6 (0.25)"],
    ]
    assert all(str(row[0]).startswith("published") for row in published)
    assert "Where this departs from the paper" in markdown(found)


def test_one_seed_gives_tables_without_verdicts(study: tuple[Findings, list[Record], Path]) -> None:
    records, chosen = where(study[1], seed=0), {"digits": replace(SMALL, seeds=1)}
    assert outcome.claims(chosen, records) == []
    assert len(outcome.tables(chosen, records)) == 5
    assert len(pictures.figures(chosen, records)) == 2


# ---- verdicts --------------------------------------------------------------------------------------------------------


def made(variant: str, seed: int, **changed: Any) -> Record:
    """A record with numbers of our choice."""
    failing = changed.pop("failing", 0.0)
    values = {"accuracy": 0.95, "attacked_accuracy": 0.95, "noise": 0.8, "active": 0.5, "robust": 0.3} | changed
    values["noise"], values["active"], robust = [values["noise"]] * 3, [values["active"]], values.pop("robust")
    check = {"name": "gradient free", "measured": failing, "limit": 0.02}
    attacks = [
        {
            "norm": norm,
            "radius": radius,
            "accuracy": {"short PGD": robust + 0.1},
            "strongest": robust,
            "sanity": {"checks": [check]},
        }
        for norm, radius in (("linf", 0.1), ("l2", 0.5))
    ]
    return {"variant": variant, "dataset": "digits", "seed": seed, "attacks": attacks, **values}


def verdicts(ours: dict[str, Any], **theirs: Any) -> dict[str, str]:
    """The verdicts on (a), (b) and (c) in the Linf norm, with a little spread over the seeds."""
    records = []
    for seed, spread in enumerate((-0.002, 0.001, 0.001)):
        records.append(made("baseline", seed, **theirs))
        record = made("HaH", seed, **ours)
        record["noise"] = [value + spread for value in record["noise"]]
        for attack in record["attacks"]:
            attack["strongest"] += spread
        records.append(record)
    plan = replace(SMALL, variants=("baseline", "HaH"), seeds=3)
    return {claim.text[:3]: claim.verdict for claim in reversed(outcome.claims({"digits": plan}, records))}


def test_sparser_needs_half_of_the_units_and_two_points() -> None:
    assert verdicts({"active": 0.25, "accuracy": 0.94})["(a)"] == "holds"
    assert verdicts({"active": 0.26, "accuracy": 0.95})["(a)"] == "does not hold"
    assert verdicts({"active": 0.2, "accuracy": 0.92})["(a)"] == "does not hold"


def test_noise_needs_intervals_apart() -> None:
    assert verdicts({"noise": 0.85})["(b)"] == "holds"
    assert verdicts({"noise": 0.75})["(b)"] == "does not hold"
    assert verdicts({"noise": 0.801})["(b)"] == "undecided"


def test_robustness_that_fails_a_check_does_not_hold() -> None:
    assert verdicts({"robust": 0.4})["(c)"] == "holds"
    assert verdicts({"robust": 0.4, "failing": 0.03})["(c)"] == "undecided"
    assert verdicts({"robust": 0.2, "failing": 0.03})["(c)"] == "does not hold"


def test_untrustworthy_is_printed_instead_of_the_number() -> None:
    plan = replace(SMALL, variants=("baseline", "HaH"), seeds=2)
    records = [made("baseline", 0), made("baseline", 1), made("HaH", 0, failing=0.07), made("HaH", 1)]
    assert results.untrustworthy(records, plan, "digits", "HaH", "linf") == "gradient free 3.5 % (limit 2.0 %)"
    rows = outcome._accuracy("digits", plan, records).rows
    assert rows[0][-2:] == ["30.0 ± 0.0", "30.0 ± 0.0"]
    assert rows[1][-2:] == ["not trustworthy", "not trustworthy"]
    for record in records:
        for attack in record["attacks"]:
            attack.pop("sanity", None)
    assert results.untrustworthy(records, plan, "digits", "HaH", "linf") == "not checked"


# ---- networks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_learns(name: str, one_image: Images) -> None:
    plan = replace(SMALL, epochs=30, shift=0, batch_size=6)
    net = network(VARIANTS[name], plan, one_image, 0)
    losses = train(net, VARIANTS[name], plan, one_image.x, one_image.y, 0)
    assert len(losses) == 30
    assert losses[-1] < 0.9 * losses[0]
    assert not net.training


def test_ablations_leave_parts_out(one_image: Images) -> None:
    parts = {}
    for name in ("HaH", "without norm", "without threshold", "without implicit norm"):
        block = network(VARIANTS[name], SMALL, one_image, 0).features[0]
        assert isinstance(block, HaHBlock)
        parts[name] = [type(part).__name__ for part in block]
    whole = ["NormalizedConv2d", "ReLU", "DivisiveNorm", "QuantileThreshold"]
    assert parts["HaH"] == whole
    assert parts["without norm"] == [*whole[:2], "Identity", whole[3]]
    assert parts["without threshold"] == [*whole[:3], "Identity"]
    assert parts["without implicit norm"] == ["PlainConvolution", *whole[1:]]


def test_a_plain_convolution_has_its_own_lengths_and_the_cost_of_unit_filters(one_image: Images) -> None:
    net = network(VARIANTS["without implicit norm"], SMALL, one_image, 0)
    conv: Any = net.features[0].conv
    with torch.no_grad():
        conv.unit.weight.mul_(torch.tensor([1.0, 2.0, 3.0, 4.0]).view(-1, 1, 1, 1))
    plain = nn.functional.conv2d(one_image.x, conv.unit.weight, padding=1)
    torch.testing.assert_close(conv(one_image.x), plain)
    cost = hebbian_loss(net.train(), VARIANTS["without implicit norm"])
    assert cost is not None
    net(one_image.x)
    u = conv.unit((one_image.x - net.mean) / net.std)
    torch.testing.assert_close(cost(), -0.0045 * hebbian_cost(u))


def test_the_cost_follows_alpha_and_lambda(one_image: Images) -> None:
    found = {}
    for name in ("HaH", "HaH ×10", "HaH ×100", "HaH ×100, λ = 1"):
        net = network(VARIANTS[name], SMALL, one_image, 0).train()
        cost = hebbian_loss(net, VARIANTS[name])
        assert cost is not None
        net(one_image.x)
        found[name] = float(cost().detach())
    assert found["HaH ×10"] == pytest.approx(10 * found["HaH"])
    assert found["HaH ×100"] == pytest.approx(100 * found["HaH"])
    assert found["HaH ×100"] < found["HaH ×100, λ = 1"] < 0
    for name in ("baseline", "block"):
        assert hebbian_loss(network(VARIANTS[name], SMALL, one_image, 0), VARIANTS[name]) is None


def test_a_strong_cost_raises_the_winners_of_the_first_layer() -> None:
    pictures, plan = images("digits"), replace(SMALL, epochs=3, rows=600)
    gap = {}
    for name in ("block", "HaH ×100"):
        net = network(VARIANTS[name], plan, pictures, 0)
        train(net, VARIANTS[name], plan, pictures.x[:600], pictures.y[:600], 0)
        found = activations(net, 1, pictures.x_test[:200])
        gap[name] = found["top"] - found["rest"]
    assert gap["HaH ×100"] > gap["block"] > 0


def test_activations_of_a_baseline_are_those_before_the_batch_normalisation(one_image: Images) -> None:
    net = network(VARIANTS["baseline"], SMALL, one_image, 0).eval()
    found = activations(net, 2, one_image.x)
    a = net.features[0].conv((one_image.x - net.mean) / net.std).relu()  # type: ignore[operator]
    assert found["active"][0] == pytest.approx(float((a > 0).float().mean()))
    assert len(found["active"]) == len(found["hoyer"]) == 2
    assert found["top"] >= found["rest"] >= 0


def test_activations_of_zeros(one_image: Images) -> None:
    net = network(replace(VARIANTS["block"]), SMALL, replace(one_image, mean=[0.0]), 0)
    found = activations(net, 1, torch.zeros(2, 1, 8, 8))
    assert found == {"active": [0.0], "hoyer": [None], "top": 0.0, "rest": 0.0}


def test_shifts_and_flips_keep_the_image() -> None:
    x = torch.zeros(200, 2, 5, 5)
    x[:, 0, 2, 1], x[:, 1, 2, 1] = 1.0, 2.0
    moved = augmented(x, 1, False, torch.Generator().manual_seed(0))
    assert moved.shape == x.shape
    torch.testing.assert_close(moved.sum((2, 3)), x.sum((2, 3)))
    torch.testing.assert_close(moved[:, 1], 2 * moved[:, 0])
    places = {tuple(place) for place in moved[:, 0].nonzero()[:, 1:].tolist()}
    assert places == {(i, j) for i in (1, 2, 3) for j in (0, 1, 2)}
    flipped = augmented(x, 0, True, torch.Generator().manual_seed(0))
    assert {tuple(place) for place in flipped[:, 0].nonzero()[:, 1:].tolist()} == {(2, 1), (2, 3)}
    torch.testing.assert_close(augmented(x, 0, False, torch.Generator()), x)


def test_images_have_pixels_between_0_and_1() -> None:
    found = images("digits")
    assert found.x.shape == (1198, 1, 8, 8)
    assert found.x_test.shape == (599, 1, 8, 8)
    assert (float(found.x.min()), float(found.x.max())) == (0.0, 1.0)
    assert np.allclose([found.mean[0], found.std[0]], [0.305, 0.376], atol=0.005)
    assert len(set(found.y_test[:50].tolist())) == 10
    with pytest.raises(InputError, match="data must be square images, got 'wine'"):
        images("wine")


# ---- presets ---------------------------------------------------------------------------------------------------------


def test_presets_and_their_trials() -> None:
    for preset, known in plans.PLANS.items():
        assert preset in strong_activations.PRESETS
        baselines, others = plans.trials_of(known)
        assert len(baselines) == sum(plan.seeds for plan in known.values())
        assert {trial.variant for trial in baselines} == {"baseline"}
        assert len(others) == sum((len(plan.variants) - 1) * plan.seeds for plan in known.values())
        for trial in others:
            own = known[trial.dataset]
            assert plans.plan_of(trial) == replace(own, seeds=5, variants=plans.MAIN)  # not settings of a trial
            json.dumps(trial.settings, allow_nan=False)
    assert set(plans.PLANS["full"]["digits"].variants) == set(VARIANTS)
    assert plans.PLANS["gpu"]["cifar10"].hebbian_blocks == 6
    with pytest.raises(InputError, match="seeds must be"):
        plans.planned("quick", 0, None)


def test_the_gpu_preset_needs_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="needs a CUDA GPU"):
        strong_activations.run("gpu", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_an_unknown_preset_and_a_diverging_network(one_image: Images) -> None:
    with pytest.raises(InputError, match="preset must be one of"):
        plans.planned("huge", None, None)
    net, broken = network(VARIANTS["baseline"], SMALL, one_image, 0), one_image.x.clone()
    broken[0] = torch.nan
    with pytest.raises(InputError, match="diverged in epoch 1"):
        partial(train, net, VARIANTS["baseline"], SMALL)(broken, one_image.y, 0)
