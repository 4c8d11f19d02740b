from __future__ import annotations

import io
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gossamer import InputError
from gossamer.io.seal import seal
from gossamer.runs import Options, RunFolder
from gossamer.runs.folder import Job
from gossamer.training import Epoch

JOB = Job("sparse", 0)
EPOCH = Epoch(1, 0.5, 0.8, 0.6, 0.7, 10, 0.1, 1, 1)


def write(path: Path, content: object) -> None:
    """A checkpoint with a seal that is whole."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    path.write_bytes(seal(buffer.getvalue()))


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


def test_options_and_fingerprint_come_back(folder: RunFolder, options: Options) -> None:
    again = RunFolder.open(folder.path)
    assert again.options() == options
    assert again.fingerprint() == "abc"


@pytest.mark.parametrize("name", ["nowhere", ""])
def test_what_is_no_run_is_not_opened(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="run must be the folder of a training run"):
        RunFolder.open(tmp_path / name)


def test_damaged_files_are_named(folder: RunFolder) -> None:
    (folder.path / "config.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"config.toml is damaged or was edited.*remove .*config.toml and resume"):
        folder.options()
    (folder.path / "checkpoint" / "start.json").write_text("[]")
    with pytest.raises(InputError, match=r"start.json is damaged"):
        folder.fingerprint()


def test_an_edited_configuration_is_refused_with_what_changed(folder: RunFolder, options: Options) -> None:
    config = folder.path / "config.toml"
    whole = config.read_text()
    config.write_text(whole.replace("epochs = 5", "epochs = 3"))
    with pytest.raises(InputError, match=r"was edited: epochs is 3 and was 5. A run keeps the options"):
        folder.options()
    config.write_text(whole + "# mine\n")
    with pytest.raises(InputError, match=r"was edited, though no option changed"):
        folder.options()
    for text in (whole + "speed = 3\n", whole.replace("epochs = 5", "epochs = 0"), "x = " + "[" * 100_000):
        config.write_text(text)
        with pytest.raises(InputError, match=r"is damaged or was edited"):
            folder.options()
    config.unlink()
    assert folder.options() == options
    assert config.read_text() == whole


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


def test_a_checkpoint_comes_back(folder: RunFolder) -> None:
    assert folder.load(JOB) is None
    state = {"model": {"w": torch.arange(3)}, "history": [], "connectivity": {0: [torch.ones(2)]}}
    folder.save(JOB, state)
    back = folder.load(JOB)
    assert back is not None
    assert torch.equal(back["model"]["w"], torch.arange(3))
    assert torch.equal(back["connectivity"][0][0], torch.ones(2))


@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "list", "stateless"])
def test_a_damaged_checkpoint_is_refused_with_a_remedy(folder: RunFolder, damage: str) -> None:
    folder.save(JOB, {"model": {"w": torch.arange(1000)}})
    path = folder.path / "checkpoint" / "sparse-0.pt"
    if damage in ("list", "stateless"):
        write(path, [1] if damage == "list" else {"format": 1})
    else:
        content = path.read_bytes()
        path.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "noise": b"\x00garbage" * 99}[damage])
    with pytest.raises(InputError, match=r"sparse-0.pt is damaged \([^.]+\)\. Remove it to train this network again"):
        folder.load(JOB)


def test_a_checkpoint_never_runs_code(folder: RunFolder, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "trapped"),)

    write(folder.checkpoint(JOB), {"format": 1, "state": {"model": Trap()}})
    with pytest.raises(InputError, match="is damaged"):
        folder.load(JOB)
    assert not (tmp_path / "trapped").exists()


def test_a_newer_checkpoint_is_refused(folder: RunFolder) -> None:
    write(folder.checkpoint(JOB), {"format": 2, "gossamer": "9.9", "state": {}})
    with pytest.raises(InputError, match=r"written by a newer gossamer \(9.9\)"):
        folder.load(JOB)


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
