from __future__ import annotations

import argparse
import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from gossamer.bench import Bench, Plan, command
from gossamer.errors import InputError

SMALL = ["--widths", "32", "--densities", "0.5,0.1", "--batches", "1", "--threads", "1"]


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser("gossamer")
    command.add_parser(parser.add_subparsers(dest="command"))
    return parser.parse_args(["bench", *words])


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    quick = Plan.quick
    monkeypatch.setattr(Plan, "quick", staticmethod(lambda **changes: quick(rounds=1, seconds=0.0, **changes)))


def test_tables_and_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new" / "folder"
    command.bench(parsed(*SMALL, "--only", "layer,spspmm", "--out", str(folder)))
    shown = capsys.readouterr().out
    assert "Layer, 32 → 32, forward" in shown
    assert "Sparse input into a sparse layer, 32 → 32" in shown
    assert "Break-even density" in shown
    content = json.loads((folder / "bench.json").read_text())
    assert {cell["task"] for cell in content["cells"]} == {"layer", "spspmm"}
    assert content["command"].startswith("gossamer bench --only layer,spspmm --widths 32 --densities 0.5,0.1")
    assert content["date"]
    assert (folder / "bench.md").read_text().startswith("# Break-even map")
    written = {"bench.json", "bench.md"} | ({"bench.svg"} if importlib.util.find_spec("matplotlib") else set())
    assert {path.name for path in folder.iterdir()} == written
    assert all(str(folder / name) in shown for name in written)


def test_json_alone(capsys: pytest.CaptureFixture[str]) -> None:
    command.bench(parsed(*SMALL, "--only", "layer", "--dtype", "float64", "--json"))
    out, err = capsys.readouterr()
    content = json.loads(out)
    assert err == ""
    assert content["plan"]["dtype"] == "float64"
    assert content["machine"]["threads"] == 1


def test_quiet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.bench(parsed(*SMALL, "--only", "layer", "--quiet", "--out", str(tmp_path)))
    assert capsys.readouterr().out.splitlines() == [str(path) for path in sorted(tmp_path.iterdir())]


def test_without_matplotlib_there_is_no_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, bench: Bench
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    paths = command._write(bench, tmp_path)
    assert [path.name for path in paths] == ["bench.json", "bench.md"]
    assert "gossamer[plot]" in capsys.readouterr().err
    assert "bench.svg" not in (tmp_path / "bench.md").read_text()


def test_quick_and_full(monkeypatch: pytest.MonkeyPatch, bench: Bench) -> None:
    plans: list[Plan] = []

    def watched(plan: Plan, threads: int | None, shown: bool) -> Bench:
        plans.append(plan)
        return bench

    monkeypatch.setattr(command, "_watched", watched)
    for words in ([], ["--quick"], ["--full"], ["--full", "--widths", "64"]):
        command.bench(parsed(*words, "--quiet"))
    assert [plan.widths for plan in plans] == [(1024,), (1024,), (1024, 4096), (64,)]
    assert plans[3].spspmm_widths == (64,)


def test_ctrl_c_shows_and_writes_what_there_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, bench: Bench
) -> None:
    from dataclasses import replace

    monkeypatch.setattr("gossamer.bench.runner.run", lambda *_, **__: replace(bench, stopped=True))
    with pytest.raises(KeyboardInterrupt):
        command.bench(parsed("--out", str(tmp_path)))
    assert "Layer" in capsys.readouterr().out
    assert json.loads((tmp_path / "bench.json").read_text())["stopped"] is True


@pytest.mark.parametrize(
    "words",
    [["--quick", "--full"], ["--widths", "a,b"], ["--densities", ""], ["--batches", "1.5"], ["--only", "layer,foo"]],
)
def test_words_that_make_no_sense(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(*words)
    assert "bench: error: argument" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--widths", "1"], "widths must be a whole number of at least 2"),
        (["--densities", "1.5"], r"densities must be in \(0, 1\), got 1.5"),
        (["--dtype", "int8"], "dtype must be one of float32, float64, bfloat16"),
        (["--threads", "0"], "threads must be"),
    ],
)
def test_values_that_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        command.bench(parsed(*words))


def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")

    def never(*_: Any, **__: Any) -> Bench:
        raise AssertionError

    monkeypatch.setattr("gossamer.bench.runner.run", never)
    with pytest.raises(InputError, match="out must be a folder"):
        command.bench(parsed("--out", str(tmp_path / "file")))


def test_the_command_line_has_it(capsys: pytest.CaptureFixture[str]) -> None:
    from gossamer.cli import main

    assert main(["bench", *SMALL, "--only", "layer", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cells"]
    assert main(["bench", "--densities", "2"]) == 2
    assert "densities must be in (0, 1)" in capsys.readouterr().err
