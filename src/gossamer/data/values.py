"""The values of a table's columns as numbers: of numbers themselves, of dates, and the codes of categories."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.data.cells import Cells, Column, Strings
from gossamer.data.dates import parts, read_dates
from gossamer.data.labels import MISSING, factorise, places
from gossamer.data.numbers import MARK, OTHER, SWAPPED
from gossamer.errors import InputError

__all__ = ["category_codes", "column_numbers", "date_numbers", "numbers", "refuse"]

BLOCK = 256  # numeric columns handled at a time: float64 copies stay this wide


def refuse(bad: NDArray[np.bool_], rows: NDArray[np.int64], names: Sequence[str], why: str) -> None:
    """Raise `InputError` for the first True of ``bad`` (n, columns), naming its column and row."""
    if bad.any():
        i, j = np.unravel_index(int(bad.argmax()), bad.shape)
        raise InputError(f"column {names[int(j)]!r} has a value in row {rows[int(i)] + 1} that is {why}")


def numbers(
    table: NDArray[Any] | Cells,
    columns: Sequence[str],
    names: Sequence[str],
    rows: NDArray[np.int64],
    kind: str,
    loose: Sequence[str] = (),
) -> Iterator[tuple[Sequence[str], NDArray[np.float64]]]:
    """The columns ``names`` of ``table[rows]``, up to `BLOCK` at a time: (names, (n, block) float64), NaN = missing.

    For the kind ``counts``, log(1 + x). `InputError` for a string that is no number, except in the ``loose`` columns,
    where it is missing; for an infinity or a negative count.
    """
    place = {name: j for j, name in enumerate(columns)} if isinstance(table, np.ndarray) else {}
    lax = set(loose)
    for start in range(0, len(names), BLOCK):
        part = names[start : start + BLOCK]
        if isinstance(table, np.ndarray):
            here = np.array([place[name] for name in part])
            block = table[np.ix_(rows, here)].astype(np.float64)
        else:
            block = _block(table, part, rows, lax)
        refuse(np.isinf(block), rows, part, "infinite; numbers must be finite (or missing)")
        if kind == "counts":
            refuse(block < 0, rows, part, "negative; counts start at 0")
            block = np.log1p(block)
        yield part, block


def _block(cells: Cells, names: Sequence[str], rows: NDArray[np.int64], loose: set[str]) -> NDArray[np.float64]:
    """`column_numbers` of several columns side by side; those of strings of one vocabulary are looked up at once."""
    block = np.empty((len(rows), len(names)))
    shared: dict[int, list[int]] = {}
    for j, name in enumerate(names):
        column = cells[name]
        if isinstance(column, Strings) and name not in loose:
            shared.setdefault(id(column.vocabulary), []).append(j)
        else:
            block[:, j] = column_numbers(column, name, rows, loose=name in loose)
    for here in shared.values():
        columns = [column for j in here if isinstance(column := cells[names[j]], Strings)]
        codes = np.stack([column.codes for column in columns], axis=1)[rows]
        values, kinds, _ = columns[0].vocabulary.parsed
        kind = kinds[codes]
        bad = ((kind == OTHER) | (kind == SWAPPED)).any(axis=0)
        if bad.any():
            at = int(bad.argmax())
            column_numbers(columns[at], names[here[at]], rows)  # the error names the row
        block[:, here] = values[codes]
    return block


def column_numbers(column: Column, name: str, rows: NDArray[np.int64], *, loose: bool = False) -> NDArray[np.float64]:
    """``column[rows]`` as float64, NaN = missing; `InputError` for a string that is no number, unless ``loose``."""
    if not isinstance(column, Strings):
        if column.dtype.kind == "M":
            raise InputError(f"column {name!r} must hold numbers, got dates")
        return column[rows].astype(np.float64)
    values, kinds, _ = column.vocabulary.parsed
    codes = column.codes[rows]
    if not loose:
        kind = kinds[codes]
        bad = np.flatnonzero((kind == OTHER) | (kind == SWAPPED))
        if len(bad):
            i = int(bad[0])
            string = column.vocabulary.strings[codes[i]]
            other = "." if column.vocabulary.decimal == "," else ","
            remedy = f"; read it with --decimal {other}" if kind[i] == SWAPPED else ""
            raise InputError(f"column {name!r} must hold numbers, got {string!r:.100} in row {rows[i] + 1}{remedy}")
    return values[codes]


def date_numbers(
    column: Column, name: str, rows: NDArray[np.int64], form: str, wanted: Sequence[str]
) -> NDArray[np.float64]:
    """(n, len(wanted)) the `parts` of a column of dates; `InputError` for a string that is none of the ``form``."""
    if isinstance(column, Strings):
        strings, used = column.strings, column.used
        dates = read_dates(strings, form)
        marks = column.vocabulary.parsed[1][used] == MARK
        wrong = used[np.isnat(dates) & ~marks]
        codes = column.codes[rows]
        bad = np.flatnonzero(np.isin(codes, wrong)) if len(wrong) else wrong
        if len(bad):
            string = column.vocabulary.strings[codes[bad[0]]]
            raise InputError(
                f"column {name!r} must hold dates ({form}) as in training, "
                f"got {string!r:.100} in row {rows[bad[0]] + 1}"
            )
        values = np.append(dates, np.datetime64("NaT"))[
            np.where(codes == MISSING, len(used), np.searchsorted(used, codes))
        ]
    elif column.dtype.kind == "M":
        values = column[rows].astype("datetime64[us]")
    else:
        raise InputError(f"column {name!r} must hold dates as in training, got numbers")
    found = parts(values, wanted)
    return np.stack([found[part] for part in wanted], axis=1)


def category_codes(column: Column, rows: NDArray[np.int64], strings: Sequence[str | None]) -> NDArray[np.int64]:
    """``column[rows]`` as indices into the known ``strings``; negative without a value, or with another one."""
    if isinstance(column, Strings):
        known = np.array([*places(column.strings, strings), MISSING], dtype=np.int64)
        codes = column.codes[rows]
        found = known[np.where(codes == MISSING, len(known) - 1, np.searchsorted(column.used, codes))]
    else:
        codes, names = factorise(column[rows])
        found = np.array([*places(names, strings), MISSING], dtype=np.int64)[codes]
    if None in strings:
        found[found == MISSING] = list(strings).index(None)
    return found
