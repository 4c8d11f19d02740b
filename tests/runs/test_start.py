from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gossamer import InputError
from gossamer.runs import Options, RunFolder
from gossamer.runs.schema import dump
from gossamer.runs.start import read_start


@pytest.fixture
def folder(tmp_path: Path, options: Options) -> RunFolder:
    folder = RunFolder.create(tmp_path / "run", "blobs.csv")
    folder.begin(options, "abc")
    return folder


def test_options_and_fingerprint_come_back(folder: RunFolder, options: Options) -> None:
    again = RunFolder.open(folder.path)
    assert again.options() == options
    assert again.fingerprint() == "abc"


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


def test_a_newer_start_is_refused(folder: RunFolder) -> None:
    start = folder.path / "checkpoint" / "start.json"
    newer = replace(read_start(start, ""), format=2, gossamer="9.9")
    start.write_bytes(dump(newer))
    with pytest.raises(InputError, match=r"start.json has format 2, .* newer gossamer \(9.9\)"):
        folder.options()
