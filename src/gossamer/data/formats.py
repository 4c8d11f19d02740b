"""Readers of the files that data sets come in: bytes to arrays, and `InputError` for a file that is cut or damaged."""

from __future__ import annotations

import csv
import gzip
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from gossamer.errors import InputError

__all__ = ["check_file", "numeric", "read_idx", "read_matlab", "read_npz", "read_numbers", "read_sheet", "reading"]

_DAMAGE = (
    EOFError,
    IndexError,
    KeyError,
    MemoryError,  # a damaged header may ask for any size
    NotImplementedError,
    OSError,
    OverflowError,
    RuntimeError,
    SyntaxError,  # Pillow, for a broken PNG
    TypeError,
    ValueError,
    csv.Error,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


@contextmanager
def reading(path: Path | str, form: str) -> Iterator[None]:
    """Run a reader of ``path``; any error on a damaged file becomes an `InputError` that names the file."""
    try:
        yield
    except InputError:
        raise
    except _DAMAGE as error:
        reason = str(error).strip().removeprefix("Error tokenizing data. C error: ")
        raise InputError(f"{path} must be a whole {form} file, got one that is cut or damaged: {reason}") from error


def check_file(path: Path) -> None:
    """`InputError` unless ``path`` is a file with something in it that may be read."""
    try:
        if path.is_dir():
            raise InputError(f"{path} must be a file, got a directory")
        with path.open("rb") as file:
            empty = not file.read(1)
    except FileNotFoundError:
        raise InputError(f"{path} must be a file that exists, got none there") from None
    except OSError as error:
        raise InputError(f"{path} must be a file that may be read: {error.strerror or error}") from error
    if empty:
        raise InputError(f"{path} must have rows, got an empty file")


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array of bytes in a gzipped IDX file, the form of MNIST.

    Two zero bytes, the element type (8: unsigned byte), the number of axes, each axis as a big-endian uint32, and then
    the elements.
    """
    check_file(path)
    with reading(path, "gzipped IDX"):
        with gzip.open(path) as file:
            content = file.read()
        zeros, kind, axes = struct.unpack_from(">HBB", content)
        if zeros or kind != 8:
            raise ValueError(f"its first bytes are {content[:4].hex()}, not 000008")
        shape = struct.unpack_from(f">{axes}I", content, 4)
        return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape)


def read_matlab(path: Path) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """``X`` (n, features) and ``Y`` (n,) of a MATLAB file."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    check_file(path)
    with reading(path, "MATLAB"):
        try:
            content = loadmat(path, variable_names=["X", "Y"])
        except MatReadError as error:
            raise ValueError(str(error)) from error
        x, y = content["X"], np.asarray(content["Y"]).ravel().astype(np.int64)
        x = x.toarray() if hasattr(x, "toarray") else x
        if x.ndim != 2 or len(x) != len(y):
            raise ValueError(f"X has the shape {x.shape} and Y {len(y)} labels")
    return x, y


def read_numbers(path: Path) -> NDArray[np.float32]:
    """Lines of numbers between spaces, as (lines, numbers)."""
    check_file(path)
    with reading(path, "text"), path.open(encoding="ascii") as file:
        return np.loadtxt(file, dtype=np.float32, ndmin=2)


def read_sheet(path: Path, side: int) -> NDArray[np.uint8]:
    """Square colour images packed row-major on one picture, as (n, side, side, 3)."""
    from PIL import Image

    check_file(path)
    with reading(path, "WebP"), path.open("rb") as file, Image.open(file) as picture:
        sheet = np.asarray(picture.convert("RGB"))
        height, width, channels = sheet.shape
        if height % side or width % side:
            raise ValueError(f"it measures {height} × {width}, which {side} doesn't divide")
        tiles = sheet.reshape(height // side, side, width // side, side, channels).swapaxes(1, 2)
        return tiles.reshape(-1, side, side, channels)


def read_npz(path: Path | str, file: BinaryIO | None = None) -> dict[str, NDArray[Any]]:
    """Every array of a .npz file by name; `InputError` for Python objects, which could run code.

    ``file`` is its content, where ``path`` is just its name.
    """
    if file is None:
        check_file(Path(path))
    # Opened here: numpy leaves the file open where it finds that it is no archive.
    with reading(path, ".npz"), Path(path).open("rb") if file is None else file as file:
        if not zipfile.is_zipfile(file):
            raise ValueError("it is no zip archive")
        file.seek(0)
        with np.load(file, allow_pickle=False) as archive:
            arrays = {}
            for name in archive.files:
                try:
                    arrays[name] = archive[name]
                except ValueError as error:
                    if "allow_pickle" not in str(error):
                        raise
                    raise InputError(
                        f"{name} in {path} must be an array of numbers or strings, got Python objects (dtype object), "
                        f"which are never unpickled since they may run code: save {name}.astype(float), or "
                        f"{name}.astype(str) for labels"
                    ) from None
            return arrays


def numeric(array: NDArray[Any], name: str) -> NDArray[Any]:
    """``array`` if it holds real numbers or booleans; `InputError` otherwise."""
    if array.dtype.kind not in "buif":
        raise InputError(f"{name} must hold numbers, got {array.dtype}")
    return array
