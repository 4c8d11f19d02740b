"""A user's file as a table: text with separators, .xlsx, .parquet, .npz and .svmlight or .libsvm."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gossamer.data.cells import Cells, arrays
from gossamer.data.columns import RawTable
from gossamer.data.delimited import check_named, column_names, read_delimited
from gossamer.data.formats import numeric, read_npz, reading
from gossamer.data.identifiers import find_identifiers
from gossamer.data.labels import spelling
from gossamer.data.names import Numbered
from gossamer.data.preprocess import Preprocessing
from gossamer.data.reading import Reading
from gossamer.data.source import SUFFIXES, TEXT, Source, open_source
from gossamer.errors import InputError
from gossamer.extras import needs

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

__all__ = ["SUFFIXES", "Table", "image_shape", "pixel_names", "read_table"]


@dataclass(frozen=True, eq=False)
class Table:
    r"""Rows as read, before any preprocessing.

    Attributes:
        name: of the data set or file.
        x: (n, columns).
        columns: names of the columns.
        labels: (n) as stored, or indices into ``classes`` where those are given; None without a target.
        target: name of the column of labels.
        classes: the labels that indices stand for, or None.
        kind: kind of preprocessing that suits the columns; see `Preprocessing`.
        divisor: of the kind ``scale``.
        image: (height, width, channels) where the columns are pixels, else None.
        train_rows: rows from here on are the test split that the data set comes with; None without one.
        reading: how the file was read.
        notices: remarks on the reading for the user.
        index: (n) names of the rows, if a column identifies them.

    Example:
        >>> from pathlib import Path
        >>> _ = Path("a.csv").write_text("size,kind\n1.5,a\n2.5,b\n")
        >>> table = gs.data.read_table("a.csv", target="kind")
        >>> table.columns, list(table.labels)
        (('size',), ['a', 'b'])
    """

    name: str
    x: RawTable
    columns: Sequence[str]
    labels: Any
    target: str
    classes: tuple[str, ...] | None = None
    kind: str = "table"
    divisor: float = 1.0
    image: tuple[int, int, int] | None = None
    train_rows: int | None = None
    reading: Reading = field(default_factory=Reading)
    notices: tuple[str, ...] = ()
    index: tuple[str, ...] | None = None


@needs("data", "gossamer.data")
def read_table(
    path: str | os.PathLike[str],
    *,
    target: str | None = None,
    reading: Reading | None = None,
    like: Preprocessing | None = None,
) -> Table:
    r"""Read the table in a file according to its suffix (`SUFFIXES`), compressed or not, or from standard input.

    Args:
        path: the file, or ``"-"``.
        target: the column of labels (in named columns; required), or their array (.npz; by default ``y`` or ``Y``). In
            .svmlight the label is the first number of a line. An .npz holds ``x`` or ``X``: rows (n, features), or
            images (n, height, width) or (n, height, width, channels), whose pixels are divided by 255 if they are
            uint8.
        reading: known properties of the file, and columns to leave out; the rest is detected.
        like: the file is for prediction. It is read as the file of training was, follows the columns that were fitted,
            and may lack labels.

    Returns:
        The table.

    Raises:
        InputError: for a file that can't be used: another suffix, missing, empty, cut short, without the target, …

    Example:
        >>> from pathlib import Path
        >>> _ = Path("a.csv").write_text("size,kind\n1.5,a\n2.5,b\n")
        >>> list(gs.data.read_table("a.csv", target="kind").labels)
        ['a', 'b']
    """
    said = Reading() if reading is None else reading
    source = open_source(path)
    if like is not None:
        target = like.target
    target = target if target is None else target.strip()
    if source.suffix in (".npz", ".svmlight", ".libsvm"):
        if said.to_dict():
            raise InputError(f"{source.path} has no columns with names: leave out {', '.join(_options(said))}")
        if source.suffix == ".npz":
            return _npz_table(source, target, required=like is None)
        if like is None and target is not None:
            raise InputError(
                f"target (--target) must be None for {source.path}, whose lines begin with the label, got {target!r}"
            )
        return _svmlight_table(source, like)
    if source.suffix in TEXT:
        verbatim = [*(like.categories if like is not None else ()), *((target,) if target else ())]
        verbatim += [index for index in (said.index, like.reading.index if like is not None else None) if index]
        wanted = [name for name in like.columns if name not in like.dropped] if like is not None else []
        before = like.reading if like is not None else None
        columns, found = read_delimited(source, said, verbatim=verbatim, before=before, wanted=wanted)
    elif said.encoding is not None or said.separator is not None:
        raise InputError(f"{source.path} has no encoding or separator: leave out --encoding and --separator")
    else:
        frame, found = (_read_sheet(source) if source.suffix == ".xlsx" else _read_parquet(source)), said
        names = column_names(list(frame.columns), source.path, said.drop)
        if like is None:
            check_named(names, said)
        kept = [j for j, name in enumerate(names) if name not in said.drop]
        frame = frame.iloc[:, kept]
        frame.columns = [names[j] for j in kept]
        columns = arrays(frame)
    return _column_table(source, columns, target, found, like)


def _options(said: Reading) -> list[str]:
    return [f"--{name}" for name in said.to_dict()]


def _column_table(
    source: Source, columns: dict[str, NDArray[Any]], target: str | None, said: Reading, like: Preprocessing | None
) -> Table:
    names = list(columns)
    rows = len(columns[names[0]]) if names else 0
    if not rows:
        raise InputError(f"{source.path} must have rows, got {rows} rows of {len(names)} columns")
    if like is None and target not in names:
        raise _no_target(source, target, names, said)
    if target is not None and target in (said.index, *said.categorical, *said.numeric):
        raise InputError(f"index (--index), numeric and categorical must name other columns than the target {target!r}")
    labels = columns.pop(target) if target is not None and target in columns else None
    index_name = said.index if like is None else said.index or like.reading.index
    index = None
    if index_name is not None and index_name in columns:
        index = tuple(spelling(value) for value in columns.pop(index_name))
    decimal = said.decimal or (like.reading.decimal if like is not None else None) or "."
    notices: list[str] = []
    if like is not None:
        known = {name: columns[name] for name in like.columns if name in columns}
        return Table(source.name, Cells(known, decimal), tuple(known), labels, target or "", index=index)
    cells = Cells(columns, decimal)
    asked = {*said.numeric, *said.categorical}
    left_out, notices = find_identifiers(cells, [name for name in cells.names if name not in asked])
    left = set(left_out)
    used = tuple(name for name in cells.names if name not in left)
    if not used:
        raise InputError(
            f"{source.path} must have a column beside the target {target!r} to learn from, got none"
            + (f" but {', '.join(map(repr, left_out))}, which identifies the rows" if left_out else "")
        )
    return Table(source.name, cells, used, labels, target or "", reading=said, notices=tuple(notices), index=index)


def _no_target(source: Source, target: str | None, names: Sequence[str], said: Reading) -> InputError:
    shown = ", ".join(map(repr, names[:50])) + (f" and {len(names) - 50:,} more" if len(names) > 50 else "")
    close = difflib.get_close_matches(target or "", names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    if target is not None and target in said.drop:
        hint = ", which is dropped"
    elif len(names) > 1 and all(re.fullmatch(r"[-+\d.,eE]+", name) for name in names):
        hint += "; the first line must hold names of columns"
    elif len(names) == 1 and source.suffix in TEXT and not close:
        hint += "; if the file has more columns, give --separator"
    return InputError(
        f"target (--target COLUMN) must be a column of {source.path}, got {target!r}{hint} (columns: {shown})"
    )


def _read_parquet(source: Source) -> pd.DataFrame:
    import pandas as pd

    with reading(source.path, ".parquet"):
        try:
            return pd.read_parquet(source.open()).reset_index(drop=True)
        except ImportError as error:
            raise InputError(f"{source.path} needs pyarrow to be read: pip install 'gossamer[parquet]'") from error


def _read_sheet(source: Source) -> pd.DataFrame:
    """Read the first sheet of a workbook that is not empty: names of columns; rows as numbers, dates and strings."""
    import pandas as pd

    with reading(source.path, ".xlsx"):
        try:
            sheets: dict[str, pd.DataFrame] = pd.read_excel(
                source.open(), sheet_name=None, header=None, dtype=object, keep_default_na=False, na_values=[""],
                engine="openpyxl",
            )  # fmt: skip
        except ImportError as error:
            raise InputError(f"{source.path} needs openpyxl to be read: pip install 'gossamer[excel]'") from error
        sheet = next((sheet for sheet in sheets.values() if sheet.notna().to_numpy().any()), None)
        if sheet is None:
            raise ValueError("it has no sheet with anything in it")
        rows = np.flatnonzero(sheet.notna().to_numpy().any(axis=1))
        columns = np.flatnonzero(sheet.notna().to_numpy().any(axis=0))
        sheet = sheet.iloc[rows[0] : rows[-1] + 1, : columns[-1] + 1]
        header = ["" if pd.isna(name) else name for name in sheet.iloc[0]]
        frame = sheet.iloc[1:].reset_index(drop=True)
        frame.columns = pd.Index(header, dtype=object)
        return frame


def _npz_table(source: Source, target: str | None, *, required: bool) -> Table:
    path = source.path
    arrays = read_npz(path, source.open())
    held = ", ".join(map(repr, arrays)) or "nothing"
    x_name = next((name for name in ("x", "X") if name in arrays), None)
    if x_name is None:
        raise InputError(f"{path} must hold the array 'x' or 'X', got {held}")
    wanted = (target,) if required and target else (target, "y", "Y")
    y_name = next((name for name in wanted if name in arrays and name != x_name), None)
    if required and y_name is None:
        raise InputError(
            f"target (--target) must be an array of {path} beside {x_name!r}, got {target or 'y'!r} (arrays: {held})"
        )
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
        return Table(source.name, x, tuple(f"x{i}" for i in range(x.shape[1])), labels, name)
    image = (x.shape[1], x.shape[2], x.shape[3] if x.ndim == 4 else 1)
    kind, divisor = ("scale", 255.0) if x.dtype == np.uint8 else ("table", 1.0)
    flat: NDArray[Any] = np.ascontiguousarray(x).reshape(len(x), -1)
    return Table(source.name, flat, pixel_names(*image), labels, name, None, kind, divisor, image)


def pixel_names(height: int, width: int, channels: int) -> tuple[str, ...]:
    """Return ``pixel_row_column`` (and ``_channel`` where there are several), in the order of an image's columns."""
    if channels == 1:
        return tuple(f"pixel_{i}_{j}" for i in range(height) for j in range(width))
    return tuple(f"pixel_{i}_{j}_{c}" for i in range(height) for j in range(width) for c in range(channels))


