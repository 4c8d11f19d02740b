"""A run that is killed, again and again, must end as one that was not: at single file operations, and at any moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tests.campaign.common import Figure, finished_run, options_for, outcome

from gossamer.runs import RunFolder, resume

__all__ = ["kills"]

_WORKER = """
import os, signal, sys
from pathlib import Path
import torch
from tests.campaign.common import options_for
from gossamer.runs import RunFolder, load_data, resume, train

folder, deadly = Path(sys.argv[1]), [int(word) for word in sys.argv[2:]]
options = options_for(folder, 3)
data = load_data(options)

def attempt(left):
    '''Train or resume in a child that is killed at its file operation number ``left``.'''
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    count = 0
    def counted(function):
        def call(*arguments, **named):
            nonlocal count
            count += 1
            if count == left:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **named)
        return call
    for name in ("replace", "fsync", "mkdir", "unlink", "open"):
        setattr(os, name, counted(getattr(os, name)))
    try:
        run = folder / "killed"
        started = (run / "checkpoint" / "start.json").exists()
        resume(run) if started else train(options, data, run)
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)

for left in deadly:
    code = attempt(left)
    print(code, flush=True)
    if code == 0:
        break
"""


def kills(folder: Path, scale: float, seed: int) -> Iterator[Figure]:
    """Kills at single file operations of one process after another, then kills of whole processes at any moment."""
    rng = np.random.default_rng(seed)
    whole = outcome(finished_run(folder, 3))
    killed = folder / "killed"

    figure = Figure("kills at single file operations")
    while figure.trials < max(3, round(150 * scale)):
        points = rng.integers(1, 30, 12).astype(str).tolist()
        done = _started([sys.executable, "-c", _WORKER, str(folder), *points])
        out, error = done.communicate()
        codes = [int(word) for word in out.split()]
        figure.trials += codes.count(-signal.SIGKILL)
        if unexpected := set(codes) - {0, -signal.SIGKILL}:
            figure.failures.append(f"kills at {points}: {unexpected}: {error[-500:]}")
        _compare(figure, killed, whole, f"kills at {points}", folder)
    yield figure

    figure = Figure("kills of whole processes")
    options = options_for(folder, 3)
    words = ["train", options.data, "--target=kind", "--hidden=6", "--density=0.5", "--dropout=0.1", "--epochs=3"]
    words += ["--activation=hoyer:0.6", "--batch-size=16", "--threads=1", "--quiet", "--no-report", f"--out={killed}"]
    while figure.trials < round(20 * scale):
        code, attempts = -signal.SIGKILL, 0
        while code == -signal.SIGKILL and attempts < 4:
            started = (killed / "checkpoint" / "start.json").exists()
            command = ["train", "--resume", str(killed), "--quiet", "--no-report"] if started else words
            process = _started([sys.executable, "-m", "gossamer", *command])
            while not killed.exists() and process.poll() is None:
                time.sleep(0.01)  # imports take seconds, and nothing can be lost in them
            time.sleep(float(rng.uniform(0, 1.0)))
            process.kill()
            _, error = process.communicate()
            code, attempts = process.returncode, attempts + 1
            figure.trials += code == -signal.SIGKILL
        if code not in (0, -signal.SIGKILL):
            figure.failures.append(f"exit code {code}: {error[-500:]}")
        _compare(figure, killed, whole, "kills of whole processes", folder)
    yield figure


def _started(words: list[str]) -> subprocess.Popen[str]:
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def _compare(figure: Figure, killed: Path, whole: object, what: str, folder: Path) -> None:
    """Finish the run, compare it with one that nothing interrupted, and remove it."""
    from gossamer.runs import load_data, train

    try:
        options = options_for(folder, 3)
        started = (killed / "checkpoint" / "start.json").exists()
        end = resume(killed) if started else train(options, load_data(options), killed)
        if outcome(end) != whole:
            figure.failures.append(f"{what}: another outcome")
        RunFolder.create(killed, "x", overwrite=True)
    except Exception as error:
        figure.failures.append(f"{what}: {error!r}")
        import shutil

        shutil.rmtree(killed, ignore_errors=True)
