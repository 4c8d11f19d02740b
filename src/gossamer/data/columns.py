"""Types of a table's columns: numbers, categories, dates or nothing; and their values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gossamer.data.cells import Cells, Column, Texts
from gossamer.data.dates import ambiguous, find_form, parts, read_dates
from gossamer.data.labels import MISSING, factorise, merged, order, places
from gossamer.data.numbers import MARK, NUMBER, OTHER, SWAPPED
from gossamer.data.reading import Reading
from gossamer.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from scipy.sparse import csr_array

__all__ = ["Kinds", "RawTable", "category_codes", "column_numbers", "date_numbers", "listed", "numbers", "refuse"]
__all__ += ["option", "sort_columns"]

RawTable: TypeAlias = "NDArray[Any] | pd.DataFrame | Cells | csr_array"
"""Rows as read: an array of numbers (n, columns), also sparse, or named columns that may hold other things too."""

FEW_CATEGORIES = 10  # so few are categories even where every row has another one
MOST_CATEGORIES = 1000  # one-hot columns that one column may become
BLOCK = 256  # numeric columns handled at a time: float64 copies stay this wide


def listed(names: Sequence[str]) -> str:
    """Names for an error message, ten at the most."""
    return ", ".join(map(repr, names[:10])) + (f" and {len(names) - 10:,} more" if len(names) > 10 else "")


def option(name: str, columns: Sequence[str]) -> str:
    """``--name COLUMN,…`` as one types it in a shell, for up to ten columns."""
    import shlex

    shown = [f'"{column}"' if "," in column else column for column in columns[:10]]
    return f"--{name} {shlex.quote(','.join(shown))}" + ("…" if len(columns) > 10 else "")


def refuse(bad: NDArray[np.bool_], rows: NDArray[np.int64], names: Sequence[str], why: str) -> None:
    """Raise `InputError` for the first True of ``bad`` (n, columns), naming its column and row."""
    if bad.any():
        i, j = np.unravel_index(int(bad.argmax()), bad.shape)
        raise InputError(f"column {names[int(j)]!r} has a value in row {rows[int(i)] + 1} that is {why}")


# ---- values ----------------------------------------------------------------------------------------------------------


def numbers(
    table: NDArray[Any] | Cells,
    columns: Sequence[str],
    names: Sequence[str],
    rows: NDArray[np.int64],
    kind: str,
    loose: Sequence[str] = (),
) -> Iterator[tuple[Sequence[str], NDArray[np.float64]]]:
    """The columns ``names`` of ``table[rows]``, up to `BLOCK` at a time: (names, (n, block) float64), NaN = missing.

    For the kind ``counts``, log(1 + x). `InputError` for text that is no number, except in the ``loose`` columns, where
    it is missing; for an infinity or a negative count.
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
    """`column_numbers` of several columns side by side; those of texts of one vocabulary are looked up at once."""
    block = np.empty((len(rows), len(names)))
    shared: dict[int, list[int]] = {}
    for j, name in enumerate(names):
        column = cells[name]
        if isinstance(column, Texts) and name not in loose:
            shared.setdefault(id(column.vocabulary), []).append(j)
        else:
            block[:, j] = column_numbers(column, name, rows, loose=name in loose)
    for here in shared.values():
        columns = [column for j in here if isinstance(column := cells[names[j]], Texts)]
        codes = np.stack([column.codes for column in columns], axis=1)[rows]
        values, kinds, _ = columns[0].vocabulary.parsed
        kind = kinds[codes]
        bad = ((kind == OTHER) | (kind == SWAPPED)).any(axis=0)
        if bad.any():
            at = int(bad.argmax())
            column_numbers(columns[at], names[here[at]], rows)  # raises an error with the row
        block[:, here] = values[codes]
    return block


def column_numbers(column: Column, name: str, rows: NDArray[np.int64], *, loose: bool = False) -> NDArray[np.float64]:
    """``column[rows]`` as float64, NaN = missing; `InputError` for a text that is no number, unless ``loose``."""
    if not isinstance(column, Texts):
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
            text = column.vocabulary.texts[codes[i]]
            other = "." if column.vocabulary.decimal == "," else ","
            remedy = f"; read it with --decimal {other}" if kind[i] == SWAPPED else ""
            raise InputError(f"column {name!r} must hold numbers, got {text!r:.100} in row {rows[i] + 1}{remedy}")
    return values[codes]


