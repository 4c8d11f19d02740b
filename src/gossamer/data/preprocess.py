"""Raw columns to the float32 columns that a network reads: fitted on training rows, stored as plain data.

Four kinds, by the content of the columns:

- ``scale``: pixels. x / divisor, the same divisor everywhere, so that zero stays zero and an image stays an image.
- ``table``: a number becomes (x - mean) / std, with the mean and the population standard deviation of the training rows
  and a missing value taken as their median. A string, category or boolean becomes one 0/1 column for each category seen
  in training, with a separate category for "missing" where training rows have it; an unseen category, or a missing
  value that training never had, is all zeros. A date becomes the numbers of its day, weekday and time of day.
- ``counts``: word counts. log(1 + x), neither centred nor scaled: a word that doesn't occur stays 0, so the input is as
  sparse as the text, and rare words aren't blown up by their tiny standard deviation.
- ``sparse``: rows of which most entries are zero, as a sparse matrix. x / scale, where the entries of a column that
  aren't zero have mean square scale²: zero stays zero, and the rows stay a sparse matrix.

A number that is constant in training carries nothing and becomes 0. A column without any value in training is left out
and recorded in ``dropped``. Invalid values raise `InputError`: infinities, nested values, strings that are
nearly all different, and strings where training had numbers. `sort_columns` has the rules for the content of a column.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gossamer.data.cells import Cells
from gossamer.data.column_statistics import column_scales, column_statistics, standardised
from gossamer.data.columns import RawTable, listed, opened, sort_columns
from gossamer.data.names import Numbered
from gossamer.data.packing import KINDS, VERSION, packed_names, unpacked
from gossamer.data.reading import Reading
from gossamer.data.rescaling import rescaled, rescaled_sparse
from gossamer.data.values import category_codes, date_numbers, numbers
from gossamer.errors import InputError, check_choice

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Preprocessing"]


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
        table = opened(table, said.decimal or ".")
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
            scale = column_scales(table, picked)
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
        parts = [column_statistics(block, part, standardise=kind == "table") for part, block in blocks]
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
        raw = opened(raw, self.reading.decimal or ".")
        self._check(raw)
        count = len(raw) if isinstance(raw, Cells) else raw.shape[0]
        picked = np.arange(count, dtype=np.int64) if rows is None else rows
        if not isinstance(raw, np.ndarray | Cells):
            return rescaled_sparse(raw, self.std, picked)
        if self.kind == "scale":
            return rescaled(raw, self.columns, self.divisor, picked)
        start = self._starts
        x = np.zeros((len(picked), len(self.features)), dtype=np.float32)
        at = 0

        def statistics(first: int, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
            here = slice(first, first + count)
            return self.median[here], self.mean[here], self.std[here]

        blocks = numbers(raw, self.columns, self.numeric, picked, self.kind, self.reading.numeric)
        for names, block in blocks:
            x[:, [start[name] for name in names]] = standardised(block, *statistics(at, len(names)), picked, names)
            at += len(names)
        if isinstance(raw, np.ndarray):  # `_check` has made sure that nothing else is expected
            return x
        for name, (form, wanted) in self.dates.items():
            block = date_numbers(raw[name], name, picked, form, wanted)
            places, names = slice(start[name], start[name] + len(wanted)), [name] * len(wanted)
            x[:, places] = standardised(block, *statistics(at, len(names)), picked, names)
            at += len(wanted)
        for name, strings in self.categories.items():
            codes = category_codes(raw[name], picked, strings)
            known = np.flatnonzero(codes >= 0)
            x[known, start[name] + codes[known]] = 1
        return x

    def unseen(self, x: NDArray[np.float32]) -> dict[str, int]:
        """Count rows with categories that did not occur in training.

        Args:
            x: transformed rows (n, len(features)).

        Returns:
            For each column of categories with such rows, their number.
        """
        start, found = self._starts, {}
        for name, strings in self.categories.items():
            rows = int((x[:, start[name] : start[name] + len(strings)] == 0).all(axis=1).sum())
            if rows:
                found[name] = rows
        return found

    def missing(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return the inputs that `transform` makes of a row without any value, and the column that each belongs to.

        Pixels, and entries of sparse rows, are 0.

        Returns:
            The inputs (features), and (features) numbers of columns from 0, without those that were dropped.
        """
        if self.kind in ("scale", "sparse"):
            return np.zeros(len(self.columns), np.float32), np.arange(len(self.columns))
        spread = np.where(self.std > 0, self.std, 1)
        standard = np.where(self.std > 0, (self.median - self.mean) / spread, 0).tolist()
        statistics = {name: [value] for name, value in zip(self.numeric, standard, strict=False)}
        at = len(self.numeric)
        for name, (_, parts) in self.dates.items():
            statistics[name] = standard[at : at + len(parts)]
            at += len(parts)
        values = [
            [float(string is None) for string in self.categories[name]] if name in self.categories else statistics[name]
            for name in self.columns
            if name in self.categories or name in statistics
        ]
        column = np.repeat(np.arange(len(values)), [len(part) for part in values])
        return np.array([value for part in values for value in part], np.float32), column

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

    def to_dict(self) -> dict[str, Any]:
        """Return the state as plain data for JSON; `from_dict` reads it back exactly.

        Returns:
            Dicts, lists, strings, numbers and None.
        """
        sparse = self.kind == "sparse"
        return {
            "version": VERSION,
            "kind": self.kind,
            "columns": packed_names(self.columns),
            "divisor": self.divisor,
            "numeric": [] if sparse else list(self.numeric),
            "median": [] if sparse else self.median.tolist(),
            "mean": [] if sparse else self.mean.tolist(),
            "std": base64.b64encode(self.std.astype("<f8").tobytes()).decode() if sparse else self.std.tolist(),
            "categories": {name: list(strings) for name, strings in self.categories.items()},
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
        return cls(**unpacked(d))
