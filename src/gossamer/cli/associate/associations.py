"""Associations from files: ``.csv`` with a target column, or ``.npz`` with the arrays X and y."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.associative import Associations
from gossamer.errors import InputError
from gossamer.io.files import read_bytes

__all__ = ["read_associations"]


def read_associations(path: Path, target: str | None = None) -> Associations:
    r"""The associations in a file.

    Args:
        path: ``.npz`` with X (m, N) and y (m,) or (m, units), else a table as text, with or without a row of names.
        target: the name of the column of targets, or its number from 1; the last by default.

    Raises:
        InputError: a file that can't be read or has no such column, inputs other than 0 and 1, targets other than 0
            and 1 or −1 and 1.

    Example:
        >>> import pathlib, tempfile
        >>> from gossamer.cli.associate.associations import read_associations
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = pathlib.Path(folder) / "patterns.csv"
        ...     _ = file.write_text("a,b,answer\n0,1,1\n1,1,-1\n")
        ...     problem = read_associations(file)
        >>> problem.inputs.shape, problem.targets.tolist()
        ((2, 2), [True, False])
    """
    if path.suffix.lower() == ".npz":
        if target is not None:
            raise InputError(f"target must be left out for an .npz file, whose targets are y, got {target!r}")
        return _from_arrays(path)
    text = read_bytes(path)
    try:
        lines = [line for line in text.decode("utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError:
        raise InputError(f"{path} must be a text file in UTF-8 or an .npz file") from None
    if not lines:
        raise InputError(f"{path} must have a row for each association, got none")
    separator = max(",;\t", key=lines[0].count)
    fields = [[field.strip().strip('"') for field in line.split(separator)] for line in lines]
    names = [] if all(map(_is_number, fields[0])) else fields[0]
    body = fields[1:] if names else fields
    width = len(fields[0])
    if width < 2:
        raise InputError(f"{path} must have at least one input and the target in each row, got {width} column")
    values = np.empty((len(body), width))
    for i, row in enumerate(body):
        if len(row) != width or not all(map(_is_number, row)):
            odd = next((field for field in row if not _is_number(field)), None)
            what = f"{len(row)} fields instead of {width}" if odd is None else repr(odd)
            raise InputError(f"{path} must hold zeros and ones, got {what} in row {i + 1 + bool(names)}")
        values[i] = [float(field) for field in row]
    column = _column(path, target, names, width)
    return _checked(path, np.delete(values, column, 1), values[:, column])


def _column(path: Path, target: str | None, names: list[str], width: int) -> int:
    if target is None:
        return width - 1
    if target in names:
        return names.index(target)
    if target.isdigit() and 1 <= int(target) <= width:
        return int(target) - 1
    listed = f"one of {', '.join(names[:8])}{', …' if len(names) > 8 else ''}, or " if names else ""
    raise InputError(f"target must be {listed}the number of a column of {path}, from 1 to {width}, got {target!r}")


def _from_arrays(path: Path) -> Associations:
    read_bytes(path)  # for its message
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if not {"X", "y"} <= set(arrays.files):
                raise InputError(f"{path} must have the arrays X and y, got {', '.join(arrays.files) or 'none'}")
            inputs, targets = arrays["X"], arrays["y"]
    except (ValueError, zipfile.BadZipFile, EOFError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} must be an .npz file of plain arrays, which it is not: {error}") from None
    return _checked(path, inputs, targets)


def _checked(path: Path, inputs: NDArray[Any], targets: NDArray[Any]) -> Associations:
    if targets.dtype.kind in "if" and targets.size and np.isin(targets, (-1, 1)).all():
        targets = targets > 0
    try:
        return Associations(inputs, targets)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True
