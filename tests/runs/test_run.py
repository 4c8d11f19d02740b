from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gossamer import InputError, report
from gossamer.data import Dataset
from gossamer.runs import Options, RunFolder, Watch, load_data, resume, train
from gossamer.runs.folder import Job
from gossamer.runs.run import jobs_of
from gossamer.training import Epoch


@pytest.fixture(scope="module")
def finished(table: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Options, RunFolder]:
    """A run that nothing interrupted."""
    options = Options(
        data=str(table),
        target="kind",
        hidden=(16, 16),
        density=0.3,
        allocate="uniform",
        dropout=0.1,
        activation="topk:8",
        epochs=4,
        batch_size=20,
        learning_rate=0.01,
        seed=1,
        seeds=2,
        threads=1,
    )
    return options, train(options, load_data(options), tmp_path_factory.mktemp("runs") / "whole")


def outcome(folder: RunFolder) -> dict[str, Any]:
    """All that must not depend on interruptions: everything but times."""
    results = json.loads(folder.results.read_bytes())
    networks = [
        {key: value for key, value in network.items() if key not in ("training_seconds", "latency_ms")}
        for network in results["networks"]
    ]
    metrics = [
        json.loads(line) | {"seconds": 0, "digest": ""}
        for line in (folder.path / "metrics.jsonl").read_text().splitlines()
    ]
    weights = {}
    for job in jobs_of(folder.options()):
        state = folder.load(job)
        assert state is not None
        weights[job] = {name: tensor.numpy().tobytes() for name, tensor in state["model"].items()}
    return {
        "networks": networks,
        "data": results["data"],
        "metrics": metrics,
        "weights": weights,
        "model": folder.model.read_bytes(),
        "connectivity": (folder.path / "connectivity.npz").read_bytes(),
    }


def test_the_folder_holds_all_that_the_page_needs(finished: tuple[Options, RunFolder]) -> None:
    options, folder = finished
    assert folder.options() == options
    run = report.read(folder.path)
    assert [network.seed for network in run.sparse] == [network.seed for network in run.dense] == [1, 2]
    assert len(run.epochs) == 16
    assert run.connectivity is not None
    assert run.connectivity.epochs.tolist() == [0, 1, 2, 3, 4]
    assert report.write(folder.path, folder.path / "page.html").exists()


def test_what_was_measured_adds_up(finished: tuple[Options, RunFolder], dataset: Dataset) -> None:
    _, folder = finished
    for network in json.loads(folder.results.read_bytes())["networks"]:
        sparse = network["network"] == "sparse"
        layers = network["layers"]
        assert [layer["name"] for layer in layers] == ["linear1", "linear2", "output"]
        assert network["test_accuracy"] == network["test_correct"] / len(dataset.test)
        assert network["noise"][0] == {"sigma": 0.0, "accuracy": network["test_accuracy"]}
        assert network["connections"] == sum(layer["connections"] for layer in layers) == network["macs_per_sample"]
        assert network["parameters"] == network["connections"] + 16 + 16 + 3
        assert network["weight_bytes"] == network["gradient_bytes"] == 4 * network["parameters"]
        assert network["optimizer_bytes"] >= 2 * network["weight_bytes"]  # Adam: two moments
        assert (network["index_bytes"] > 0) == sparse
        assert layers[0]["connections"] == (round(0.3 * 6 * 16) if sparse else 96)
        assert layers[0]["active_fraction"] <= (0.5 if sparse else 1)
        assert layers[2]["active_fraction"] is None
        for layer in layers:
            assert sum(layer["fan_in"]["counts"]) == layer["out_features"]
            assert sum(layer["fan_out"]["counts"]) == layer["in_features"]


def test_finished_networks_keep_their_weights_and_drop_what_training_needed(
    finished: tuple[Options, RunFolder],
) -> None:
    _, folder = finished
    for name in os.listdir(folder.path / "checkpoint"):
        if name != "start.json":
            saved = torch.load(folder.path / "checkpoint" / name, weights_only=True)
            assert sorted(saved["state"]) == ["connectivity", "finished", "history", "model", "result"]


def test_no_twin_leaves_it_out(dataset: Dataset, options: Options, tmp_path: Path) -> None:
    folder = train(replace(options, twin=False, epochs=1), dataset, tmp_path / "run")
    assert [network["network"] for network in json.loads(folder.results.read_bytes())["networks"]] == ["sparse"]


