"""Raw columns to the float32 columns that a network reads: fitted on training rows, stored as plain data.

Four kinds, by the content of the columns:

- ``scale``: pixels. x / divisor, the same divisor everywhere, so that zero stays zero and an image stays an image.
- ``table``: a number becomes (x - mean) / std, with the mean and the population standard deviation of the training rows
  and a missing value taken as their median. A text, category or boolean becomes one 0/1 column for each category seen
  in training, with a category of its own for "missing" where training rows have it; an unseen category, or a missing
  value that training never had, is all zeros. A date becomes the numbers of its day, weekday and time of day.
- ``counts``: word counts. log(1 + x), neither centred nor scaled: a word that doesn't occur stays 0, so the input is as
  sparse as the text, and rare words aren't blown up by their tiny standard deviation.
- ``sparse``: rows of which most entries are zero, as a sparse matrix. x / scale, where the entries of a column that
  aren't zero have mean square scale²: zero stays zero, and the rows stay a sparse matrix.

A number that is constant in training carries nothing and becomes 0. A column without any value in training is left out
and recorded in ``dropped``. Invalid values raise `InputError`: infinities, nested values, texts that are
nearly all different, and text where training had numbers. `sort_columns` has the rules for the content of a column.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gossamer.data.cells import Cells, arrays
from gossamer.data.columns import (
    RawTable,
    category_codes,
    column_numbers,
    date_numbers,
    listed,
    numbers,
    refuse,
    sort_columns,
)
from gossamer.data.dates import FORMS, PARTS
from gossamer.data.names import Numbered
from gossamer.data.reading import Reading
from gossamer.errors import InputError, check_choice

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Preprocessing"]

VERSION = 2
KINDS = ("scale", "table", "counts", "sparse")
CHUNK = 1024  # rows of pixels handled at a time: they stay in the cache between gathering and dividing


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """The state that `fit` learns from training rows and `transform` uses.

    Attributes:
        kind: ``"scale"``, ``"table"``, ``"counts"`` or ``"sparse"``; see the module's docstring.
        columns: the raw columns in order.
        divisor: of the kind ``scale`` alone, which has no other state.
        numeric: the columns that hold numbers.
        median: float64, one for each numeric column and then one for each part of a date.
        mean: float64, likewise.
        std: float64, likewise; 0 marks a constant. Of the kind ``sparse`` the scale.
        categories: the other columns with their strings; None stands for "missing".
        dropped: columns left out, with the reason.
        target: the column of labels, by which `read_features` reads those of a file.
        classes: the labels in order.
        dates: columns that hold dates, with their form and the parts that are used, such as ``("iso", ("day",
            "weekday"))``.
        reading: how the training file was read, so that another one is read in the same way.
        notices: remarks on the columns for the user; they are not stored.

    Example:
        >>> x = np.array([[1.0, 5.0], [3.0, 5.0]])
        >>> gs.data.Preprocessing.fit(x).transform(x)
        array([[-1.,  0.],
               [ 1.,  0.]], dtype=float32)
    """

    kind: str
    columns: Sequence[str]
    divisor: float
    numeric: Sequence[str]
    median: NDArray[np.float64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    categories: Mapping[str, tuple[str | None, ...]]
    dropped: Mapping[str, str]
    target: str | None
    classes: tuple[str, ...]
    dates: Mapping[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    reading: Reading = field(default_factory=Reading)
    notices: tuple[str, ...] = ()

    @classmethod
    def fit(
        cls,
        table: RawTable,
        *,
        rows: NDArray[np.int64] | None = None,
        kind: str = "table",
        divisor: float = 1.0,
        columns: Sequence[str] | None = None,
        target: str | None = None,
        classes: Sequence[str] = (),
        reading: Reading | None = None,
    ) -> Preprocessing:
        """Learn from the rows of a table.

        Args:
            table: (n, columns), an array of numbers, a data frame, or for the kind ``sparse`` a sparse matrix.
            rows: numbers of the rows to learn from; None for all.
            kind: ``"scale"``, ``"table"``, ``"counts"`` or ``"sparse"``.
            divisor: of the kind ``scale``.
            columns: names of an array's columns (default x0, x1, …), or some columns of a data frame (default: all).
            target: name of the column of labels.
            classes: the labels in order.
            reading: how the table was read; its ``categorical`` and ``numeric`` columns are treated as such.

        Returns:
            The fitted preprocessing.

        Raises:
            InputError: the table can't be used: no rows, no values, nested values, infinities, or another type for the
                kind.
        """
        check_choice("kind", kind, KINDS)
        said = Reading() if reading is None else reading
        table = _opened(table, said)
        names: Sequence[str]
        if isinstance(table, Cells):
            names = table.names if columns is None else tuple(columns)
            width = len(names)
        else:
            if table.ndim != 2 or table.dtype.kind not in "buif":
                raise InputError(
                    f"table must be a two-dimensional array of numbers, got shape {table.shape} of {table.dtype}"
                )
            width = table.shape[1]
            names = columns if columns is not None else tuple(f"x{i}" for i in range(width))
            names = names if isinstance(names, Numbered) else tuple(names)
        if len(names) != width or (not isinstance(names, Numbered) and len(set(names)) != width):
            raise InputError(f"columns must be {width} distinct names, got {listed(names)}")
        count = len(table) if isinstance(table, Cells) else table.shape[0]
        picked = np.arange(count, dtype=np.int64) if rows is None else rows
        if len(picked) == 0 or not len(names):
            raise InputError(f"table must have a row and a column to learn from, got {len(picked)} × {len(names)}")
        known = target, tuple(classes)
        empty = np.zeros(0)
        if kind == "sparse":
            if isinstance(table, np.ndarray | Cells):
                raise InputError(f"table must be a sparse matrix for the kind 'sparse', got {type(table).__name__}")
            zeros = np.broadcast_to(0.0, len(names))
            scale = _scale(table, picked)
            return cls(kind, names, float(divisor), names, zeros, zeros, scale, {}, {}, *known, {}, said)
        if not isinstance(table, np.ndarray | Cells):
            raise InputError(f"table must be dense for the kind {kind!r}, got a sparse matrix")
        if kind == "scale":
            return cls(kind, names, float(divisor), (), empty, empty, empty, {}, {}, *known, {}, said)
        kinds = sort_columns(table, names, picked, said)
        blocks = list(numbers(table, names, kinds.numeric, picked, kind, said.numeric))
        for name, (form, wanted) in kinds.dates.items():
            assert isinstance(table, Cells)
            blocks.append(
                ([f"{name} {part}" for part in wanted], date_numbers(table[name], name, picked, form, wanted))
            )
        parts = [_statistics(block, part, standardise=kind == "table") for part, block in blocks]
        median, mean, std = (np.concatenate(each) for each in zip(*parts, strict=True)) if parts else (empty,) * 3
        if not parts and not kinds.categories:
            raise InputError(f"table must have a column with values, got none in {listed(names)}")
        return cls(
            kind, names, float(divisor), tuple(kinds.numeric), median, mean, std, kinds.categories, kinds.dropped,
            *known, kinds.dates, said, tuple(kinds.notices),
        )  # fmt: skip

    @cached_property
    def features(self) -> Sequence[str]:
        """Names of the columns that `transform` makes.

        A number keeps its name, a category is ``column=string``, and the parts of a date are ``column day``, ``column
        weekday`` and ``column time``.
        """
        if self.kind == "sparse":
            return self.columns
        features: list[str] = []
        for name in self.columns:
            if name in self.categories:
                features += [f"{name} is missing" if c is None else f"{name}={c}" for c in self.categories[name]]
            elif name in self.dates:
                features += [f"{name} {part}" for part in self.dates[name][1]]
            elif name not in self.dropped:
                features.append(name)
        return tuple(features)

    def transform(self, raw: RawTable, rows: NDArray[np.int64] | None = None) -> Any:
        """Transform rows to the inputs of a network.

        Args:
            raw: (n, columns). Named columns must include every one that was not dropped, in any order, and may include
                others. An array must have as many columns as training had. The kind ``sparse`` takes a sparse matrix.
            rows: numbers of the rows to transform; None for all.

        Returns:
            Rows (n, len(features)) float32, C-contiguous and finite; a `scipy.sparse.csr_array` for the kind
            ``sparse``.

        Raises:
            InputError: a column is missing or a value does not fit; the message names the row of ``raw``, counted from
                1.
        """
        raw = _opened(raw, self.reading)
        self._check(raw)
        count = len(raw) if isinstance(raw, Cells) else raw.shape[0]
        picked = np.arange(count, dtype=np.int64) if rows is None else rows
        if not isinstance(raw, np.ndarray | Cells):
            return self._sparse(raw, picked)
        if self.kind == "scale":
            return self._scaled(raw, picked)
        start = self._starts
        x = np.zeros((len(picked), len(self.features)), dtype=np.float32)
        at = 0
        blocks = numbers(raw, self.columns, self.numeric, picked, self.kind, self.reading.numeric)
        for names, block in blocks:
            self._standardise(x, [start[name] for name in names], block, at, picked, names)
            at += len(names)
        if isinstance(raw, np.ndarray):  # `_check` has made sure that nothing else is expected
            return x
        for name, (form, wanted) in self.dates.items():
            block = date_numbers(raw[name], name, picked, form, wanted)
            places = range(start[name], start[name] + len(wanted))
            self._standardise(x, list(places), block, at, picked, [name] * len(wanted))
            at += len(wanted)
        for name, texts in self.categories.items():
            codes = category_codes(raw[name], picked, texts)
            known = np.flatnonzero(codes >= 0)
            x[known, start[name] + codes[known]] = 1
        return x

    def _standardise(
        self,
        x: NDArray[np.float32],
        places: list[int],
        block: NDArray[np.float64],
        at: int,
        rows: NDArray[np.int64],
        names: Sequence[str],
    ) -> None:
        """Put the numbers ``block`` into the columns ``places`` of ``x``; their statistics stand from ``at`` on."""
        here = slice(at, at + block.shape[1])
        gaps = np.isnan(block)
        block[gaps] = np.broadcast_to(self.median[here], block.shape)[gaps]
        with np.errstate(over="ignore"):
            block -= self.mean[here]
            np.divide(block, self.std[here], out=block, where=self.std[here] > 0)
        block[:, self.std[here] == 0] = 0
        refuse(np.abs(block) > np.finfo(np.float32).max, rows, names, "too far from the training rows for float32")
        x[:, places] = block

    def unseen(self, x: NDArray[np.float32]) -> dict[str, int]:
        """Count rows with categories that did not occur in training.

        Args:
            x: transformed rows (n, len(features)).

        Returns:
            For each column of categories with such rows, their number.
        """
        start, found = self._starts, {}
        for name, texts in self.categories.items():
            rows = int((x[:, start[name] : start[name] + len(texts)] == 0).all(axis=1).sum())
            if rows:
                found[name] = rows
        return found

    @cached_property
    def _starts(self) -> dict[str, int]:
        """The first feature of each column."""
        start, width = {}, 0
        for name in self.columns:
            start[name] = width
            if name in self.categories:
                width += len(self.categories[name])
            elif name in self.dates:
                width += len(self.dates[name][1])
            else:
                width += name not in self.dropped
        return start

    def _check(self, raw: NDArray[Any] | Cells | csr_array) -> None:
        if isinstance(raw, Cells):
            absent = [name for name in self.columns if name not in raw and name not in self.dropped]
            if absent:
                raise InputError(f"columns {listed(absent)} were there in training and are missing")
            return
        named = [*self.categories, *self.dates]
        if named:
            raise InputError(
                f"columns {listed(named)} hold categories or dates: "
                "the rows need named columns, as in a .csv or .parquet file"
            )
        if raw.ndim != 2 or raw.shape[1] != len(self.columns) or raw.dtype.kind not in "buif":
            raise InputError(
                f"rows must be numbers in {len(self.columns)} columns, got shape {raw.shape} of {raw.dtype}"
            )
        if not isinstance(raw, np.ndarray) and self.kind != "sparse":
            raise InputError("rows must be dense as in training, got a sparse matrix")

    def _sparse(self, raw: csr_array, rows: NDArray[np.int64]) -> csr_array:
        from scipy.sparse import csr_array

        x = csr_array(raw)[rows].astype(np.float64)
        _refuse_sparse(x, rows)
        scale = self.std[x.indices]
        np.divide(x.data, scale, out=x.data, where=scale > 0)
        x.data[scale == 0] = 0  # no row of training had this column
        with np.errstate(over="ignore"):
            out = x.astype(np.float32)
        if not np.isfinite(out.data).all():
            raise InputError("rows must be numbers near those of training, got some too large for float32")
        out.eliminate_zeros()
        return out

    def _scaled(self, raw: NDArray[Any] | Cells, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        x = np.empty((len(rows), len(self.columns)), dtype=np.float32)
        if isinstance(raw, np.ndarray):
            for start in range(0, len(rows), CHUNK):
                part = slice(start, start + CHUNK)
                np.divide(raw[rows[part]], self.divisor, out=x[part], dtype=np.float32, casting="same_kind")
        else:
            for j, name in enumerate(self.columns):
                x[:, j] = column_numbers(raw[name], name, rows) / self.divisor
        # One sum shows whether every value is finite, without an array of flags; only then look for the culprit.
        with np.errstate(over="ignore", invalid="ignore"):
            finite = np.isfinite(x.sum(dtype=np.float64))
        if not finite:
            refuse(~np.isfinite(x), rows, self.columns, "missing or infinite; pixels must be finite")
        return x

    def to_dict(self) -> dict[str, Any]:
        """Return the state as plain data for JSON; `from_dict` reads it back exactly.

        Returns:
            Dicts, lists, strings, numbers and None.
        """
        sparse = self.kind == "sparse"
        return {
            "version": VERSION,
            "kind": self.kind,
            "columns": _packed_names(self.columns),
            "divisor": self.divisor,
            "numeric": [] if sparse else list(self.numeric),
            "median": [] if sparse else self.median.tolist(),
            "mean": [] if sparse else self.mean.tolist(),
            "std": base64.b64encode(self.std.astype("<f8").tobytes()).decode() if sparse else self.std.tolist(),
            "categories": {name: list(texts) for name, texts in self.categories.items()},
            "dates": {name: [form, *parts] for name, (form, parts) in self.dates.items()},
            "dropped": dict(self.dropped),
            "reading": self.reading.to_dict(),
            "target": self.target,
            "classes": list(self.classes),
        }

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Preprocessing:
        """Make the preprocessing that `to_dict` returned.

        Args:
            d: the result of `to_dict`.

        Returns:
            The preprocessing.

        Raises:
            InputError: ``d`` is of another version or has an invalid part.
        """
        version = d.get("version") if isinstance(d, Mapping) else None
        if type(version) is int and version > VERSION:
            raise InputError(f"preprocessing must be of version {VERSION}, got {version}: a newer gossamer wrote it")
        if type(version) is not int or version != VERSION:
            raise InputError(f"preprocessing must be of version {VERSION}, got {version!r}")

        def part(key: str) -> Any:
            return d.get(key)

        kind = part("kind")
        _require(kind in KINDS, "kind", f"one of {KINDS}", kind)
        classes = _texts(d, "classes")
        divisor = _floats(d, "divisor", [part("divisor")])[0]
        _require(divisor > 0, "divisor", "positive", divisor)
        reading = Reading.from_dict(part("reading"))
        target = part("target")
        _require(target is None or isinstance(target, str), "target", "a text or None", target)
        columns = _unpacked_names(d)
        if kind == "sparse":
            zeros, std = np.broadcast_to(0.0, len(columns)), _unpacked_floats(d, "std", len(columns))
            return cls(kind, columns, divisor, columns, zeros, zeros, std, {}, {}, target, classes, {}, reading)
        numeric = _texts(d, "numeric")
        dates = _dates(part("dates"))
        count = len(numeric) + sum(len(parts) for _, parts in dates.values())
        median, mean, std = (_floats(d, key, part(key), count) for key in ("median", "mean", "std"))
        _require(bool((std >= 0).all()), "std", "non-negative", std.min(initial=0))
        raw_categories, dropped = part("categories"), part("dropped")
        _require(isinstance(raw_categories, dict), "categories", "a dict", raw_categories)
        categories = {name: _texts(raw_categories, name, none=True) for name in raw_categories}
        good = isinstance(dropped, dict) and all(isinstance(text, str) for text in dropped.values())
        _require(good, "dropped", "a dict of texts", dropped)
        used = sorted([*numeric, *categories, *dates, *dropped])
        whole = len(set(columns)) == len(columns) and used == ([] if kind == "scale" else sorted(columns))
        _require(whole, "columns", "distinct, each of them numeric, categories, dates or dropped", columns)
        ordered = [name for name in columns if name in set(numeric)] if len(numeric) < len(columns) else list(columns)
        _require(ordered == list(numeric), "numeric", "in the order of columns", numeric)
        return cls(
            kind, columns, divisor, numeric, median, mean, std, categories, dropped, target, classes, dates, reading
        )


def _opened(table: RawTable, said: Reading) -> NDArray[Any] | Cells | csr_array:
    """A data frame as `Cells`; anything else as it is."""
    if isinstance(table, np.ndarray | Cells):
        return table
    frame: Any = table
    if not hasattr(frame, "columns"):
        return frame  # type: ignore[no-any-return]
    names = [str(name) for name in frame.columns]
    if len(set(names)) != len(names):
        raise InputError(f"columns must be {len(names)} distinct names, got {listed(names)}")
    return Cells(arrays(frame), said.decimal or ".")


def _scale(matrix: csr_array, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Root of the mean square of those entries of each column that aren't zero; 0 for a column without any."""
    part = matrix[rows]
    _refuse_sparse(part, rows)
    data = part.data.astype(np.float64)
    count = np.bincount(part.indices, data != 0, part.shape[1])
    total = np.bincount(part.indices, data**2, part.shape[1])
    return np.sqrt(np.divide(total, count, out=np.zeros_like(total), where=count > 0))


