from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gossamer.errors import InputError
from gossamer.studies import trials
from gossamer.studies.trials import FILE, Record, Trial, Watch

SIX = [Trial(variant, "digits", seed, {"epochs": 3}) for variant in ("SET", "RigL") for seed in range(3)]


def square(trial: Trial, log: Path | None = None) -> dict[str, Any]:
    if log is not None:
        with log.open("a") as file:
            file.write(f"{trial}\n")
    return {"square": trial.seed**2, "pid": os.getpid(), "threads": torch.get_num_threads()}


def test_records_come_back_in_the_order_of_the_trials(tmp_path: Path) -> None:
    records = trials.run(SIX, square, tmp_path)
    assert [(r["variant"], r["seed"], r["square"]) for r in records] == [(t.variant, t.seed, t.seed**2) for t in SIX]
    assert trials.read(tmp_path / FILE) == records
    assert all(record["seconds"] >= 0 and record["machine"] for record in records)


def test_finished_trials_are_not_carried_out_again(tmp_path: Path) -> None:
    log = tmp_path / "log"
    first = trials.run(SIX[:4], partial(square, log=log), tmp_path)
    everything = trials.run(SIX[::-1], partial(square, log=log), tmp_path)
    assert len(log.read_text().splitlines()) == 6
    assert everything[::-1][:4] == first
    assert trials.run(SIX[2:3], partial(square, log=log), tmp_path) == [first[2]]


def test_a_torn_last_line_is_dropped(tmp_path: Path) -> None:
    records = trials.run(SIX[:2], square, tmp_path)
    path = tmp_path / FILE
    path.write_bytes(path.read_bytes()[:-9])
    log = tmp_path / "log"
    again = trials.run(SIX[:2], partial(square, log=log), tmp_path)
    assert log.read_text().splitlines() == [str(SIX[1])]
    assert again[0] == records[0]
    assert len(path.read_text().splitlines()) == 2


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    trials.run(SIX[:2], square, tmp_path)
    path = tmp_path / FILE
    path.write_text("{}\n" + path.read_text())
    with pytest.raises(InputError, match=r"trials\.jsonl, line 1 is no record"):
        trials.run(SIX, square, tmp_path)


def test_a_changed_definition_is_noticed(tmp_path: Path) -> None:
    trials.run(SIX, square, tmp_path)
    with pytest.raises(InputError, match="SET on digits, seed 0, with other settings"):
        trials.run([Trial("SET", "digits", 0, {"epochs": 4})], square, tmp_path)
    trials.run([Trial("SET", "wine", 0, {"epochs": 4})], square, tmp_path)  # another cell may have any


@pytest.mark.parametrize("settings", [{"a": (1, 2), "b": None}, {"b": None, "a": [1, 2]}])
def test_order_and_kind_of_sequence_do_not_matter_to_the_key(settings: Mapping[str, Any], tmp_path: Path) -> None:
    assert Trial("a", "b", 0, settings).key == Trial("a", "b", 0, {"a": [1, 2], "b": None}).key
    trials.run([Trial("a", "b", 0, settings)], square, tmp_path)
    assert len(trials.run([Trial("a", "b", 0, {"a": [1, 2], "b": None})], square, tmp_path)) == 1


def test_equal_trials_and_odd_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="same one twice"):
        trials.run([SIX[0], SIX[0]], square, tmp_path)
    with pytest.raises(InputError, match="values that JSON has"):
        trials.run([Trial("a", "b", 0, {"x": object()})], square, tmp_path)
    with pytest.raises(InputError, match="jobs must be"):
        trials.run(SIX, square, tmp_path, jobs=0)


def test_outcomes_are_plain_and_leave_the_trials_names_alone(tmp_path: Path) -> None:
    outcome = {"a": np.float32(0.5), "b": torch.arange(2), "c": float("nan"), "d": (np.int64(1), {"e": np.inf})}
    [record] = trials.run(SIX[:1], lambda trial: outcome, tmp_path)
    assert {name: record[name] for name in "abcd"} == {"a": 0.5, "b": [0, 1], "c": None, "d": [1, {"e": None}]}
    with pytest.raises(InputError, match="leave the name 'seed'"):
        trials.run(SIX[1:2], lambda trial: {"seed": 3}, tmp_path)


def test_a_failure_names_its_trial_and_loses_nothing(tmp_path: Path) -> None:
    def fail(trial: Trial) -> dict[str, Any]:
        if trial.seed == 1:
            raise InputError("x must be good, got bad")
        return {}

    with pytest.raises(InputError, match="SET on digits, seed 1: x must be good"):
        trials.run(SIX, fail, tmp_path)
    assert len(trials.read(tmp_path / FILE)) == 1


def test_processes_share_the_threads(tmp_path: Path, threads: None) -> None:
    torch.set_num_threads(2)
    records = trials.run(SIX, square, tmp_path, jobs=2)
    assert [record["square"] for record in records] == [0, 1, 4, 0, 1, 4]
    assert os.getpid() not in {record["pid"] for record in records}
    assert {record["threads"] for record in records} == {1}


def test_whoever_watches_is_told(tmp_path: Path) -> None:
    told: list[str] = []

    class Told(Watch):
        def begin(self, trials: Any, done: Any, jobs: int) -> None:
            told.append(f"{len(trials)} {len(done)} {jobs}")

        def start(self, trial: Trial) -> None:
            told.append(str(trial))

        def end(self, trial: Trial, record: Record) -> None:
            told.append(str(record["square"]))

    trials.run(SIX[:1], square, tmp_path)
    trials.run(SIX[:2], square, tmp_path, watch=Told())
    assert told == ["2 1 1", "SET on digits, seed 1", "1"]


def test_where_filters_records(tmp_path: Path) -> None:
    records = trials.run(SIX, square, tmp_path)
    assert [r["seed"] for r in trials.where(records, variant="RigL", square=4)] == [2]


SCRIPT = """
import signal, sys, time
from pathlib import Path
from gossamer.studies import trials
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job would ignore it
def slow(trial):
    if trial.seed == 2:
        print("ready", flush=True)
        time.sleep(60)
    return {}
trials.run([trials.Trial("a", "b", seed) for seed in range(3)], slow, Path(sys.argv[1]))
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_loses_only_the_trial_under_way(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        start = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=30)
    assert "KeyboardInterrupt" in error
    assert time.monotonic() - start < 30
    lines = (tmp_path / FILE).read_text().splitlines()
    assert [json.loads(line)["seed"] for line in lines] == [0, 1]
