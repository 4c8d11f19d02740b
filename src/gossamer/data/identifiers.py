"""Columns that identify the row: an index that a tool wrote, ids, and columns that grow with the row number.

A file is often sorted by the target. A network that reads the row number then seems to be right, and
fails on new rows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gossamer.data.cells import Cells, Column, Strings
from gossamer.data.columns import listed, option
from gossamer.data.numbers import NUMBER, OTHER, SWAPPED

__all__ = ["find_identifiers", "nameless"]

_NAME = re.compile(
    r"(index|idx|id|no\.?|nr\.?|#|row|rows|row[ _.-]?(id|idx|index|no|nr|num|number|name)s?|number|uuid|guid|"
    r"level_0|__index_level_\d+__|rownames|.*[ _.-](id|idx|uuid|guid|index))",
    re.IGNORECASE,
)
_CAMEL = re.compile(r".*[a-z](Id|ID|Idx|UUID|GUID|Index)")
_NAMELESS = re.compile(r"Unnamed: \d+")
_FEW = 5  # fewer rows differ by chance
_ORDERED = 20  # so many numbers don't grow from row to row by chance


def nameless(place: int) -> str:
    """The name of the column at ``place`` (from 0) that has none, as pandas gives it."""
    return f"Unnamed: {place}"


def find_identifiers(cells: Cells, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Find the columns of ``names`` to leave out, and notices on them and on others that grow with the row number.

    Left out is a column without a name, or one called index, id, row number or the like, whose values are whole numbers
    or strings and all different. A column of another name is kept; a notice reports one that grows or falls with every
    row, or holds each whole number of a range once.
    """
    out: list[str] = []
    notices: list[str] = []
    suspects: list[str] = []
    if len(cells) < _FEW:
        return out, notices
    for name in names:
        column = cells[name]
        named = bool(_NAME.fullmatch(name) or _CAMEL.fullmatch(name))
        if named or _NAMELESS.fullmatch(name):
            if _all_different(column):
                out.append(name)
            elif not named and not _is_void(column):
                notices.append(
                    f"column {name!r} has no name in the file and is used: {option('drop', [name])} if it is an index"
                )
        elif len(cells) >= _ORDERED and _counts(column):
            suspects.append(name)
    if out:
        notices.insert(
            0, f"left out, since each row has another value: {listed(out)}; {option('numeric', out)} uses it"
        )
    if suspects:
        notices.append(
            f"{listed(suspects)} {'follows' if len(suspects) == 1 else 'follow'} the order of the rows: "
            f"{option('drop', suspects)} if new rows continue where these end"
        )
    return out, notices


def _is_void(column: Column) -> bool:
    return isinstance(column, Strings) and not len(column.used)


def _all_different(column: Column) -> bool:
    if isinstance(column, Strings):
        if len(column.used) != len(column.codes):
            return False
        values, kinds, _ = column.vocabulary.parsed
        found = kinds[column.used]
        if (found == NUMBER).all():
            return _all_different(values[column.used])
        return not (found == SWAPPED).any() and bool((found == OTHER).any())
    if column.dtype.kind not in "iuf" or (column.dtype.kind == "f" and not np.array_equal(column, np.rint(column))):
        return False
    return len(np.unique(column)) == len(column)


def _counts(column: Column) -> bool:
    """Whether numbers grow or fall with every row, or are each whole number of a range, in any order."""
    if isinstance(column, Strings):
        values: NDArray[np.float64] = column.vocabulary.parsed[0][column.codes[:_ORDERED]]
        if np.isnan(values).any():
            return False
        column = column.vocabulary.parsed[0][column.codes]
    if column.dtype.kind not in "iuf":
        return False
    if _one_way(column[:_ORDERED]):  # few columns are ordered there by chance, and most need no more
        return _one_way(column)
    low, high = column.min(), column.max()
    if float(high) - float(low) != len(column) - 1:
        return False
    return len(np.unique(column)) == len(column) and bool((column == np.rint(column)).all())


def _one_way(column: NDArray[np.generic]) -> bool:
    before, after = column[:-1], column[1:]
    return bool((after > before).all() or (after < before).all())  # type: ignore[operator]
