"""Types of a table's columns: numbers, categories, dates or nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gossamer.data.cells import Cells, Column, Strings, arrays
from gossamer.data.dates import ambiguous, find_form
from gossamer.data.labels import MISSING, factorise, merged, order
from gossamer.data.numbers import MARK, NUMBER, OTHER, SWAPPED
from gossamer.data.reading import Reading
from gossamer.data.values import category_codes, date_numbers
from gossamer.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from scipy.sparse import csr_array

__all__ = ["Kinds", "RawTable", "listed", "opened", "option", "sort_columns"]

RawTable: TypeAlias = "NDArray[Any] | pd.DataFrame | Cells | csr_array"
"""Rows as read: an array of numbers (n, columns), also sparse, or named columns that may hold other things too."""

FEW_CATEGORIES = 10  # so few are categories even where every row has another one
MOST_CATEGORIES = 1000  # one-hot columns that one column may become


def listed(names: Sequence[str]) -> str:
    """Names for an error message, ten at the most."""
    return ", ".join(map(repr, names[:10])) + (f" and {len(names) - 10:,} more" if len(names) > 10 else "")


def option(name: str, columns: Sequence[str]) -> str:
    """``--name COLUMN,…`` as one types it in a shell, for up to ten columns."""
    import shlex

    shown = [f'"{column}"' if "," in column else column for column in columns[:10]]
    return f"--{name} {shlex.quote(','.join(shown))}" + ("…" if len(columns) > 10 else "")


@dataclass(eq=False)
class Kinds:
    """The result of `sort_columns`.

    Names of ``numeric`` columns, the ``categories`` of others (None: missing), ``dates`` with their form and parts, the
    columns to drop with the reason, and notices for the user.
    """

    numeric: list[str] = field(default_factory=list)
    categories: dict[str, tuple[str | None, ...]] = field(default_factory=dict)
    dates: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    dropped: dict[str, str] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)


def sort_columns(table: NDArray[Any] | Cells, names: Sequence[str], rows: NDArray[np.int64], said: Reading) -> Kinds:
    """Find the kind of each column, by all its values and the options ``said``; the categories are those of ``rows``.

    A column of strings holds numbers if it has some, and nothing else but spellings of "missing". If it has other
    strings as well, it holds categories where they are few, or more of its fields are strings than numbers; else
    `InputError`.
    All columns that can't be used are in one error.
    """
    kinds = Kinds()
    if isinstance(table, np.ndarray):
        empty = np.isnan(table[rows]).all(axis=0) if table.dtype.kind == "f" else np.zeros(len(names), bool)
        for name, none in zip(names, empty, strict=True):
            if none:
                kinds.dropped[name] = "no value in the training rows"
            else:
                kinds.numeric.append(name)
        return kinds
    faults: list[str] = []
    marked: dict[str, list[str]] = {}
    free: list[tuple[str, str]] = []
    for name, tally in zip(names, _tallies(table, names), strict=True):
        column = table[name]
        if _is_empty(column, rows):
            kinds.dropped[name] = "no value in the training rows"
        elif name in said.categorical:
            _add_categories(kinds, free, name, column, rows, asked=True)
        elif not isinstance(column, Strings):
            if column.dtype.kind == "b" and name not in said.numeric:
                kinds.categories[name] = _categories(name, column, rows, kinds)
            elif column.dtype.kind == "M":
                _add_date(kinds, name, column, "iso", rows)
            else:
                kinds.numeric.append(name)
        elif name in said.numeric:
            _add_numbers(kinds, marked, name, column, tally)
        elif tally[NUMBER] and not tally[SWAPPED] and not tally[OTHER]:
            if fault := _mixed_units(name, column):
                faults.append(fault)
            else:
                _add_numbers(kinds, marked, name, column, tally)
        elif (form := _form(column)) is not None:
            if fault := _doubtful_dates(name, column, form):
                faults.append(fault)
            else:
                _add_date(kinds, name, column, form, rows)
        elif fault := _almost_numbers(name, column, tally):
            faults.append(fault)
        else:
            _add_categories(kinds, free, name, column, rows)
    if free:
        which = [name for name, _ in free]
        faults.append(
            "; ".join(f"column {name!r} {what}" for name, what in free[:3])
            + (f"; and {len(free) - 3:,} more such columns" if len(free) > 3 else "")
            + f": leave out free text and ids with {option('drop', which)}"
        )
    if faults:
        more = f"; and {len(faults) - 5:,} more such columns" if len(faults) > 5 else ""
        raise InputError("; ".join(faults[:5]) + more)
    for mark, where in marked.items():
        kinds.notices.append(f"{mark!r} is read as missing in the numbers of {listed(where)}")
    return kinds


def _tallies(cells: Cells, names: Sequence[str]) -> Iterator[list[int]]:
    """Count the fields of each column that are a `NUMBER`, `MARK`, `SWAPPED`, `OTHER` or empty; nothing of an array."""
    for name in names:
        column = cells[name]
        if isinstance(column, Strings):
            yield np.bincount(column.vocabulary.parsed[1][column.codes], minlength=OTHER + 2).tolist()
        else:
            yield []


def _is_empty(column: Column, rows: NDArray[np.int64]) -> bool:
    if isinstance(column, Strings):
        return not (column.codes[rows] >= 0).any()
    if column.dtype.kind in "fM":
        return bool((np.isnat if column.dtype.kind == "M" else np.isnan)(column[rows]).all())
    return False


def _add_numbers(kinds: Kinds, marked: dict[str, list[str]], name: str, column: Strings, tally: Sequence[int]) -> None:
    kinds.numeric.append(name)
    if tally[MARK]:
        for code in column.used[column.vocabulary.parsed[1][column.used] == MARK]:
            marked.setdefault(column.vocabulary.strings[code], []).append(name)
    if others := tally[SWAPPED] + tally[OTHER]:
        example = _example(column, (SWAPPED, OTHER))
        kinds.notices.append(f"{name!r}: {others:,} fields that are no number, such as {example}, are read as missing")


def _mixed_units(name: str, column: Strings) -> str:
    """A notice about a column where some numbers have a unit and others another one or none."""
    values, _, units = column.vocabulary.parsed
    if not units:
        return ""
    found = {units.get(int(code), "") for code in column.used if not np.isnan(values[code])}
    if len(found) == 1:
        return ""
    shown = " and ".join(repr(unit) if unit else "no unit" for unit in sorted(found))
    return (
        f"column {name!r} has numbers with {shown}: bring them to one unit, ignore the units with "
        f"{option('numeric', [name])}, or leave it out with {option('drop', [name])}"
    )


def _form(column: Strings) -> str | None:
    kinds = column.vocabulary.parsed[1]
    return find_form([column.vocabulary.strings[code] for code in column.used if kinds[code] != MARK])


def _doubtful_dates(name: str, column: Strings, form: str) -> str:
    kinds = column.vocabulary.parsed[1]
    strings = [column.vocabulary.strings[code] for code in column.used if kinds[code] != MARK]
    if not ambiguous(strings, form):
        return ""
    return (
        f"column {name!r} has dates such as {strings[0]!r}, whose day and month are ambiguous: write them as "
        f"2024-01-31, or use {option('categorical', [name])} or {option('drop', [name])}"
    )


def _almost_numbers(name: str, column: Strings, tally: Sequence[int]) -> str:
    """A notice about a column that is numbers except for some fields; "" for one that holds categories."""
    count, swapped, other = tally[NUMBER], tally[SWAPPED], tally[OTHER]
    if swapped and count + swapped >= other:
        mark = "." if column.vocabulary.decimal == "," else ","
        shown = _example(column, (SWAPPED,))
        return (
            f"column {name!r} has {swapped:,} fields such as {shown} in another notation of numbers: read the file "
            f"with --decimal {mark}, or use {option('categorical', [name])} or {option('drop', [name])}"
        )
    if count <= other or len(column.used) <= FEW_CATEGORIES:
        return ""
    return (
        f"column {name!r} has {count:,} numbers and {other:,} other fields, such as {_example(column, (OTHER,))}: read "
        f"these as missing with {option('numeric', [name])}, all as categories with {option('categorical', [name])}, "
        f"or leave it out with {option('drop', [name])}"
    )


def _example(column: Strings, wanted: Sequence[int]) -> str:
    """Up to three fields of the ``wanted`` kinds and the row of the first."""
    kinds = column.vocabulary.parsed[1]
    codes = [int(code) for code in column.used if kinds[code] in wanted]
    row = int(np.flatnonzero(np.isin(column.codes, codes))[0]) + 1
    first = int(column.codes[row - 1])
    shown = [first, *(code for code in codes if code != first)][:3]
    return ", ".join(f"{column.vocabulary.strings[code]!r:.60}" for code in shown) + f" (row {row})"


def _add_date(kinds: Kinds, name: str, column: Column, form: str, rows: NDArray[np.int64]) -> None:
    wanted: tuple[str, ...] = ("time",)
    if form != "time":
        time = date_numbers(column, name, rows, form, ("time",))
        wanted = ("day", "weekday", "time") if (time[~np.isnan(time)] != 0).any() else ("day", "weekday")
    date_numbers(column, name, np.arange(_length(column)), form, wanted)  # other rows are dates too
    kinds.dates[name] = form, wanted
    kinds.notices.append(f"{name!r} holds {'times' if form == 'time' else 'dates'}, read as {', '.join(wanted)}")


def _length(column: Column) -> int:
    return len(column.codes) if isinstance(column, Strings) else len(column)


def _add_categories(
    kinds: Kinds,
    free: list[tuple[str, str]],
    name: str,
    column: Column,
    rows: NDArray[np.int64],
    *,
    asked: bool = False,
) -> None:
    strings = _categories(name, column, rows, kinds)
    count = len(strings) - (None in strings)
    present = int((category_codes(column, rows, [t for t in strings if t is not None]) >= 0).sum())
    if count > MOST_CATEGORIES or (count > FEW_CATEGORIES and count > present / 2 and not asked):
        free.append((name, f"has {count:,} different strings in {present:,} rows"))
    kinds.categories[name] = strings


def _categories(name: str, column: Column, rows: NDArray[np.int64], kinds: Kinds) -> tuple[str | None, ...]:
    """The categories in ``rows``, spellings merged, and None if a value is missing there."""
    if not isinstance(column, Strings):
        codes, strings = factorise(column[rows])
        return (*strings, None) if (codes == MISSING).any() else strings
    part = column[rows]
    to = merged(part.strings, part.count.tolist())
    if joined := [string for string, kept in to.items() if string != kept]:
        kept = list(dict.fromkeys(to[string] for string in joined))
        verb = "is" if len(joined) == 1 else "are"
        kinds.notices.append(f"{name!r}: {listed(joined)} {verb} read as {listed(kept)}")
    strings = tuple(sorted(set(to.values()), key=order))
    return (*strings, None) if (part.codes == MISSING).any() else strings


def opened(table: RawTable, decimal: str) -> NDArray[Any] | Cells | csr_array:
    """Return a data frame as `Cells`; anything else as it is."""
    if isinstance(table, np.ndarray | Cells):
        return table
    frame: Any = table
    if not hasattr(frame, "columns"):
        return frame  # type: ignore[no-any-return]
    names = [str(name) for name in frame.columns]
    if len(set(names)) != len(names):
        raise InputError(f"columns must be {len(names)} distinct names, got {listed(names)}")
    return Cells(arrays(frame), decimal)
