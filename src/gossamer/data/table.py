"""A user's file as a table: .csv, .parquet, .npz and .svmlight or .libsvm."""

from __future__ import annotations

import csv
import difflib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
from numpy.typing import NDArray

from gossamer.data.columns import RawTable
from gossamer.data.formats import check_file, numeric, read_npz, reading
from gossamer.data.preprocess import Preprocessing
from gossamer.errors import InputError
from gossamer.extras import needs

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SUFFIXES", "Table", "image_shape", "pixel_names", "read_table"]

SUFFIXES = (".csv", ".parquet", ".npz", ".svmlight", ".libsvm")


@dataclass(frozen=True, eq=False)
class Table:
    """Rows as read, before any preprocessing.

    ``x`` (n, columns). ``labels`` (n,) are as stored, or indices into ``classes`` where those are given; None without a
    target. ``kind`` and ``divisor`` say what preprocessing suits the columns. Rows from ``train_rows`` on are the test
    split that the data set comes with. ``image`` as in `Dataset`.
    """

    name: str
    x: RawTable
    columns: tuple[str, ...]
    labels: Any
    target: str
    classes: tuple[str, ...] | None = None
    kind: str = "table"
    divisor: float = 1.0
    image: tuple[int, int, int] | None = None
    train_rows: int | None = None


@needs("data", "gossamer.data")
def read_table(path: str | os.PathLike[str], *, target: str | None = None, like: Preprocessing | None = None) -> Table:
    """The table in the file ``path``, read according to its suffix (`SUFFIXES`).

    ``target`` names the column of labels (.csv, .parquet; required) or their array (.npz; by default ``y`` or ``Y``);
    in .svmlight the label is the first number of a line. With ``like`` the file is for prediction: it follows the
    columns that were fitted, and may lack labels. An .npz holds ``x`` or ``X``: rows (n, features), or images
    (n, height, width) or (n, height, width, channels), whose pixels are divided by 255 if they are uint8.

    `InputError` for a file that can't be used: another suffix, missing, empty, cut short, without the target, …
    """
    path = Path(path).expanduser()
    suffix = path.suffix.lower()
    if not path.is_dir() and suffix not in SUFFIXES:
        raise InputError(f"{path} must end in one of {', '.join(SUFFIXES)}, got {path.suffix or 'no suffix'!r}")
    check_file(path)
    if like is not None:
        target = like.target
    if suffix in (".csv", ".parquet"):
        frame = _read_csv(path, like) if suffix == ".csv" else _read_parquet(path)
        return _frame_table(path, frame, target, required=like is None)
    if suffix == ".npz":
        return _npz_table(path, target, required=like is None)
    if like is None and target is not None:
        raise InputError(f"target must be None for {path}, whose lines begin with the label, got {target!r}")
    return _svmlight_table(path, like)