def test_a_mistake_leaves_no_folder(dataset: Dataset, options: Options, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="from 1 to 16, got 17"):
        train(replace(options, activation="topk:17"), dataset, tmp_path / "run")
    with pytest.raises(InputError, match="device must be one that this machine has"):
        train(replace(options, device="abacus"), dataset, tmp_path / "run")
    assert os.listdir(tmp_path) == []


def test_threads_are_given_back(dataset: Dataset, options: Options, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    train(replace(options, threads=threads + 1, epochs=1), dataset, tmp_path / "run")
    assert torch.get_num_threads() == threads


def test_resuming_a_finished_run_changes_nothing_and_restores_what_is_missing(
    finished: tuple[Options, RunFolder],
) -> None:
    _, folder = finished
    before, results = outcome(folder), folder.results.read_bytes()
    for lost in (folder.results, folder.model, folder.connectivity, folder.path / "config.toml"):
        lost.unlink()
    resume(folder.path)
    assert outcome(folder) == before
    assert json.loads(folder.results.read_bytes())["networks"] == json.loads(results)["networks"]


class StopAt(Watch):
    """Presses Ctrl-C after an epoch, or in the midst of one."""

    def __init__(self, job: Job, epoch: int, step: int | None = None) -> None:
        self.where = (job, epoch, step)

    def step(self, job: Job, epoch: int, step: int, loss: torch.Tensor) -> None:
        if (job, epoch, step) == self.where:
            raise KeyboardInterrupt

    def epoch(self, job: Job, epoch: Epoch) -> None:
        if (job, epoch.epoch, None) == self.where:
            raise KeyboardInterrupt

    def measuring(self, job: Job) -> None:
        if (job, 0, None) == self.where:
            raise KeyboardInterrupt


def test_an_interrupted_run_ends_like_one_that_was_not(finished: tuple[Options, RunFolder], tmp_path: Path) -> None:
    options, whole = finished
    stops = [
        StopAt(Job("sparse", 1), 1, 2),
        StopAt(Job("sparse", 1), 2),
        StopAt(Job("sparse", 1), 4, 5),
        StopAt(Job("sparse", 1), 0),
        StopAt(Job("dense", 1), 4),
        StopAt(Job("dense", 2), 3, 1),
    ]
    with pytest.raises(KeyboardInterrupt):
        train(options, load_data(options), tmp_path / "run", stops[0])
    for stop in stops[1:]:
        with pytest.raises(KeyboardInterrupt):
            resume(tmp_path / "run", stop)
    assert outcome(resume(tmp_path / "run")) == outcome(whole)


_KILLED = """
import os, signal, sys
from gossamer.cli import main
before, left = sys.argv[1] == "before", int(sys.argv[2])
replace = os.replace
def deadly(*paths):
    global left
    left -= 1
    if left == 0 and before:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*paths)
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
os.replace = deadly
sys.exit(main(sys.argv[3:]))
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_killed_run_ends_like_one_that_was_not(finished: tuple[Options, RunFolder], tmp_path: Path) -> None:
    options, whole = finished
    run = tmp_path / "run"
    start = ["train", options.data, "--target=kind", "--hidden=16,16", "--density=0.3", "--dropout=0.1", f"--out={run}"]
    start += [
        "--allocate=uniform",
        "--activation=topk:8",
        "--epochs=4",
        "--batch-size=20",
        "--learning-rate=0.01",
        "--seed=1",
    ]
    start += ["--seeds=2", "--threads=1", "--quiet"]
    kills = [("after", 3), ("before", 3), ("after", 4), ("before", 7), ("after", 5), ("before", 2)]
    for number, (when, count) in enumerate(kills):
        words = start if number == 0 else ["train", "--resume", str(run), "--quiet"]
        done = subprocess.run([sys.executable, "-c", _KILLED, when, str(count), *words], capture_output=True, text=True)
        assert done.returncode == -signal.SIGKILL, done.stderr
    assert outcome(resume(run)) == outcome(whole)
    assert not list(run.rglob("*.partial"))


def test_a_full_disk_leaves_a_run_that_can_go_on(
    finished: tuple[Options, RunFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, whole = finished
    fsync, left = os.fsync, 11

    def full(file: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(file)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(InputError, match="can't be written: No space left"):
            train(options, load_data(options), tmp_path / "run")
    assert outcome(resume(tmp_path / "run")) == outcome(whole)


def test_one_process_at_a_time(finished: tuple[Options, RunFolder]) -> None:
    _, folder = finished
    with folder.locked(), pytest.raises(InputError, match="is in use by another process"):
        resume(folder.path)


def test_other_data_is_refused(dataset: Dataset, options: Options, table: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.csv"
    copy.write_text(table.read_text())
    with pytest.raises(KeyboardInterrupt):
        train(replace(options, data=str(copy)), dataset, tmp_path / "run", StopAt(Job("sparse", 0), 1))
    lines = copy.read_text().splitlines()
    copy.write_text("\n".join(lines[:-3]))
    with pytest.raises(InputError, match=r"is not the data of the run in .*: its rows"):
        resume(tmp_path / "run")


def test_a_checkpoint_of_another_network_is_refused(finished: tuple[Options, RunFolder], tmp_path: Path) -> None:
    options, _ = finished
    job = Job("sparse", 1)
    with pytest.raises(KeyboardInterrupt):
        train(options, load_data(options), tmp_path / "run", StopAt(job, 2))
    folder = RunFolder.open(tmp_path / "run")
    whole = folder.load(job)
    assert whole is not None

    def optimizer(name: str, change: Any) -> dict[str, Any]:
        entries = dict(whole["optimizer"]["state"])
        entries[0] = entries[0] | {name: change(entries[0][name])}
        return whole | {"optimizer": whole["optimizer"] | {"state": entries}}

    wrong = {
        "shape": optimizer("exp_avg", lambda moment: moment[:-1]),
        "must have shape": optimizer("exp_avg_sq", lambda moment: moment.double()),
        "finite": optimizer("exp_avg", lambda moment: moment * torch.nan),
        "must be a number": optimizer("step", lambda step: step.expand(3)),
        "is incomplete": whole | {"optimizer": whole["optimizer"] | {"state": {0: whole["optimizer"]["state"][0]}}},
        "other groups": whole | {"optimizer": whole["optimizer"] | {"param_groups": []}},
        "it has 9 epochs, the run trains 4": whole
        | {"history": [whole["history"][0] | {"epoch": i} for i in range(1, 10)]},
        "not numbered": whole | {"history": whole["history"][::-1]},
        "linear1.bias is missing": whole | {"model": {k: v for k, v in whole["model"].items() if k != "linear1.bias"}},
        "connectivity of epoch": whole | {"connectivity": {0: [torch.ones(2), torch.ones(2)]}},
    }
    wrong |= {f"it has no {key}": {k: v for k, v in whole.items() if k != key} for key in whole}
    for reason, state in wrong.items():
        folder.save(job, state)
        with pytest.raises(InputError, match=rf"sparse-1.pt is damaged \(.*{reason}.*Remove it to train this network"):
            resume(folder.path)
    folder.save(job, whole)
    with pytest.raises(InputError, match="enough"):
        resume(folder.path, StopAtOnce())


class StopAtOnce(Watch):
    """Doesn't train."""

    def network(self, job: Job, done: int, steps: int) -> None:
        assert done == 2
        raise InputError("enough")


@pytest.mark.parametrize(
    "changed",
    [
        {"prune": "gap:0.2", "rewire": "none"},
        {"constraint": "sign+gap:0.05", "rewire": "none"},
        {"prune": "gradual:0.1", "rewire": "SET"},
    ],
    ids=str,
)
def test_pruned_and_constrained_runs_are_resumed_bit_for_bit(
    finished: tuple[Options, RunFolder], tmp_path: Path, changed: dict[str, Any]
) -> None:
    options = replace(finished[0], seeds=1, twin=False, **changed)
    whole = train(options, load_data(options), tmp_path / "whole")
    for epoch in (1, 3):
        stopped = tmp_path / f"stopped{epoch}"
        with pytest.raises(KeyboardInterrupt):
            train(options, load_data(options), stopped, StopAt(Job("sparse", 1), epoch))
        assert outcome(resume(stopped)) == outcome(whole)
    assert whole.options() == options
    network = json.loads(whole.results.read_bytes())["networks"][0]
    run = report.read(whole.path)
    assert run.epochs[-1].connections == network["connections"]
    page = report.write(whole.path, whole.path / "page.html").read_text("utf-8")
    assert ("The network was pruned while it was trained" in page) == ("prune" in changed)
    assert next(iter(changed.values())) in (whole.path / "config.toml").read_text()