def _refuse_sparse(matrix: csr_array, rows: NDArray[np.int64]) -> None:
    bad = np.flatnonzero(~np.isfinite(matrix.data))
    if len(bad):
        row = int(rows[np.searchsorted(matrix.indptr, bad[0], side="right") - 1])
        raise InputError(f"entries of sparse rows must be finite numbers, got {matrix.data[bad[0]]} in row {row + 1}")


def _packed_names(names: Sequence[str]) -> Any:
    return [names.prefix, names.first, names.size] if isinstance(names, Numbered) else list(names)


def _unpacked_names(d: Mapping[str, Any]) -> Sequence[str]:
    value = d.get("columns")
    if isinstance(value, list) and [type(part) for part in value] == [str, int, int]:
        _require(value[1] >= 0 and 0 < value[2] < 2**31, "columns", "a prefix, a first number and a count", value)
        return Numbered(*value)
    return _texts(d, "columns")


def _unpacked_floats(d: Mapping[str, Any], key: str, count: int) -> NDArray[np.float64]:
    try:
        values = np.frombuffer(base64.b64decode(d.get(key) or "", validate=True), dtype="<f8")
    except (ValueError, TypeError):
        values = np.zeros(0)
    good = len(values) == count and bool(np.isfinite(values).all()) and bool((values >= 0).all())
    _require(good, key, f"{count} finite non-negative numbers in base64", d.get(key))
    return values.astype(np.float64)