def date_numbers(
    column: Column, name: str, rows: NDArray[np.int64], form: str, wanted: Sequence[str]
) -> NDArray[np.float64]:
    """(n, len(wanted)) the `parts` of a column of dates; `InputError` for a text that is none of the ``form``."""
    if isinstance(column, Texts):
        texts, used = column.texts, column.used
        dates = read_dates(texts, form)
        marks = column.vocabulary.parsed[1][used] == MARK
        wrong = used[np.isnat(dates) & ~marks]
        codes = column.codes[rows]
        bad = np.flatnonzero(np.isin(codes, wrong)) if len(wrong) else wrong
        if len(bad):
            text = column.vocabulary.texts[codes[bad[0]]]
            raise InputError(
                f"column {name!r} must hold dates ({form}) as in training, got {text!r:.100} in row {rows[bad[0]] + 1}"
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


def category_codes(column: Column, rows: NDArray[np.int64], texts: Sequence[str | None]) -> NDArray[np.int64]:
    """``column[rows]`` as indices into the known ``texts``; negative without a value, or with another one."""
    if isinstance(column, Texts):
        known = np.array([*places(column.texts, texts), MISSING], dtype=np.int64)
        codes = column.codes[rows]
        found = known[np.where(codes == MISSING, len(known) - 1, np.searchsorted(column.used, codes))]
    else:
        codes, names = factorise(column[rows])
        found = np.array([*places(names, texts), MISSING], dtype=np.int64)[codes]
    if None in texts:
        found[found == MISSING] = list(texts).index(None)
    return found


# ---- kinds -----------------------------------------------------------------------------------------------------------


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

    A column of texts holds numbers if it has some, and nothing else but spellings of "missing". If it has other texts
    as well, it holds categories where they are few, or more of its fields are texts than numbers; else `InputError`.
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
        elif not isinstance(column, Texts):
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
        if isinstance(column, Texts):
            yield np.bincount(column.vocabulary.parsed[1][column.codes], minlength=OTHER + 2).tolist()
        else:
            yield []


def _is_empty(column: Column, rows: NDArray[np.int64]) -> bool:
    if isinstance(column, Texts):
        return not (column.codes[rows] >= 0).any()
    if column.dtype.kind in "fM":
        return bool((np.isnat if column.dtype.kind == "M" else np.isnan)(column[rows]).all())
    return False


def _add_numbers(kinds: Kinds, marked: dict[str, list[str]], name: str, column: Texts, tally: Sequence[int]) -> None:
    kinds.numeric.append(name)
    if tally[MARK]:
        for code in column.used[column.vocabulary.parsed[1][column.used] == MARK]:
            marked.setdefault(column.vocabulary.texts[code], []).append(name)
    if others := tally[SWAPPED] + tally[OTHER]:
        example = _example(column, (SWAPPED, OTHER))
        kinds.notices.append(f"{name!r}: {others:,} fields that are no number, such as {example}, are read as missing")


def _mixed_units(name: str, column: Texts) -> str:
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


def _form(column: Texts) -> str | None:
    kinds = column.vocabulary.parsed[1]
    return find_form([column.vocabulary.texts[code] for code in column.used if kinds[code] != MARK])


def _doubtful_dates(name: str, column: Texts, form: str) -> str:
    kinds = column.vocabulary.parsed[1]
    texts = [column.vocabulary.texts[code] for code in column.used if kinds[code] != MARK]
    if not ambiguous(texts, form):
        return ""
    return (
        f"column {name!r} has dates such as {texts[0]!r}, in which day and month can't be told apart: write them as "
        f"2024-01-31, or use {option('categorical', [name])} or {option('drop', [name])}"
    )


def _almost_numbers(name: str, column: Texts, tally: Sequence[int]) -> str:
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


def _example(column: Texts, wanted: Sequence[int]) -> str:
    """Up to three fields of the ``wanted`` kinds and the row of the first."""
    kinds = column.vocabulary.parsed[1]
    codes = [int(code) for code in column.used if kinds[code] in wanted]
    row = int(np.flatnonzero(np.isin(column.codes, codes))[0]) + 1
    first = int(column.codes[row - 1])
    shown = [first, *(code for code in codes if code != first)][:3]
    return ", ".join(f"{column.vocabulary.texts[code]!r:.60}" for code in shown) + f" (row {row})"


def _add_date(kinds: Kinds, name: str, column: Column, form: str, rows: NDArray[np.int64]) -> None:
    wanted: tuple[str, ...] = ("time",)
    if form != "time":
        time = date_numbers(column, name, rows, form, ("time",))
        wanted = ("day", "weekday", "time") if (time[~np.isnan(time)] != 0).any() else ("day", "weekday")
    date_numbers(column, name, np.arange(_length(column)), form, wanted)  # other rows are dates too
    kinds.dates[name] = form, wanted
    kinds.notices.append(f"{name!r} holds {'times' if form == 'time' else 'dates'}, read as {', '.join(wanted)}")


def _length(column: Column) -> int:
    return len(column.codes) if isinstance(column, Texts) else len(column)


def _add_categories(
    kinds: Kinds,
    free: list[tuple[str, str]],
    name: str,
    column: Column,
    rows: NDArray[np.int64],
    *,
    asked: bool = False,
) -> None:
    texts = _categories(name, column, rows, kinds)
    count = len(texts) - (None in texts)
    present = int((category_codes(column, rows, [t for t in texts if t is not None]) >= 0).sum())
    if count > MOST_CATEGORIES or (count > FEW_CATEGORIES and count > present / 2 and not asked):
        free.append((name, f"has {count:,} different texts in {present:,} rows"))
    kinds.categories[name] = texts


def _categories(name: str, column: Column, rows: NDArray[np.int64], kinds: Kinds) -> tuple[str | None, ...]:
    """The categories in ``rows``, spellings merged, and None if a value is missing there."""
    if not isinstance(column, Texts):
        codes, texts = factorise(column[rows])
        return (*texts, None) if (codes == MISSING).any() else texts
    part = column[rows]
    to = merged(part.texts, part.count.tolist())
    if joined := [text for text, kept in to.items() if text != kept]:
        kept = list(dict.fromkeys(to[text] for text in joined))
        verb = "is" if len(joined) == 1 else "are"
        kinds.notices.append(f"{name!r}: {listed(joined)} {verb} read as {listed(kept)}")
    texts = tuple(sorted(set(to.values()), key=order))
    return (*texts, None) if (part.codes == MISSING).any() else texts
