from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from gossamer import InputError
from gossamer.runs import Options, RunFolder
from gossamer.runs.folder import Job
from gossamer.training import Epoch

JOB = Job("sparse", 0)
EPOCH = Epoch(1, 0.5, 0.8, 0.6, 0.7, 10, 0.1, 1, 1)


@pytest.fixture
def folder(tmp_path: Path, options: Options) -> RunFolder:
    folder = RunFolder.create(tmp_path / "run", "blobs.csv")
    folder.begin(options, "abc")
    return folder


def test_folders_are_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = [RunFolder.create(None, name).path for name in ("digits", "digits", "my data (1).csv", "..", "été.csv")]
    assert [str(path) for path in made] == [
        str(Path("runs") / name) for name in ("digits-1", "digits-2", "my-data-1-1", "run-1", "été-1")
    ]


def test_a_given_folder_must_be_empty(tmp_path: Path, options: Options) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        RunFolder.create(tmp_path / "file", "x")
    with pytest.raises(InputError, match="must be empty to take a run, it holds 'file'"):
        RunFolder.create(tmp_path, "x")
    RunFolder.create(tmp_path / "new" / "run", "x").begin(options, "abc")
    with pytest.raises(InputError, match="already holds a run: resume it, overwrite it"):
        RunFolder.create(tmp_path / "new" / "run", "x")


def test_a_run_is_overwritten_if_nothing_else_is_there(folder: RunFolder, options: Options) -> None:
    folder.save(JOB, {"history": []})
    with folder.locked(), pytest.raises(InputError, match="another process"):
        RunFolder.create(folder.path, "x", overwrite=True)
    again = RunFolder.create(folder.path, "x", overwrite=True)
    assert os.listdir(again.path) in ([".lock"], [])
    again.begin(options, "abc")
    (again.path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"it holds 'notes.txt'"):
        RunFolder.create(folder.path, "x", overwrite=True)
    assert again.options() == options


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file.run can't be written: Not a directory"):
        RunFolder.create(tmp_path / "file" / "run", "x")


@pytest.mark.parametrize("name", ["nowhere", ""])
def test_what_is_no_run_is_not_opened(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="run must be the folder of a training run"):
        RunFolder.open(tmp_path / name)


def test_a_folder_whose_run_had_not_begun_is_free(tmp_path: Path, options: Options) -> None:
    path = tmp_path / "run"
    (path / "checkpoint").mkdir(parents=True)
    (path / ".lock").touch()
    (path / "checkpoint" / ".start.json.partial").write_text("{")
    with pytest.raises(InputError, match="no run has begun there"):
        RunFolder.open(path)
    RunFolder.create(path, "x").begin(options, "abc")
    (path / ".results.json.partial").write_text("{")
    (path / "checkpoint" / ".sparse-0.pt.partial").write_text("{")
    (path / "config.toml").unlink()
    assert RunFolder.open(path).options() == options
    RunFolder.create(path, "x", overwrite=True)
    assert os.listdir(path) in ([".lock"], [])


def test_foreign_files_beside_checkpoints_are_kept(folder: RunFolder) -> None:
    (folder.path / "checkpoint" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"it holds 'thesis.txt'"):
        RunFolder.create(folder.path, "x", overwrite=True)
    assert (folder.path / "checkpoint" / "thesis.txt").exists()


def test_metrics_grow_and_are_mended_from_the_checkpoints(folder: RunFolder) -> None:
    folder.save(JOB, {"history": [vars(EPOCH)]})
    metrics = folder.path / "metrics.jsonl"
    metrics.write_text('{"network": "sparse", "seed": 0, "epo')
    (folder.path / "checkpoint" / ".dense-0.pt.partial").write_text("half")
    folder.prepare([JOB, Job("dense", 0)])
    folder.add_metrics(JOB, replace(EPOCH, epoch=2))
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert [(line["network"], line["seed"], line["epoch"]) for line in lines] == [("sparse", 0, 1), ("sparse", 0, 2)]
    assert sorted(os.listdir(folder.path / "checkpoint")) == ["sparse-0.pt", "start.json"]
