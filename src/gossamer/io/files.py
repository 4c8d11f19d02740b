"""Files that are either whole or not there, and a lock that a killed process leaves open."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from gossamer.errors import InputError
from gossamer.io.seal import BrokenSealError, unseal

__all__ = [
    "check_format",
    "is_partial",
    "lock",
    "read_bytes",
    "read_sealed",
    "remove_partial",
    "write_atomically",
    "written",
]

_PARTIAL = ".partial"
_LONGEST = 255  # bytes in a file's name


def read_bytes(path: Path) -> bytes:
    """All bytes of ``path``; `InputError` with the operating system's reason if they can't be read."""
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise InputError(f"{path} can't be read: {reason}") from None


def read_sealed(path: Path, remedy: str = "") -> bytes:
    """All bytes of ``path`` if its seal is whole; `InputError` otherwise, with ``remedy`` if the file is damaged."""
    content = read_bytes(path)
    try:
        return unseal(content)
    except BrokenSealError as error:
        raise InputError(f"{path} is damaged: {error}{remedy}") from None


def check_format(path: Path, version: int, newest: int, writer: object) -> None:
    """Raise `InputError` if the file has a ``version`` above the ``newest`` known; ``writer`` is its gossamer."""
    if version > newest:
        raise InputError(
            f"{path} has format {version}, this gossamer reads up to {newest}: it was written by a newer gossamer "
            f"({writer}). Upgrade to read it"
        )


@contextlib.contextmanager
def written(path: Path, but: str = "") -> Iterator[None]:
    """Turn an `OSError` while ``path`` is written into an `InputError` with the reason and the state of the file."""
    try:
        yield
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            with contextlib.suppress(OSError):
                reason += f" ({shutil.disk_usage(path.parent).free / 1e6:.1f} MB free)"
        raise InputError(f"{path} can't be written: {reason}{but}") from error


def write_atomically(path: Path, content: bytes | str) -> None:
    """Replace ``path`` by ``content``: after a crash at any moment the file is the old one or the new one, whole.

    The bytes go to a file beside it, reach the disk, and take the name; last, the folder's entry reaches the disk too.
    A symbolic link stays, and the file that it names is replaced. A device, a pipe or another thing that is no regular
    file is written to, as are the open files of a process (``/dev/stdout``). A file keeps its mode.
    """
    data = content.encode(errors="replace") if isinstance(content, str) else content
    with written(path, ". The previous file is unharmed"):
        file = _regular(path)
    if file is None:
        with written(path), open(path, "ab") as stream:
            stream.write(data)
        return
    partial = file.with_name(_partial_name(file.name))
    with written(path, ". The previous file is unharmed"):
        try:
            with open(partial, "wb") as stream:
                with contextlib.suppress(FileNotFoundError):
                    os.chmod(partial, stat.S_IMODE(file.stat().st_mode))
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(partial, file)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise
        if os.name == "posix":  # elsewhere a folder can't be opened
            folder = os.open(file.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def _regular(path: Path) -> Path | None:
    """The file that ``path`` names, through all links, whether it is there or not; None if it is no regular file."""
    for _ in range(40):  # as many links as Linux follows
        folder = os.path.realpath(path.parent)
        if folder == "/dev" or folder.startswith("/proc/"):  # /dev/stdout may name a file that somebody holds open
            return None
        path = Path(folder) / path.name
        if not path.is_symlink():
            break
        path = Path(folder) / os.readlink(path)
    else:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return path
    if stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    return path if stat.S_ISREG(mode) else None


def _partial_name(name: str) -> str:
    kept = os.fsencode(name)
    kept = kept if len(kept) < _LONGEST - len(_PARTIAL) else kept[:200]
    return f".{os.fsdecode(kept)}{_PARTIAL}"


def is_partial(path: Path) -> bool:
    """Whether `write_atomically` began ``path`` and was killed."""
    return path.name.startswith(".") and path.name.endswith(_PARTIAL)


def remove_partial(folder: Path) -> None:
    """Remove a file that a killed process had begun to write; only for the holder of the lock."""
    with written(folder):
        for partial in filter(is_partial, folder.iterdir()):
            partial.unlink(missing_ok=True)


@contextlib.contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold ``path`` alone; `InputError` if another process does. The operating system releases it if we are killed.

    filelock is not used: where a file system has no locks, it falls back to a soft lock, a file that outlives a killed
    process and then blocks the folder.
    """
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
            raise InputError(f"{path.parent} is in use by another process: wait for it, or stop it") from None
        yield