def image_shape(columns: Sequence[str]) -> tuple[int, int, int] | None:
    """Return (height, width, channels) whose `pixel_names` these are; None for other columns."""
    last = re.fullmatch(r"pixel_(\d+)_(\d+)(?:_(\d+))?", columns[-1]) if columns else None
    if last is None:
        return None
    height, width, channels = (int(number or 0) + 1 for number in last.groups())
    return (height, width, channels) if tuple(columns) == pixel_names(height, width, channels) else None


def _svmlight_table(source: Source, like: Preprocessing | None) -> Table:
    from sklearn.datasets import load_svmlight_file

    with reading(source.path, "svmlight"):
        x, labels = load_svmlight_file(source.open(), dtype=np.float32, zero_based=True)
    if x.nnz == 0:
        raise InputError(f"{source.path} must have rows with features, got {len(labels)} rows without any")
    # Read as if counted from 0: a file that counts from 1, the usual way, has nothing there. Training decides.
    from_zero = like.columns[0] == "x0" if like is not None else bool((x.indices == 0).any())
    first = 0 if from_zero else 1
    width = x.shape[1] if like is None else len(like.columns) + first
    if x.shape[1] > width or (x.indices < first).any():
        raise InputError(
            f"{source.path} must have features from {first} to {width - 1} as in training, "
            f"got {x.indices.min()} to {x.indices.max()}"
        )
    x.resize(x.shape[0], width)
    # Prediction files in this form have to write some label: all zeros, where 0 is no class, mean that there is none.
    if like is not None and "0" not in like.classes and not labels.any():
        labels = None
    return Table(source.name, x[:, first:], Numbered("x", first, width - first), labels, "label", kind="sparse")