def _dates(value: Any) -> dict[str, tuple[str, tuple[str, ...]]]:
    _require(isinstance(value, dict), "dates", "a dict", value)
    for entry in value.values():
        good = isinstance(entry, list) and len(entry) > 1 and entry[0] in FORMS
        good = good and entry[1:] == [part for part in PARTS if part in entry[1:]]
        _require(good, "dates", "a form and parts for each column", entry)
    return {name: (entry[0], tuple(entry[1:])) for name, entry in value.items()}


def _require(good: bool, key: str, allowed: str, got: object) -> None:
    if not good:
        raise InputError(f"preprocessing[{key!r}] must be {allowed}, got {got!r:.200}")


def _texts(d: Any, key: str, *, none: bool = False) -> tuple[Any, ...]:
    value = d.get(key)
    good = isinstance(value, list) and all(isinstance(v, str) or (none and v is None) for v in value)
    _require(good and len(set(value)) == len(value), key, "a list of distinct texts", value)
    return tuple(value)


def _floats(d: Any, key: str, value: Any, length: int = 1) -> NDArray[np.float64]:
    good = isinstance(value, list) and all(type(v) in (int, float) for v in value) and len(value) == length
    _require(good and bool(np.isfinite(value).all()), key, f"{length} finite numbers", d.get(key))
    return np.array(value, dtype=np.float64)


def _statistics(
    x: NDArray[np.float64], names: Sequence[str], *, standardise: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Median, mean and standard deviation of each column of ``x``; its gaps are filled with the median.

    Unless ``standardise``, the mean is 0 and the deviation 1, or 0 for a constant.
    """
    gaps = np.isnan(x)
    median = np.nanmedian(x, axis=0) if gaps.any() else np.median(x, axis=0)
    x[gaps] = np.broadcast_to(median, x.shape)[gaps]
    with np.errstate(over="ignore", invalid="ignore"):
        mean = x.mean(axis=0)
        std = x.std(axis=0)
    for j in np.flatnonzero(~np.isfinite(std) | ~np.isfinite(median)):
        raise InputError(
            f"column {names[int(j)]!r} must hold numbers whose variance fits float64, got up to {x[:, j].max():g}"
        )
    # Rounding leaves a constant like 0.1 a tiny standard deviation: compare the values themselves.
    std[x.max(axis=0) == x.min(axis=0)] = 0
    return (median, mean, std) if standardise else (median, np.zeros_like(mean), (std > 0).astype(np.float64))
