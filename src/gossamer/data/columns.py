"""Raw columns, as an array or a data frame holds them: which are numbers, which are categories, and their values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gossamer.data.labels import MISSING, factorise
from gossamer.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RawTable", "listed", "numbers", "refuse", "series_numbers", "sort_columns"]

RawTable: TypeAlias = "NDArray[Any] | pd.DataFrame"
"""Rows as read: a numeric array (n, columns), or a data frame whose columns may hold categories too."""

FEW_CATEGORIES = 10  # so few are categories even where every row has another one
MOST_CATEGORIES = 1000  # one-hot columns that one column may become
BLOCK = 256  # numeric columns handled at a time: float64 copies stay this wide


def listed(names: Sequence[str]) -> str:
    """Names for an error message, ten at the most."""
    return ", ".join(map(repr, names[:10])) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def refuse(bad: NDArray[np.bool_], rows: NDArray[np.int64], names: Sequence[str], why: str) -> None:
    """Raise `InputError` for the first True of ``bad`` (n, columns), naming its column and row."""
    if bad.any():
        i, j = np.unravel_index(int(bad.argmax()), bad.shape)
        raise InputError(f"column {names[int(j)]!r} has a value in row {rows[int(i)] + 1} that is {why}")


def numbers(
    table: RawTable, columns: Sequence[str], names: Sequence[str], rows: NDArray[np.int64], kind: str
) -> Iterator[tuple[Sequence[str], NDArray[np.float64]]]:
    """The columns ``names`` of ``table[rows]``, up to `BLOCK` at a time: (names, (n, block) float64), NaN = missing.

    For the kind ``counts``, log(1 + x). `InputError` for text, an infinity or a negative count.
    """
    place = {name: j for j, name in enumerate(columns)}
    for start in range(0, len(names), BLOCK):
        part = names[start : start + BLOCK]
        if isinstance(table, np.ndarray):
            here = np.array([place[name] for name in part])
            block = table[np.ix_(rows, here)].astype(np.float64)
        else:
            block = np.stack([series_numbers(table[name], name, rows) for name in part], axis=1)
        refuse(np.isinf(block), rows, part, "infinite; numbers must be finite (or missing)")
        if kind == "counts":
            refuse(block < 0, rows, part, "negative; counts start at 0")
            block = np.log1p(block)
        yield part, block


def series_numbers(series: pd.Series[Any], name: str, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """``series[rows]`` as float64, NaN = missing; `InputError` for a text that is no number."""
    import pandas as pd

    values = series.iloc[rows]
    if pd.api.types.is_numeric_dtype(values.dtype):
        return np.asarray(values.to_numpy(dtype=np.float64, na_value=np.nan))
    parsed = pd.to_numeric(values.astype(object), errors="coerce")
    x = np.asarray(parsed.to_numpy(dtype=np.float64, na_value=np.nan))
    bad = np.flatnonzero(np.isnan(x) & values.notna().to_numpy())
    if len(bad):
        i = int(bad[0])
        raise InputError(f"column {name!r} must hold numbers, got {values.iloc[i]!r:.100} in row {rows[i] + 1}")
    return x


def sort_columns(
    table: RawTable, names: Sequence[str], rows: NDArray[np.int64]
) -> tuple[tuple[str, ...], dict[str, tuple[str | None, ...]], dict[str, str]]:
    """Which columns are numeric, the categories of the others, and the columns to drop with the reason."""
    numeric: list[str] = []
    categories: dict[str, tuple[str | None, ...]] = {}
    dropped: dict[str, str] = {}
    for j, name in enumerate(names):
        if isinstance(table, np.ndarray):
            empty = table.dtype.kind == "f" and bool(np.isnan(table[rows, j]).all())
            number = True
        else:
            values = table[name].iloc[rows]
            empty = bool(values.isna().all())
            number = not empty and _is_number(values, name)
        if empty:
            dropped[name] = "no value in the training rows"
        elif number:
            numeric.append(name)
        else:
            categories[name] = _categories(values, name, rows)
    return tuple(numeric), categories, dropped


def _is_number(values: pd.Series[Any], name: str) -> bool:
    import pandas as pd

    if pd.api.types.is_bool_dtype(values.dtype):
        return False
    inferred = pd.api.types.infer_dtype(values, skipna=True)
    if inferred in ("datetime64", "datetime", "date", "timedelta64", "timedelta", "time", "period", "interval"):
        raise InputError(
            f"column {name!r} must hold numbers or categories, got dates or times: drop it, or make it numbers"
        )
    if inferred == "complex":
        raise InputError(f"column {name!r} must hold real numbers, got complex ones")
    return inferred in ("integer", "floating", "mixed-integer-float", "decimal", "integer-na")


def _categories(values: pd.Series[Any], name: str, rows: NDArray[np.int64]) -> tuple[str | None, ...]:
    import pandas as pd

    try:
        codes, texts = factorise(values)
    except TypeError:
        raise InputError(f"column {name!r} must hold numbers or texts, got lists or other nested values") from None
    present = int((codes != MISSING).sum())
    if len(texts) > MOST_CATEGORIES or (len(texts) > FEW_CATEGORIES and len(texts) > present / 2):
        message = (
            f"column {name!r} has {len(texts)} different texts in {present} rows: drop it if it is free text or an id"
        )
        parsed = pd.to_numeric(values.astype(object), errors="coerce").isna().to_numpy() & values.notna().to_numpy()
        if parsed.sum() <= present / 2:
            first = np.flatnonzero(parsed)
            odd = (
                f"all but {len(first)}, like {values.iloc[first[0]]!r:.100} in row {rows[first[0]] + 1},"
                if len(first)
                else "all"
            )
            message += f"; {odd} are numbers written as text, so mend it if numbers were meant"
        raise InputError(message)
    return (*texts, None) if present < len(values) else texts
