"""Text with one row a line: .csv, .tsv and similar formats, in any encoding, with any separator and decimal mark."""

from __future__ import annotations

import difflib
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.data.cells import arrays
from gossamer.data.detect import find_decimal, find_encoding, find_separator, first_records, head, records
from gossamer.data.formats import reading
from gossamer.data.identifiers import nameless
from gossamer.data.labels import spelling
from gossamer.data.reading import Reading
from gossamer.data.source import Source
from gossamer.errors import InputError

__all__ = ["check_named", "column_names", "read_delimited"]

_WIDE = 500  # columns from which on a table is read whole: the work of pandas for each column takes longest
_EXCEL = re.compile(r"sep=(.)\r?\n?", re.IGNORECASE)
_WIDTH = re.compile(r"Expected (\d+) fields in line (\d+), saw (\d+)")


def read_delimited(
    source: Source,
    said: Reading,
    *,
    verbatim: Sequence[str] = (),
    before: Reading | None = None,
    wanted: Sequence[str] = (),
) -> tuple[dict[str, NDArray[Any]], Reading]:
    """The rows of ``source`` under the names in its first line, and how they were read.

    The columns ``verbatim`` stay strings, however many numbers they hold; so do those that the user calls categorical.
    ``before`` is the reading of the training file: it decides where this one is ambiguous. Its separator comes first if
    it finds the columns ``wanted``.
    """
    with reading(source.path, "text"):
        found = _found(source, said, before, wanted)
        assert found.encoding is not None
        assert found.separator is not None
        with io.TextIOWrapper(source.open(), found.encoding, newline="") as text:
            names = _header(text, found.separator, source.path, found.drop)
            if before is None:
                check_named(names, said)
            columns = _rows(text, names, found, {*verbatim, *said.categorical})
    return columns, found


def _found(source: Source, said: Reading, before: Reading | None, wanted: Sequence[str]) -> Reading:
    encoding = said.encoding or find_encoding(source.content, source.path, before.encoding if before else None)
    said_by = "--encoding says" if said.encoding else "its first bytes say"
    try:
        text, whole = head(source.content, encoding)
    except UnicodeError as error:
        raise InputError(
            f"{source.path} must be text in {encoding}, as {said_by}, got bytes that are not: {error}"
        ) from None
    hint = _EXCEL.match(text)
    text = text[hint.end() :] if hint else text
    separator, decimal = said.separator, said.decimal
    if separator is None and hint is not None:
        separator = hint[1]
    if separator is None and before is not None and before.separator is not None and wanted:
        rows = first_records(text, whole, before.separator)
        if rows and set(wanted) <= {spelling(name) for name in rows[0]}:
            separator, decimal = before.separator, decimal or before.decimal
    separator = separator or find_separator(text, whole)
    rows = first_records(text, whole, separator)
    decimal = decimal or find_decimal(rows, separator, source.path) or (before.decimal if before else None)
    return replace(said, encoding=encoding, separator=separator, decimal=decimal)


def _header(text: io.TextIOBase, separator: str, path: str, dropped: Sequence[str]) -> list[str]:
    """The names in the first line that has any; the text is then at its first row."""
    start = text.tell()
    if not _EXCEL.fullmatch(text.readline()):
        text.seek(start)
    for fields in records(text, separator):
        if any(field.strip() for field in fields):
            return column_names(fields, path, dropped)
    raise ValueError("it has no line with names of columns")


def column_names(fields: Sequence[object], path: str, dropped: Sequence[str] = ()) -> list[str]:
    """Return trimmed names, empty ones numbered; `InputError` if two that are not dropped are equal."""
    names = [spelling(field) or nameless(j) for j, field in enumerate(fields)]
    twice = [name for name, count in Counter(names).items() if count > 1 and name not in dropped]
    if twice:
        where = ", ".join(str(j + 1) for j, name in enumerate(names) if name == twice[0])
        raise InputError(
            f"columns of {path} must have distinct names, got {twice[0]!r} as columns {where}"
            + (f" ({len(twice)} names occur twice)" if len(twice) > 1 else "")
            + ": rename or remove one of them in the file, or leave all of them out with --drop"
        )
    return names


