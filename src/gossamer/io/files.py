"""Files that are either whole or not there, and a lock that a killed process leaves open."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from gossamer.errors import InputError

__all__ = ["lock", "remove_partial", "write_atomically", "written"]

_PARTIAL = ".partial"


@contextlib.contextmanager
def written(path: Path, but: str = "") -> Iterator[None]:
    """Turn the operating system's refusal to write ``path`` into an `InputError` that says why, and what remains."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno == errno.ENOSPC:
            with contextlib.suppress(OSError):
                reason += f" ({shutil.disk_usage(path.parent).free / 1e6:.1f} MB free)"
        raise InputError(f"{path} can't be written: {reason}{but}") from error


def write_atomically(path: Path, content: bytes | str) -> None:
    """Replace ``path`` by ``content``: after a crash at any moment the file is the old one or the new one, whole.

    The bytes go to a file beside it, reach the disk, and take the name; last, the folder's entry reaches the disk too.
    """
    data = content.encode() if isinstance(content, str) else content
    partial = path.with_name(f".{path.name}{_PARTIAL}")
    with written(path, ". What was there before is unharmed"):
        try:
            with open(partial, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise
        if os.name == "posix":  # elsewhere a folder can't be opened
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def remove_partial(folder: Path) -> None:
    """Remove what a killed process had begun to write; only for the holder of the lock."""
    for partial in folder.glob(f".*{_PARTIAL}"):
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold ``path`` alone; `InputError` if another process does. The operating system releases it if we are killed."""
    with written(path):
        file = open(path, "a+b")  # noqa: SIM115 - closed below, in every case
    with file:
        try:
            if os.name == "posix":
                import fcntl

                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            else:
                import msvcrt

                file.seek(0)
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK):
                yield  # a file system without locks: better unguarded than unusable
                return
            raise InputError(f"{path.parent} is being trained by another process: wait for it, or stop it") from None
        yield
