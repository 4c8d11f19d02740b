from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gossamer import InputError, runs
from gossamer.runs import EvaluationWatch, Options, Plan, RunFolder, evaluate_run, load_network
from gossamer.runs.evaluation import Step
from gossamer.runs.folder import Job
from gossamer.runs.robustness import Cell, Check, Condition, Robustness
from gossamer.runs.units import unit_rows

pytestmark = pytest.mark.usefixtures("one_thread")

PLAN = Plan(noise=(0.1, 0.5), attacks=("pgd:steps=5",), radii=(0.1, 0.3), sanity="none", draws=2)


@pytest.fixture(scope="module")
def trained(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a table: two seeds of both networks."""
    options = Options(
        data=str(table), target="kind", hidden=(12,), density=0.4, epochs=4, batch_size=20, seeds=2, threads=1,
        learning_rate=0.02,
    )  # fmt: skip
    return runs.train(options, runs.load_data(options), tmp_path_factory.mktemp("evaluation") / "run").path


@pytest.fixture
def run(trained: Path) -> Iterator[Path]:
    yield trained
    (trained / "robustness.json").unlink(missing_ok=True)


@pytest.fixture
def images(trained_on_images: Path) -> Iterator[Path]:
    yield trained_on_images
    (trained_on_images / "robustness.json").unlink(missing_ok=True)


@pytest.fixture(scope="module")
def trained_on_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on images: the sparse network alone."""
    options = Options(data="digits", hidden=(12,), density=0.5, epochs=2, batch_size=64, twin=False, threads=1)
    return runs.train(options, runs.load_data(options), tmp_path_factory.mktemp("evaluation") / "images").path


def plain(found: Robustness) -> dict[tuple[Any, ...], tuple[int, Any]]:
    return {(c.network, c.seed, *c.condition): (c.correct, c.snr) for c in found.cells}


def test_clean_accuracy_is_that_of_the_results(run: Path, images: Path) -> None:
    for path in (run, images):
        found = evaluate_run(path, Plan(noise=(0.1,)))
        results = json.loads((path / "results.json").read_bytes())
        right = {(n["network"], n["seed"]): n["test_correct"] for n in results["networks"]}
        assert found.rows == results["data"]["test"]
        assert {(c.network, c.seed): c.correct for c in found.cells if c.kind == "clean"} == right


def test_a_loaded_network_is_the_one_that_was_trained(run: Path) -> None:
    folder = RunFolder.open(run)
    options = folder.options()
    data = runs.load_data(options)
    first = load_network(folder, options, data, Job("sparse", 0))
    x = torch.from_numpy(data.test.x)
    assert torch.equal(first(x), runs.load_model(folder.model).model(x))
    assert not first.training


def test_every_network_is_measured_under_every_condition(run: Path) -> None:
    found = evaluate_run(run, PLAN)
    conditions = [Condition("clean")]
    conditions += [Condition("noise", "gaussian", "", sigma) for sigma in (0.1, 0.5)]
    conditions += [Condition("attack", "pgd:steps=5", "linf", radius) for radius in (0.1, 0.3)]
    jobs = [("sparse", 0), ("dense", 0), ("sparse", 1), ("dense", 1)]
    assert [(c.network, c.seed, c.condition) for c in found.cells] == [(*job, c) for job in jobs for c in conditions]
    assert found == RunFolder.open(run).read_robustness()
    assert all(cell.rows == found.rows == 30 for cell in found.cells)
    assert all(cell.draws == (2 if cell.kind == "noise" else 1) for cell in found.cells)
    noise = [cell for cell in found.cells if cell.kind == "noise"]
    assert all(cell.snr is not None and list(cell.snr) == ["linear1", "output"] for cell in noise)
    for job in jobs:
        attacked = {c.strength: c.accuracy for c in found.cells if (c.network, c.seed) == job and c.kind == "attack"}
        clean = next(c.accuracy for c in found.cells if (c.network, c.seed, c.kind) == (*job, "clean"))
        assert clean >= attacked[0.1] >= attacked[0.3]
    assert not found.checks


class KilledError(Exception):
    pass


@pytest.mark.parametrize("after", [1, 7, 13])
def test_a_killed_evaluation_continues_to_the_same_result(run: Path, after: int) -> None:
    whole = evaluate_run(run, PLAN)
    (run / "robustness.json").unlink()

    class Kill(EvaluationWatch):
        count = 0

        def end(self, step: Step, cell: Cell | None) -> None:
            self.count += 1
            if self.count == after:
                raise KilledError

    with pytest.raises(KilledError):
        evaluate_run(run, PLAN, Kill())
    part = RunFolder.open(run).read_robustness()
    assert part is not None
    assert len(part.cells) == after
    (run / ".robustness.json.partial").write_bytes(b"half")

    class Count(EvaluationWatch):
        left = done = 0

        def begin(self, robustness: Robustness, data: object, steps: list[Step], done: int) -> None:
            self.left, self.done = len(steps), done

    watch = Count()
    found = evaluate_run(run, PLAN, watch)
    assert (watch.done, watch.left) == (after, 20 - after)
    assert plain(found) == plain(whole)
    assert not (run / ".robustness.json.partial").exists()


def test_further_conditions_are_added_with_rows_seed_and_draws_of_the_file(run: Path) -> None:
    evaluate_run(run, Plan(noise=(0.1,), rows=20, seed=5, draws=4))
    found = evaluate_run(run, Plan(corruptions=("all",)))
    assert (found.rows, found.seed, found.draws) == (20, 5, 4)
    kinds = {(cell.kind, cell.name) for cell in found.cells}
    assert kinds == {
        ("clean", ""), ("noise", "gaussian"), ("corruption", "missing_values"), ("corruption", "zeroed_features"),
    }  # fmt: skip
    for change in ({"rows": 30}, {"seed": 1}, {"draws": 1}):
        [(name, value)] = change.items()
        with pytest.raises(InputError, match=rf"{name} must be \d+, as in .*robustness.json, got {value}: leave out"):
            evaluate_run(run, Plan(noise=(0.1,), **change))  # type: ignore[arg-type]
    again = evaluate_run(run, Plan(noise=(0.1,), rows=30), overwrite=True)
    assert (again.rows, again.seed, again.draws) == (30, 0, 3)
    assert len(again.cells) == 8


def test_a_network_that_was_trained_anew_is_measured_anew(run: Path) -> None:
    before = evaluate_run(run, Plan(noise=(0.1,)))
    folder = RunFolder.open(run)
    changed = replace(before.measured[0], digest="0" * 64)
    marked = tuple(replace(c, correct=0) if (c.network, c.seed) == ("sparse", 0) else c for c in before.cells)
    folder.write_robustness(replace(before, measured=(changed, *before.measured[1:]), cells=marked))
    assert plain(evaluate_run(run, Plan(noise=(0.1,)))) == plain(before)


def test_sparse_and_dense_are_given_the_same_noise(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one network in the place of both, all results agree."""
    folder = RunFolder.open(run)

    def first(folder: RunFolder, options: Options, data: Any, job: Job) -> torch.nn.Module:
        return load_network(folder, options, data, Job("sparse", 0))

    monkeypatch.setattr("gossamer.runs.evaluation.load_network", first)
    plan = Plan(noise=(0.5,), uniform_noise=(0.5,), corruptions=("all",), attacks=("pgd:steps=3",), sanity="none")
    found = evaluate_run(folder.path, plan)
    by_job: dict[tuple[str, int], list[int]] = {}
    for cell in found.cells:
        by_job.setdefault((cell.network, cell.seed), []).append(cell.correct)
    assert len({tuple(values) for values in by_job.values()}) == 1


def test_images_are_corrupted_and_stay_in_the_box(images: Path) -> None:
    found = evaluate_run(images, Plan(corruptions=("contrast", "brightness", "contrast"), rows=40))
    assert found.unit == "pixels from 0 to 1"
    corrupted = [cell for cell in found.cells if cell.kind == "corruption"]
    assert [(c.name, c.strength) for c in corrupted] == [
        (name, severity) for name in ("contrast", "brightness") for severity in (1, 2, 3, 4, 5)
    ]
    assert corrupted[4].correct <= corrupted[0].correct


def test_attacks_are_checked_at_the_smallest_radius(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gossamer.runs.measurement._CHECKED", 6)
    plan = Plan(attacks=("fgsm",), radii=(0.2, 0.1), norm="l2")
    found = evaluate_run(run, plan)
    assert {(c.network, c.seed, c.attack, c.norm, c.radius) for c in found.checks} == {
        ("sparse", 0, "fgsm", "l2", 0.1),
        ("dense", 0, "fgsm", "l2", 0.1),
    }
    assert {"gradient free", "transfer", "large radius"} <= {check.name for check in found.checks}
    assert evaluate_run(run, plan) == found
    other = evaluate_run(run, replace(plan, attacks=("FGSM",), radii=(0.1,), sanity="none"))
    assert other == found  # nothing new


def test_without_options_there_is_noise_and_an_attack_at_two_radii(run: Path) -> None:
    rows = unit_rows(runs.load_data(RunFolder.open(run).options()))
    plan = Plan(rows=10).completed(rows)
    assert [c for c in plan.conditions() if c.kind == "noise"]
    assert [(c.name, c.norm) for c in plan.conditions() if c.kind == "attack"] == [("apgd-ce", "linf")] * 2
    assert Plan(noise=(1.0,)).completed(rows).attacks == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"noise": (0.0,)}, r"noise must be in \(0, inf\), got 0.0"),
        ({"uniform_noise": (float("nan"),)}, r"uniform_noise must be in \(0, inf\), got nan"),
        ({"radii": (-1.0,)}, r"radius must be in \(0, inf\), got -1.0"),
        ({"norm": "l1"}, "norm must be one of 'linf', 'l2', got 'l1'"),
        ({"sanity": "much"}, "sanity must be one of"),
        ({"corruptions": ("fog",)}, r"corruptions must be one of 'all', .* got 'fog'"),
        ({"attacks": ("deepfool",)}, "attack must be fgsm, .* got 'deepfool'"),
        ({"attacks": ("pgd:radius=0.1",)}, "attack must leave norm and radius to their own options"),
        ({"rows": 0}, "rows must be a whole number of at least 1"),
        ({"draws": 0}, "draws must be a whole number from 1 to 1000"),
        ({"seed": -1}, "seed must be a whole number from 0"),
    ],
)
def test_wrong_plans_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Plan(**change)


def test_corruptions_of_the_other_kind_are_refused(run: Path, images: Path) -> None:
    with pytest.raises(
        InputError, match="got 'jpeg', which is for images, and the rows are a table: choose from missing_values"
    ):
        evaluate_run(run, Plan(corruptions=("jpeg",)))
    with pytest.raises(InputError, match="got 'missing_values', which is for tables, and the rows are images: choose"):
        evaluate_run(images, Plan(corruptions=("missing_values",)))
    assert not (run / "robustness.json").exists()


def test_runs_that_are_missing_unfinished_or_changed_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="doesn't exist"):
        evaluate_run(tmp_path / "nowhere")
    results = (run / "results.json").read_bytes()
    (run / "results.json").unlink()
    try:
        with pytest.raises(InputError, match="its training isn't finished"):
            evaluate_run(run)
    finally:
        (run / "results.json").write_bytes(results)
    with RunFolder.open(run).locked(), pytest.raises(InputError, match="is in use by another process"):
        evaluate_run(run)


def test_damaged_and_newer_files_are_refused(run: Path) -> None:
    found = evaluate_run(run, Plan(noise=(0.1,)))
    path = run / "robustness.json"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"rows": 30', b'"rows": 31'))
    with pytest.raises(InputError, match=r"robustness.json is damaged: .* Measure anew: gossamer evaluate"):
        evaluate_run(run, Plan(noise=(0.1,)))
    folder = RunFolder.open(run)
    folder.write_robustness(replace(found, format=2))
    with pytest.raises(InputError, match="format must be at most 1, got 2: it was written by a newer gossamer"):
        evaluate_run(run, Plan(noise=(0.1,)))
    assert evaluate_run(run, Plan(noise=(0.1,)), overwrite=True).format == 1


def test_records_check_their_ranges() -> None:
    cell = Cell("sparse", 0, "noise", "gaussian", "", 0.1, 10, 3, 30, 1.0)
    assert cell.accuracy == 1
    with pytest.raises(InputError, match="correct must be a whole number from 0 to 30, got 31"):
        replace(cell, correct=31)
    with pytest.raises(InputError, match="strength must be in"):
        replace(cell, strength=-0.1)
    with pytest.raises(InputError, match="zero_gradients must be in"):
        replace(cell, zero_gradients=1.5)
    with pytest.raises(InputError, match=r"cells\[0\]: rows must be 5, got 10"):
        Robustness(1, "0", 5, 0, 3, "", cells=(cell,))
    with pytest.raises(InputError, match="radius must be in"):
        Check("sparse", 0, "pgd", "linf", -1.0, "quick", "x", True, 0.0, 0.0, "")


def test_a_new_run_removes_the_evaluation_of_the_old_one(run: Path, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", "x")
    folder.begin(RunFolder.open(run).options(), "0")
    folder.write_robustness(Robustness(1, "0", 5, 0, 3, ""))
    again = RunFolder.create(tmp_path / "run", "x", overwrite=True)
    assert not again.robustness.exists()
