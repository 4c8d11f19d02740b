from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gossamer.cli import main
from gossamer.runs import RunFolder

QUICK = ["--attack", "pgd:steps=3", "--radius=0.2,0.4", "--sanity=none"]


@pytest.fixture(scope="module")
def trained(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("evaluate") / "a run"
    words = "--target=kind --hidden=12 --epochs=2 --batch-size=32 --threads=1 --density=0.4 --quiet --no-report"
    assert main(["train", str(table), f"--out={path}", *words.split()]) == 0
    return path


@pytest.fixture
def run(trained: Path, one_thread: None) -> Iterator[Path]:
    yield trained
    for name in ("robustness.json", "report.html"):
        (trained / name).unlink(missing_ok=True)


def mistake(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    """The one message of a command that fails, which has no traceback and prints nothing else."""
    code = main([str(word) for word in words])
    out, error = capsys.readouterr()
    assert (code, out) == (2, "")
    assert "Traceback" not in error
    return error


def test_progress_comparison_and_page_are_shown(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run), "--noise=0.5,1", "--uniform-noise=0.5", *QUICK]) == 0
    out, error = capsys.readouterr()
    assert "blobs.csv: 30 of 30 test rows, standard deviations of the columns" in error
    lines = re.findall(r"^(\d+)/12  (?:sparse|dense), seed 0: (.*?)  +\d+\.\d\s%", error, re.MULTILINE)
    assert [int(number) for number, _ in lines] == list(range(1, 13))
    assert [name for _, name in lines[:6]] == [
        "clean", "gaussian 0.5", "gaussian 1", "uniform 0.5", "pgd:steps=3 linf 0.2", "pgd:steps=3 linf 0.4",
    ]  # fmt: skip
    assert re.search(r"s left$", error, re.MULTILINE)
    assert "Accuracy on 30 test rows" in out
    assert re.search(r"^Uniform noise +0\.5 +\d", out, re.MULTILINE)
    assert "not trustworthy: sparse: PGD (steps=3), L∞ was not checked" in out
    assert f"Report: {run / 'report.html'}" in out
    assert 'id="robustness"' in (run / "report.html").read_text("utf-8")


def test_json_prints_one_object_and_quiet_the_folder(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run), "--noise=0.5", "--json", "--no-report"]) == 0
    out, error = capsys.readouterr()
    found = json.loads(out)
    assert error == ""
    assert (found["run"], found["report"], found["rows"]) == (str(run), None, 30)
    assert [(cell["network"], cell["kind"]) for cell in found["cells"]] == [
        ("sparse", "clean"), ("sparse", "noise"), ("dense", "clean"), ("dense", "noise"),
    ]  # fmt: skip
    assert main(["evaluate", str(run), "--noise=0.5", "--quiet", "--no-report"]) == 0
    assert capsys.readouterr() == (f"{run}\n", "")
    assert not (run / "report.html").exists()


def test_what_was_measured_is_not_measured_again(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run), "--noise=0.5", "--rows=20", "--seed=3", "--draws=2", "--no-report"]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(run), "--noise=0.5,2", "--no-report"]) == 0
    error = capsys.readouterr().err
    assert "20 of 30 test rows, standard deviations of the columns, 4 of 6 measurements done before" in error
    assert "1/2  sparse, seed 0: gaussian 2" in error
    assert "leave out --rows" in mistake(capsys, "evaluate", run, "--noise=0.5", "--rows=30")
    assert main(["evaluate", str(run), "--noise=0.5", "--rows=30", "--overwrite", "--quiet", "--no-report"]) == 0


def test_a_process_that_is_killed_continues(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Killed at once after its first results, without a chance to tidy up."""
    command = ["evaluate", str(run), "--corruptions", "--noise=0.5", "--attack=fgsm", "--sanity=none"]
    start = "import sys; from gossamer.cli import main; sys.exit(main(sys.argv[1:]))"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, "-c", start, *command, "--quiet"], env=environment) as process:
        while not (run / "robustness.json").exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    part = RunFolder.open(run).read_robustness()
    assert part is not None
    assert len(part.cells) >= 1
    assert main([*command, "--json", "--no-report"]) == 0
    continued = json.loads(capsys.readouterr().out)
    assert main([*command, "--json", "--no-report", "--overwrite"]) == 0
    whole = json.loads(capsys.readouterr().out)

    def plain(found: dict[str, Any]) -> list[Any]:
        return [{key: value for key, value in cell.items() if key != "seconds"} for cell in found["cells"]]

    assert plain(continued) == plain(whole)
    assert len(whole["cells"]) == 2 * (2 + 10 + 2)


def test_ctrl_c_keeps_what_was_measured(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gossamer.runs.measurement._changed", interrupt)
    assert main(["evaluate", str(run), "--noise=0.5"]) == 130
    error = capsys.readouterr().err
    assert "stopped. Finished measurements are kept" in error
    assert f"continue with the same command: gossamer evaluate '{run}' …" in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--noise=a"], "must be numbers with commas between, such as 0.1,0.2: 'a'"),
        (["--noise=-1"], "noise must be in (0, inf), got -1.0"),
        (["--corruptions", "fog"], "corruptions must be one of 'all', 'gaussian_noise'"),
        (["--corruptions", "jpeg"], "got 'jpeg', which is for images, and the rows are a table"),
        (["--attack", "deepfool"], "attack must be fgsm"),
        (["--attack", "pgd:radius=1"], "attack must leave norm and radius to their own options"),
        (["--attack", "pgd", "--norm=l7"], "norm must be one of 'linf', 'l2', got 'l7'"),
        (["--noise=1", "--radius=0.1"], "--radius must come with --attack"),
        (["--noise=1", "--norm=l2", "--sanity=full"], "--norm and --sanity must come with --attack"),
        (["--rows=31"], "rows must be at most the 30 test rows of the run, got 31"),
        (["--threads=0"], "threads must be a whole number from 1"),
        (["--device=abacus"], "device must be one that this machine has"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    run: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in mistake(capsys, "evaluate", run, *words)
    assert not (run / "robustness.json").exists()


def test_folders_that_hold_no_run_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "doesn't exist" in mistake(capsys, "evaluate", tmp_path / "nowhere")
    assert "no run has begun there" in mistake(capsys, "evaluate", tmp_path)


def test_help_names_every_condition(capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(SystemExit):
        main(["evaluate", "--help"])
    out = capsys.readouterr().out
    for word in ("--noise", "--uniform-noise", "--corruptions", "--attack", "--norm", "--radius", "defocus_blur"):
        assert word in out