def _frame_table(path: Path, frame: pd.DataFrame, target: str | None, *, required: bool) -> Table:
    names = [str(name) for name in frame.columns]
    frame.columns = names
    if not names or not len(frame):
        raise InputError(f"{path} must have rows, got {len(frame)} rows of {len(names)} columns")
    if required and target not in names:
        shown = ", ".join(map(repr, names[:50])) + (f" and {len(names) - 50} more" if len(names) > 50 else "")
        close = difflib.get_close_matches(target or "", names, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise InputError(f"target must be a column of {path}, got {target!r}{hint} (columns: {shown})")
    labels = frame.pop(target) if target in names else None
    if not len(frame.columns):
        raise InputError(f"{path} must have a column beside the target {target!r}, got none")
    return Table(path.name, frame, tuple(frame.columns), labels, target or "")


def _read_csv(path: Path, like: Preprocessing | None) -> pd.DataFrame:
    import pandas as pd

    with reading(path, ".csv (UTF-8)"):
        with path.open(encoding="utf-8-sig", newline="") as file:
            line = file.readline()
            separator = max(",;\t", key=line.count)
            file.seek(0)
            records = filter(None, _records(file, separator))
            header, first = next(records, []), next(records, [])
        if len(first) > len(header):  # pandas would take the first field for an index
            raise ValueError(f"its rows have {len(first)} fields and its header has {len(header)}")
        # Categories stay as they are written: "01" must not become 1 because this file has no other text in the column.
        spelled = dict.fromkeys(like.categories, str) if like is not None else None
        frame: pd.DataFrame = pd.read_csv(
            path, sep=separator, dtype=spelled, encoding="utf-8-sig", skipinitialspace=True, low_memory=False
        )
        if len(frame) and frame.iloc[:, -1].isna().any():  # pandas pads short rows with missing values
            _check_fields(path, separator, len(header))
    # A nameless first column that counts the rows is an index that a tool wrote; as a feature it would leak the order.
    if len(frame) and len(header) > 1 and not header[0].strip():
        counter = frame.iloc[:, 0]
        if counter.dtype.kind == "i" and np.array_equal(counter, counter.iloc[0] + np.arange(len(frame))):
            frame = frame.iloc[:, 1:].copy()
    return frame


def _records(file: TextIO, separator: str) -> Iterator[list[str]]:
    return csv.reader(file, delimiter=separator, skipinitialspace=True)


def _check_fields(path: Path, separator: str, count: int) -> None:
    with path.open(encoding="utf-8-sig", newline="") as file:
        for row, fields in enumerate(filter(None, _records(file, separator))):
            if len(fields) < count:
                raise ValueError(f"row {row} has {len(fields)} of {count} fields")


def _read_parquet(path: Path) -> pd.DataFrame:
    import pandas as pd

    with reading(path, ".parquet"):
        try:
            return pd.read_parquet(path).reset_index(drop=True)
        except ImportError as error:
            raise InputError(f"{path} needs pyarrow to be read: pip install 'gossamer[parquet]'") from error


def _npz_table(path: Path, target: str | None, *, required: bool) -> Table:
    arrays = read_npz(path)
    held = ", ".join(map(repr, arrays)) or "nothing"
    x_name = next((name for name in ("x", "X") if name in arrays), None)
    if x_name is None:
        raise InputError(f"{path} must hold the array 'x' or 'X', got {held}")
    wanted = (target,) if required and target else (target, "y", "Y")
    y_name = next((name for name in wanted if name in arrays and name != x_name), None)
    if required and y_name is None:
        raise InputError(f"target must be an array of {path} beside {x_name!r}, got {target or 'y'!r} (arrays: {held})")
    x = numeric(arrays[x_name], f"{x_name} in {path}")
    if x.ndim not in (2, 3, 4) or 0 in x.shape:
        raise InputError(
            f"{x_name} in {path} must be rows (n, features) or images (n, height, width[, channels]), got {x.shape}"
        )
    labels = None if y_name is None else arrays[y_name]
    if labels is not None:
        labels = labels.squeeze(1) if labels.shape[1:] == (1,) else labels
        if labels.shape != (len(x),):
            raise InputError(
                f"{y_name} in {path} must have the shape ({len(x)},), a label for each row, got {labels.shape}"
            )
    name = y_name or target or "y"
    if x.ndim == 2:
        return Table(path.name, x, tuple(f"x{i}" for i in range(x.shape[1])), labels, name)
    image = (x.shape[1], x.shape[2], x.shape[3] if x.ndim == 4 else 1)
    kind, divisor = ("scale", 255.0) if x.dtype == np.uint8 else ("table", 1.0)
    flat: NDArray[Any] = np.ascontiguousarray(x).reshape(len(x), -1)
    return Table(path.name, flat, pixel_names(*image), labels, name, None, kind, divisor, image)


def pixel_names(height: int, width: int, channels: int) -> tuple[str, ...]:
    """``pixel_row_column`` (and ``_channel`` where there are several), in the order of an image's columns."""
    if channels == 1:
        return tuple(f"pixel_{i}_{j}" for i in range(height) for j in range(width))
    return tuple(f"pixel_{i}_{j}_{c}" for i in range(height) for j in range(width) for c in range(channels))


def image_shape(columns: tuple[str, ...]) -> tuple[int, int, int] | None:
    """(height, width, channels) whose `pixel_names` these are; None for other columns."""
    last = re.fullmatch(r"pixel_(\d+)_(\d+)(?:_(\d+))?", columns[-1]) if columns else None
    if last is None:
        return None
    height, width, channels = (int(number or 0) + 1 for number in last.groups())
    return (height, width, channels) if columns == pixel_names(height, width, channels) else None


def _svmlight_table(path: Path, like: Preprocessing | None) -> Table:
    from sklearn.datasets import load_svmlight_file

    with reading(path, "svmlight"):
        x, labels = load_svmlight_file(os.fspath(path), dtype=np.float32, zero_based=True)
    if x.nnz == 0:
        raise InputError(f"{path} must have rows with features, got {len(labels)} rows without any")
    # Read as if counted from 0: a file that counts from 1, the usual way, has nothing there. Training decides.
    from_zero = like.columns[0] == "x0" if like is not None else bool((x.indices == 0).any())
    first = 0 if from_zero else 1
    width = x.shape[1] if like is None else len(like.columns) + first
    if x.shape[1] > width or (x.indices < first).any():
        raise InputError(
            f"{path} must have features from {first} to {width - 1} as in training, "
            f"got {x.indices.min()} to {x.indices.max()}"
        )
    x.resize(x.shape[0], width)
    # Prediction files in this form have to write some label: all zeros, where 0 is no class, says that there is none.
    if like is not None and "0" not in like.classes and not labels.any():
        labels = None
    columns = tuple(f"x{i}" for i in range(first, width))
    return Table(path.name, x[:, first:].toarray(), columns, labels, "label")
