"""A file, or standard input, as bytes: compressed or not, with the format by its name or its first bytes."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from gossamer.data.formats import check_file, reading
from gossamer.errors import InputError

__all__ = ["COMPRESSED", "STDIN", "SUFFIXES", "TEXT", "Source", "open_source"]

STDIN = "-"
TEXT = (".csv", ".tsv", ".tab", ".txt", ".dat", ".data")
SUFFIXES = (*TEXT, ".xlsx", ".parquet", ".npz", ".svmlight", ".libsvm")
COMPRESSED = (".gz", ".bz2", ".xz", ".zip")


@dataclass(frozen=True, eq=False)
class Source:
    """The ``content`` of a file, decompressed; ``path`` and ``name`` for messages, ``suffix`` for its form."""

    path: str
    name: str
    suffix: str
    content: bytes

    def open(self) -> io.BytesIO:
        """The content as a file."""
        return io.BytesIO(self.content)


def open_source(path: str | os.PathLike[str]) -> Source:
    """Open the file ``path``, or standard input for ``-``; `InputError` if it can't be read or has no rows."""
    if os.fspath(path) == STDIN:
        content = sys.stdin.buffer.read()
        if not content:
            raise InputError("standard input must have rows, got nothing")
        content, suffix = _unpacked("standard input", content, _packing(content))
        return Source("standard input", "stdin", suffix or _form(content), content)
    path = Path(path).expanduser()
    suffix = path.suffix.lower()
    packed = suffix in COMPRESSED
    inner = Path(path.stem).suffix.lower() if packed else suffix
    if not path.is_dir() and inner not in SUFFIXES and not (suffix == ".zip" and not inner):
        raise InputError(
            f"{path} must end in one of {', '.join(SUFFIXES)}, or in one of them and {', '.join(COMPRESSED)}, "
            f"got {path.suffix or 'no suffix'!r}"
        )
    check_file(path)
    with reading(path, suffix):
        content = path.read_bytes()
        content, found = _unpacked(path, content, suffix if packed else "")
    if not content:
        raise InputError(f"{path} must have rows, got an empty file")
    return Source(str(path), path.name, inner or found, content)


def _unpacked(path: Path | str, content: bytes, packing: str) -> tuple[bytes, str]:
    """``content`` decompressed, and the suffix of the file in an archive."""
    if packing == ".zip":
        with reading(path, packing), zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [name for name in archive.namelist() if not name.endswith("/") and "__MACOSX" not in name]
            if len(members) != 1:
                raise InputError(f"{path} must hold one file, got {len(members)}: unpack it and name one of them")
            suffix = Path(members[0]).suffix.lower()
            if suffix not in SUFFIXES:
                raise InputError(f"{path} must hold a file ending in one of {', '.join(SUFFIXES)}, got {members[0]!r}")
            return archive.read(members[0]), suffix
    unpack = {".gz": gzip.decompress, ".bz2": bz2.decompress, ".xz": lzma.decompress}.get(packing)
    if unpack is None:
        return content, ""
    with reading(path, packing):
        try:
            return unpack(content), ""
        except lzma.LZMAError as error:
            raise ValueError(str(error)) from error


def _packing(content: bytes) -> str:
    for magic, packing in ((b"\x1f\x8b", ".gz"), (b"BZh", ".bz2"), (b"\xfd7zXZ\x00", ".xz")):
        if content.startswith(magic):
            return packing
    return ".zip" if content.startswith(b"PK\x03\x04") and not _form(content) else ""


def _form(content: bytes) -> str:
    """Return the format by the first bytes: text with separators by default, "" for an archive of another format."""
    if content.startswith(b"PAR1"):
        return ".parquet"
    if not content.startswith(b"PK\x03\x04"):
        return ".csv"
    with reading("standard input", "zip"), zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
    if "[Content_Types].xml" in names:
        return ".xlsx"
    return ".npz" if names and all(name.endswith(".npy") for name in names) else ""
