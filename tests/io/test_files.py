from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from gossamer import InputError
from gossamer.io.files import lock, read_bytes, read_sealed, remove_partial, write_atomically


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


@pytest.mark.skipif(os.name != "posix", reason="needs links and pipes")
def test_what_is_no_regular_file_is_written_through(tmp_path: Path) -> None:
    write_atomically(Path("/dev/null"), "one")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    for path in (pipe, tmp_path / "to pipe"):
        if path != pipe:
            path.symlink_to("pipe")
        write_atomically(path, "one")
        assert os.read(reader, 99) == b"one"
    os.close(reader)
    assert stat.S_ISFIFO(os.stat(pipe).st_mode)
    with open(tmp_path / "open", "wb") as file:
        file.write(b"before ")
        file.flush()
        write_atomically(Path(f"/dev/fd/{file.fileno()}"), "after")
    assert (tmp_path / "open").read_bytes() == b"before after"


@pytest.mark.skipif(os.name != "posix", reason="needs links")
def test_a_link_stays_and_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "a").write_text("one")
    os.chmod(tmp_path / "far" / "a", 0o640)
    (tmp_path / "link").symlink_to(Path("far") / "a")
    (tmp_path / "dangling").symlink_to(Path("far") / "b")
    for name, target in (("link", "a"), ("dangling", "b")):
        write_atomically(tmp_path / name, "two")
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / "far" / target).read_text() == "two"
    assert stat.S_IMODE(os.stat(tmp_path / "far" / "a").st_mode) == 0o640
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(InputError, match="can't be written: Too many levels"):
        write_atomically(tmp_path / "loop", "one")


def test_names_at_the_limit(tmp_path: Path) -> None:
    write_atomically(tmp_path / ("a" * 255), "one")
    assert os.listdir(tmp_path) == ["a" * 255]
    for name in ("a" * 256, "a\0b"):
        with pytest.raises(InputError, match="can't be written"):
            write_atomically(tmp_path / name, "one")
        with pytest.raises(InputError, match="can't be read"):
            read_bytes(tmp_path / name)
    with pytest.raises(InputError, match=r"can't be read: Is a directory"):
        read_bytes(tmp_path)


def test_an_unreadable_file_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(InputError, match=r"a can't be read: Permission denied$"):
        read_sealed(tmp_path / "a", ". Remove it")
