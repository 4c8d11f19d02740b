from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from gossamer import data
from gossamer.cli import terminal
from gossamer.runs import Options, RunFolder
from gossamer.runs.folder import Job
from gossamer.runs.schema import Network
from gossamer.training import Epoch

JOBS = [Job("sparse", 0), Job("dense", 0)]
OPTIONS = Options(data="wine", hidden=(30,), epochs=4, batch_size=10, threads=1)

RESULT = Network("sparse", 0, 0.915, 0.1, 3, 1, 1, 4, 4, 8, 8, 1.0, 1.0, 12.0, 4, {}, (), ())


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a terminal of 60 columns was told."""
    file = io.StringIO()

    def console(**_: Any) -> Console:
        return Console(file=file, force_terminal=True, width=60, height=30, color_system=None, highlight=False)

    monkeypatch.setattr(terminal, "Console", console)
    return file


def shown(progress: terminal.Progress) -> list[str]:
    """The live lines as they stand."""
    file = io.StringIO()
    Console(file=file, width=60, color_system=None).print(progress._render())
    return [line.rstrip() for line in file.getvalue().splitlines()]


def begun(screen: io.StringIO, clock: list[float], monkeypatch: pytest.MonkeyPatch) -> terminal.Progress:
    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    progress = terminal.Progress()
    progress.begin(RunFolder(Path("runs/wine-1")), OPTIONS, data.load("wine"), JOBS)
    return progress


def test_three_lines_tell_how_far_it_is(screen: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    with begun(screen, clock, monkeypatch) as progress:
        assert "into runs/wine-1" in screen.getvalue()
        progress.network(JOBS[0], 0, 20)
        assert shown(progress)[0] == "sparse, seed 0  (1 of 2)  epoch 1/4"
        for step in range(1, 16):  # the first takes long, the others a second each
            clock[0] += 100 if step == 1 else 1
            progress.step(JOBS[0], 1, step, torch.tensor(0.5))
        head, bar, facts = shown(progress)
        # 65 steps of this network and 80 of the other, which is taken to be as fast
        assert head.split() == ["sparse,", "seed", "0", "(1", "of", "2)", "epoch", "1/4", "2", "min", "left"]
        assert bar == "━" * (60 * 15 // 80)
        assert facts == "loss 0.5000"
        progress.epoch(JOBS[0], Epoch(1, 0.4, 0.9, 0.5, 0.875, 1234, 1.0, 3, 3))
        assert shown(progress)[0].startswith("sparse, seed 0  (1 of 2)  epoch 2/4")
        assert shown(progress)[2].replace("\N{NARROW NO-BREAK SPACE}", " ") == (
            "loss 0.5000   validation 87.5\N{NO-BREAK SPACE}%   1 234 connections"
        )
        progress.measuring(JOBS[0])
        assert shown(progress)[0].endswith("measuring")


@pytest.mark.parametrize(("count", "said"), [(1, "1 epoch in batches of 10"), (4, "4 epochs in batches of 10")])
def test_the_plan_counts_epochs(count: int, said: str) -> None:
    lines = terminal._plan(RunFolder(Path("runs/wine-1")), replace(OPTIONS, epochs=count), data.load("wine"))
    assert lines[2].startswith(said)


def test_a_finished_network_leaves_a_line(screen: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    with begun(screen, [0.0], monkeypatch) as progress:
        progress.network(JOBS[0], 2, 20)
        progress.result(JOBS[0], RESULT)
        assert shown(progress) == [""]
        progress.network(JOBS[1], 0, 20)
        assert shown(progress)[0] == "dense, seed 0  (2 of 2)  epoch 1/4"
    text = screen.getvalue().replace("\N{NO-BREAK SPACE}", " ")
    assert "sparse, seed 0 continues after epoch 2" in text
    assert "sparse, seed 0  91.5 % of the test rows  12 s" in text


def test_nothing_is_wider_than_the_terminal(screen: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    with begun(screen, [0.0], monkeypatch) as progress:
        progress.network(Job("sparse", 123456), 0, 20)
        progress.step(JOBS[0], 1, 1, torch.tensor(float("nan")))
        progress.epoch(JOBS[0], Epoch(1, 0.4, 0.9, 0.5, 0.875, 123_456_789_000, 1.0, 3, 3))
        assert max(map(len, shown(progress))) <= 60


@pytest.mark.skipif(not hasattr(os, "forkpty"), reason="needs a pseudo-terminal")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_leaves_the_cursor_visible(tmp_path: Path, number: int, code: int) -> None:
    ours, theirs = os.openpty()
    words = ["train", "wine", "--epochs=100000", "--threads=1", f"--out={tmp_path / 'run'}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "gossamer", *words],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "80"},
        start_new_session=True,
    )
    os.close(theirs)
    seen = b""
    try:
        while b"/100000" not in seen:
            seen += os.read(ours, 4096)
        process.send_signal(number)
        with contextlib.suppress(OSError):  # how Linux reports that the other side is closed
            while more := os.read(ours, 4096):
                seen += more
        assert process.wait(60) == code
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert seen.rfind(b"\x1b[?25l") < seen.rfind(b"\x1b[?25h")
    assert b"Traceback" not in seen
