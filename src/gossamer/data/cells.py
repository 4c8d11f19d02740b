"""The columns of a table as they were read, each as an array: numbers, dates, or codes of distinct strings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gossamer.data.labels import MISSING, spelling
from gossamer.data.numbers import OTHER, parse_all
from gossamer.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Cells", "Column", "Strings", "Vocabulary", "arrays"]

_CELLS = 1 << 22  # strings whose distinct ones are looked for at a time


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The distinct strings ``strings`` of some columns, and their values as numbers (see `parse_all`)."""

    strings: list[str]
    decimal: str

    @cached_property
    def parsed(self) -> tuple[NDArray[np.float64], NDArray[np.int8], dict[int, str]]:
        """Their values, kinds and units, with one entry more for a field that is empty: `MISSING` picks the last."""
        values, kinds, units = parse_all(self.strings, self.decimal)
        return np.append(values, np.nan), np.append(kinds, OTHER + 1).astype(np.int8), units


@dataclass(frozen=True, eq=False)
class Strings:
    """One column of strings: ``codes`` (n,) into those of ``vocabulary``, `MISSING` where there is none."""

    codes: NDArray[np.int64]
    vocabulary: Vocabulary

    def __getitem__(self, rows: NDArray[np.int64]) -> Strings:
        return Strings(self.codes[rows], self.vocabulary)

    @cached_property
    def used(self) -> NDArray[np.int64]:
        """The codes that occur, in order; `MISSING` is left out."""
        found = np.unique(self.codes)
        return found[found >= 0]

    @cached_property
    def count(self) -> NDArray[np.int64]:
        """How often each of `used` occurs."""
        codes = self.codes[self.codes >= 0]
        return np.bincount(np.searchsorted(self.used, codes), minlength=len(self.used))

    @property
    def strings(self) -> list[str]:
        """The distinct strings, in the order of `used`."""
        return [self.vocabulary.strings[code] for code in self.used]


Column: TypeAlias = "NDArray[Any] | Strings"
"""An array of numbers, booleans or datetime64, or strings."""


def arrays(frame: pd.DataFrame) -> dict[str, NDArray[Any]]:
    """The columns of a data frame with distinct names as arrays; those of one type are taken at once."""
    names = [str(name) for name in frame.columns]
    found: dict[str, NDArray[Any]] = dict.fromkeys(names, np.zeros(0))  # in this order
    by_type: dict[Any, list[int]] = {}
    for j, kind in enumerate(frame.dtypes.tolist()):
        by_type.setdefault(kind, []).append(j)
    for kind, places in by_type.items():
        columns: Iterator[NDArray[Any]] = (_array(frame.iloc[:, j]) for j in places)
        if isinstance(kind, np.dtype):
            columns = iter((frame if len(places) == len(names) else frame.iloc[:, places]).to_numpy().T)
        for j, column in zip(places, columns, strict=True):
            found[names[j]] = column
    return found


class Cells:
    """The columns of a table by name; every one is looked at once, however many there are.

    Args:
        columns: arrays (n,) of numbers, booleans, dates or Python objects, as `arrays` gives them.
        decimal: the mark by which strings would be numbers.
    """

    def __init__(self, columns: Mapping[str, NDArray[Any]], decimal: str = ".") -> None:
        self.names = tuple(columns)
        self.rows = len(next(iter(columns.values()), ()))
        self._columns: dict[str, Column] = {}
        strings: dict[str, NDArray[Any]] = {}
        for name, column in columns.items():
            if column.dtype.kind in "buifM":
                self._columns[name] = column
            elif column.dtype.kind == "m":
                self._columns[name] = _days(column)
            elif column.dtype.kind == "c":
                raise InputError(f"column {name!r} must hold real numbers, got complex ones")
            else:
                strings[name] = column
        names = list(strings)
        size = max(1, _CELLS // max(1, self.rows))
        for start in range(0, len(names), size):
            part = names[start : start + size]
            self._columns |= _coded(part, [strings[name] for name in part], decimal)

    def __len__(self) -> int:
        return self.rows

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def __getitem__(self, name: str) -> Column:
        return self._columns[name]


def _array(series: pd.Series[Any]) -> NDArray[Any]:
    """A column of a type of pandas' own, as numpy holds such values."""
    import pandas as pd

    kind = series.dtype
    if isinstance(kind, pd.CategoricalDtype):
        return np.asarray(series.astype(object).to_numpy(dtype=object))
    if pd.api.types.is_datetime64_any_dtype(kind):
        return np.asarray(series.dt.tz_localize(None).to_numpy(dtype="datetime64[us]"))
    if pd.api.types.is_bool_dtype(kind) and not series.isna().any():
        return np.asarray(series.to_numpy(dtype=bool))
    if pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind):
        if pd.api.types.is_complex_dtype(kind):
            return np.asarray(series.to_numpy())
        return np.asarray(series.to_numpy(dtype=np.float64, na_value=np.nan))
    return np.asarray(series.to_numpy(dtype=object))


def _days(spans: NDArray[Any]) -> NDArray[np.float64]:
    days = spans.astype("timedelta64[us]").astype(np.int64) / 86_400e6
    days[np.isnat(spans)] = np.nan
    return np.asarray(days)


def _coded(names: Sequence[str], columns: Sequence[NDArray[Any]], decimal: str) -> dict[str, Column]:
    """Columns of Python objects: of strings the distinct ones of all together, of others one by one."""
    import pandas as pd

    flat = np.concatenate(columns) if len(columns) > 1 else columns[0]
    if pd.api.types.infer_dtype(flat, skipna=True) in ("string", "empty"):
        codes, found = _distinct(flat)
        vocabulary = Vocabulary(found, decimal)
        parts = codes.reshape(len(columns), -1)
        return {name: Strings(part, vocabulary) for name, part in zip(names, parts, strict=True)}
    if len(columns) > 1:
        coded: dict[str, Column] = {}
        for name, column in zip(names, columns, strict=True):
            coded |= _coded([name], [column], decimal)
        return coded
    inferred = pd.api.types.infer_dtype(flat, skipna=True)
    if inferred == "complex":
        raise InputError(f"column {names[0]!r} must hold real numbers, got complex ones")
    if inferred in ("integer", "floating", "mixed-integer-float", "decimal", "integer-na"):
        return {names[0]: np.array([np.nan if pd.isna(v) else v for v in flat], dtype=np.float64)}
    try:
        codes, found = _distinct(flat)
    except TypeError:
        raise InputError(
            f"column {names[0]!r} must hold numbers or strings, got lists or other nested values: "
            f"leave it out with --drop {names[0]}"
        ) from None
    return {names[0]: Strings(codes, Vocabulary(found, decimal))}


def _distinct(values: NDArray[Any]) -> tuple[NDArray[np.int64], list[str]]:
    """Codes (n,) of ``values`` and their strings, in order of appearance; `MISSING` where a string is empty."""
    import pandas as pd

    codes, uniques = pd.factorize(values)
    place: dict[str, int] = {"": MISSING}
    to = [place.setdefault(spelling(value), len(place) - 1) for value in uniques]
    # pandas codes a missing value -1, which picks the last entry here.
    return np.array([*to, MISSING], dtype=np.int64)[codes], list(place)[1:]
