from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from gossamer import InputError
from gossamer.io.files import lock, remove_partial, write_atomically


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_is_replaced(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", "one")
    write_atomically(tmp_path / "a", b"two")
    assert (tmp_path / "a").read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    write_atomically(tmp_path / "a", "one")
    monkeypatch.setattr(os, broken, full_disk)
    with pytest.raises(InputError, match=r"a can't be written: No space left on device \(.* MB free\)"):
        write_atomically(tmp_path / "a", "two")
    assert (tmp_path / "a").read_text() == "one"
    assert os.listdir(tmp_path) == ["a"]


def test_an_interruption_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    write_atomically(tmp_path / "a", "one")
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a", "two")
    assert (tmp_path / "a").read_text() == "one"
    assert os.listdir(tmp_path) == ["a"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere.* can't be written"):
        write_atomically(tmp_path / "nowhere" / "a", "one")


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".a.partial").write_text("hal")
    (tmp_path / "a").write_text("whole")
    remove_partial(tmp_path)
    assert os.listdir(tmp_path) == ["a"]


def test_a_lock_is_held_once_and_then_free(tmp_path: Path) -> None:
    with lock(tmp_path / ".lock"), pytest.raises(InputError, match="another process"), lock(tmp_path / ".lock"):
        pass
    with lock(tmp_path / ".lock"):
        pass


def test_a_file_system_without_locks_is_used_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")

    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", none)
    with lock(tmp_path / ".lock"):
        pass