def check_named(names: Sequence[str], said: Reading) -> None:
    """`InputError` where the user names a column that doesn't exist."""
    known = set(names)
    for role in ("drop", "index", "categorical", "numeric"):
        value = getattr(said, role)
        for name in (value,) if isinstance(value, str) else value or ():
            if name not in known:
                close = difflib.get_close_matches(name, names, n=1)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                raise InputError(f"{role} (--{role}) must name a column of the file, got {name!r}{hint}")


def _rows(text: io.TextIOBase, names: list[str], found: Reading, verbatim: set[str]) -> dict[str, NDArray[Any]]:
    """Every column that is not dropped: numbers, or objects."""
    import pandas as pd

    separator, decimal = found.separator or ",", found.decimal or "."
    kept = [j for j, name in enumerate(names) if name not in found.drop]
    if len(names) >= _WIDE:
        return _wide_rows(text, names, kept, separator, decimal, verbatim)
    position = text.tell()
    first = next(filter(None, records(text, separator)), [])
    if len(first) > len(names):  # pandas would take the first field for an index
        raise ValueError(f"its rows have {len(first)} fields and its header has {len(names)}: give every column a name")
    text.seek(position)
    places = [str(j) for j in range(len(names))]  # names may occur twice where they are dropped
    try:
        frame: pd.DataFrame = pd.read_csv(
            text,
            sep=r"\s+" if separator == " " else separator,
            decimal=decimal,
            header=None,
            names=places,
            index_col=False,
            dtype={str(j): object for j, name in enumerate(names) if name in verbatim},
            skipinitialspace=True,
            keep_default_na=False,
            na_values=[""],
            low_memory=False,
        )
    except pd.errors.EmptyDataError:
        frame = pd.DataFrame(columns=places)
    except pd.errors.ParserError as error:
        width = _WIDTH.search(str(error))
        if width is None:
            raise
        raise ValueError(f"row {width[2]} has {width[3]} of {width[1]} fields") from None
    if len(frame) and frame.iloc[:, -1].isna().any():  # pandas pads short rows with missing values
        text.seek(position)
        for row, fields in enumerate(filter(None, records(text, separator)), start=1):
            if len(fields) < len(names):
                raise ValueError(f"row {row} has {len(fields)} of {len(names)} fields")
    frame = frame.iloc[:, kept]
    frame.columns = pd.Index([names[j] for j in kept], dtype=object)
    return arrays(frame)


def _wide_rows(
    text: io.TextIOBase, names: list[str], kept: list[int], separator: str, decimal: str, verbatim: set[str]
) -> dict[str, NDArray[Any]]:
    """Read many columns: all fields at once, and columns of numbers only as numbers."""
    rows = list(filter(None, records(text, separator)))
    for number, fields in enumerate(rows, start=1):
        if len(fields) != len(names):
            raise ValueError(f"row {number} has {len(fields)} of {len(names)} fields")
    cells = np.array(rows, dtype=object).reshape(len(rows), len(names)).T.copy()
    values = np.empty(len(rows))
    columns: dict[str, NDArray[Any]] = {}
    for j in kept:
        plain = names[j] not in verbatim and _as_numbers(cells[j], decimal, values)
        columns[names[j]] = values.copy() if plain else cells[j]
    return columns


def _as_numbers(fields: NDArray[Any], decimal: str, out: NDArray[np.float64]) -> bool:
    """Whether all ``fields`` are plain finite numbers, which ``out`` then holds."""
    joined = "\t".join(fields)
    if "_" in joined:  # Python reads 1_000 as a number
        return False
    if decimal == ",":
        if "." in joined:
            return False
        fields = np.array(joined.replace(",", ".").split("\t"), dtype=object)
    try:
        out[:] = fields.astype(np.float64)
    except ValueError:
        return False
    return bool(np.isfinite(out).all())
