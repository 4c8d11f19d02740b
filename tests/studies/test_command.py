from __future__ import annotations

import argparse
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gossamer import studies
from gossamer.cli import main
from gossamer.errors import InputError
from gossamer.studies import command


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser("gossamer")
    command.add_parser(parser.add_subparsers(dest="command"))
    return parser.parse_args(["study", *words])


def test_studies_that_are_there_offer_all_that_a_study_needs() -> None:
    for name in studies.names():
        module = studies.load(name)
        assert module.TITLE
        assert module.CLAIM
        assert {"quick", "full"} <= set(module.PRESETS)
        assert callable(module.run)


def test_a_study_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match="study must be one of"):
        studies.load("alchemy")


def test_list(toy: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    command.study(parsed())
    shown = capsys.readouterr().out
    assert "toy  Toy study" in shown
    assert "A claim (Nobody 2020)." in shown
    command.study(parsed("--json"))
    assert json.loads(capsys.readouterr().out)["toy"]["presets"] == {"quick": "a moment", "full": "two"}


def test_files_verdicts_and_tables(toy: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new"
    command.study(parsed("toy", "--out", str(folder), "--seeds", "2", "--threads", "1"))
    out, err = capsys.readouterr()
    assert "holds: Ours is better." in out
    assert f"Page: {folder / 'study.html'}" in out
    assert "4/4  theirs on digits, seed 1" in err
    content = json.loads((folder / "study.json").read_text())
    assert content["command"] == f"gossamer study toy --preset quick --seeds 2 --out {folder} --threads 1"
    assert content["machine"]["threads"] == 1
    assert content["date"]
    assert len((folder / "trials.jsonl").read_text().splitlines()) == 4


def test_quiet_json_and_data(toy: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.study(parsed("toy", "--out", str(tmp_path), "--quiet", "--data", "wine, digits"))
    assert capsys.readouterr() == (f"{tmp_path / 'study.html'}\n", "")
    command.study(parsed("toy", "--out", str(tmp_path), "--json", "--data", "wine,digits"))
    out, err = capsys.readouterr()
    assert json.loads(out)["folder"] == str(tmp_path)
    assert err == ""
    assert len((tmp_path / "trials.jsonl").read_text().splitlines()) == 12


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("alchemy",), "study must be one of"),
        (("toy", "--preset", "huge"), "preset must be one of 'quick', 'full'"),
        (("toy", "--jobs", "0"), "jobs must be"),
        (("toy", "--seeds", "0"), "seeds must be"),
        (("toy", "--threads", "0"), "threads must be"),
    ],
)
def test_mistakes_are_told(
    toy: ModuleType, words: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", *words, "--out", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_a_study_with_data_of_its_own_takes_no_other(toy: Any, tmp_path: Path) -> None:
    full = toy.run
    toy.run = lambda preset, folder, *, seeds, jobs, watch: full(preset, folder, seeds=seeds, jobs=jobs, watch=watch)
    with pytest.raises(InputError, match="toy has fixed data, got 'wine'"):
        command.study(parsed("toy", "--data", "wine", "--out", str(tmp_path)))
    command.study(parsed("toy", "--out", str(tmp_path)))


def test_ctrl_c_says_how_to_go_on(toy: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    toy.run = stop
    assert main(["study", "toy", "--out", str(tmp_path / "a b"), "--jobs", "2"]) == 130
    command = f"gossamer study toy --preset quick --out '{tmp_path}/a b' --jobs 2"
    assert f"Continue with: {command}" in capsys.readouterr().err
