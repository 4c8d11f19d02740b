"""Raw columns to the float32 columns that a network reads: fitted on training rows, stored as plain data.

Three kinds, by what the columns hold:

- ``scale``: pixels. x / divisor, the same divisor everywhere, so that zero stays zero and an image stays an image.
- ``table``: a number becomes (x - mean) / std, with the mean and the population standard deviation of the training rows
  and a missing value taken as their median. A text, category or boolean becomes one 0/1 column for each category seen
  in training, with a category of its own for "missing" where training rows have it; an unseen category, or a missing
  value that training never had, is all zeros.
- ``counts``: word counts. log(1 + x), neither centred nor scaled: a word that doesn't occur stays 0, so the input is as
  sparse as the text, and rare words aren't blown up by their tiny standard deviation.

A number that is constant in training carries nothing and becomes 0. A column without any value in training is left out
and recorded in ``dropped``. What can't be used raises `InputError`: infinities, dates, nested values, texts that are
nearly all different, and text where training had numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.data.columns import RawTable, listed, numbers, refuse, series_numbers, sort_columns
from gossamer.data.labels import MISSING, encode
from gossamer.errors import InputError, check_choice

__all__ = ["Preprocessing"]

VERSION = 1
KINDS = ("scale", "table", "counts")
CHUNK = 1024  # rows of pixels handled at a time: they stay in the cache between gathering and dividing


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """What `fit` learnt from training rows, and everything that `transform` needs.

    ``columns`` are the raw columns in order. ``numeric`` are those that hold numbers, with ``median``, ``mean`` and
    ``std`` (len(numeric),) float64; ``std`` 0 marks a constant. ``categories`` maps the others to their texts, None
    standing for "missing". ``dropped`` maps a column left out to the reason. ``divisor`` serves the kind ``scale``
    alone, which has no other state. ``target`` and ``classes`` let `read_features` number the labels of a file.
    """

    kind: str
    columns: tuple[str, ...]
    divisor: float
    numeric: tuple[str, ...]
    median: NDArray[np.float64]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    categories: Mapping[str, tuple[str | None, ...]]
    dropped: Mapping[str, str]
    target: str | None
    classes: tuple[str, ...]

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
    ) -> Preprocessing:
        """Learn from ``table[rows]`` (all rows without ``rows``).

        ``columns`` names those of an array (default x0, x1, …); a data frame brings its own. ``divisor`` belongs to the
        kind ``scale``.
        """
        check_choice("kind", kind, KINDS)
        if isinstance(table, np.ndarray):
            if table.ndim != 2 or table.dtype.kind not in "buif":
                raise InputError(
                    f"table must be a two-dimensional array of numbers, got shape {table.shape} of {table.dtype}"
                )
            names = tuple(columns) if columns is not None else tuple(f"x{i}" for i in range(table.shape[1]))
        else:
            names = tuple(str(name) for name in table.columns)
        if len(set(names)) != len(names) or len(names) != table.shape[1]:
            raise InputError(f"columns must be {table.shape[1]} distinct names, got {listed(names)}")
        picked = np.arange(len(table), dtype=np.int64) if rows is None else rows
        if len(picked) == 0 or not names:
            raise InputError(f"table must have a row and a column to learn from, got {len(picked)} × {len(names)}")

        numeric: tuple[str, ...] = ()
        median = mean = std = np.zeros(0)
        categories: dict[str, tuple[str | None, ...]] = {}
        dropped: dict[str, str] = {}
        if kind != "scale":
            numeric, categories, dropped = sort_columns(table, names, picked)
            parts = [
                _statistics(block, block_names, standardise=kind == "table")
                for block_names, block in numbers(table, names, numeric, picked, kind)
            ]
            if parts:
                median, mean, std = (np.concatenate(each) for each in zip(*parts, strict=True))
            if not numeric and not categories:
                raise InputError(f"table must have a column with values, got none in {listed(names)}")
        return cls(
            kind, names, float(divisor), numeric, median, mean, std, categories, dropped, target, tuple(classes)
        )  # fmt: skip

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the columns that `transform` makes: a number keeps its name, a category is ``column=text``."""
        features: list[str] = []
        for name in self.columns:
            if name in self.categories:
                features += [f"{name} is missing" if c is None else f"{name}={c}" for c in self.categories[name]]
            elif name not in self.dropped:
                features.append(name)
        return tuple(features)

    def transform(self, raw: RawTable, rows: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """``raw[rows]`` (all rows without ``rows``) as (n, len(features)) float32, C-contiguous and finite.

        A data frame must have every column that was not dropped, in any order, and may have others. An array must have
        as many columns as training had. Errors name rows of ``raw``, counted from 1.
        """
        self._check(raw)
        picked = np.arange(len(raw), dtype=np.int64) if rows is None else rows
        if self.kind == "scale":
            return self._scaled(raw, picked)
        start = self._starts()
        x = np.zeros((len(picked), len(self.features)), dtype=np.float32)
        at = 0
        for names, block in numbers(raw, self.columns, self.numeric, picked, self.kind):
            here = slice(at, at + len(names))
            at = here.stop
            gaps = np.isnan(block)
            block[gaps] = np.broadcast_to(self.median[here], block.shape)[gaps]
            with np.errstate(over="ignore"):
                block -= self.mean[here]
                np.divide(block, self.std[here], out=block, where=self.std[here] > 0)
            block[:, self.std[here] == 0] = 0
            refuse(
                np.abs(block) > np.finfo(np.float32).max, picked, names, "too far from the training rows for float32"
            )
            x[:, [start[name] for name in names]] = block
        if isinstance(raw, np.ndarray):  # `_check` has made sure that nothing else is expected
            return x
        for name, texts in self.categories.items():
            codes = encode(raw[name].iloc[picked], texts)
            if None in texts:
                codes[codes == MISSING] = texts.index(None)
            known = np.flatnonzero(codes >= 0)
            x[known, start[name] + codes[known]] = 1
        return x

    def unseen(self, x: NDArray[np.float32]) -> dict[str, int]:
        """For each column of categories, how many of the transformed rows ``x`` hold none that training had."""
        start, found = self._starts(), {}
        for name, texts in self.categories.items():
            rows = int((x[:, start[name] : start[name] + len(texts)] == 0).all(axis=1).sum())
            if rows:
                found[name] = rows
        return found

    def _starts(self) -> dict[str, int]:
        """The first feature of each column."""
        start, width = {}, 0
        for name in self.columns:
            start[name] = width
            width += len(self.categories[name]) if name in self.categories else name not in self.dropped
        return start

    def _check(self, raw: RawTable) -> None:
        if isinstance(raw, np.ndarray):
            if self.categories:
                raise InputError(
                    f"columns {listed(list(self.categories))} hold categories: "
                    "the rows need named columns, as in a .csv or .parquet file"
                )
            if raw.ndim != 2 or raw.shape[1] != len(self.columns) or raw.dtype.kind not in "buif":
                raise InputError(
                    f"rows must be numbers in {len(self.columns)} columns, got shape {raw.shape} of {raw.dtype}"
                )
        else:
            absent = [name for name in self.columns if name not in raw.columns and name not in self.dropped]
            if absent:
                raise InputError(f"columns {listed(absent)} were there in training and are missing")

    def _scaled(self, raw: RawTable, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        x = np.empty((len(rows), len(self.columns)), dtype=np.float32)
        if isinstance(raw, np.ndarray):
            for start in range(0, len(rows), CHUNK):
                part = slice(start, start + CHUNK)
                np.divide(raw[rows[part]], self.divisor, out=x[part], dtype=np.float32, casting="same_kind")
        else:
            for j, name in enumerate(self.columns):
                x[:, j] = series_numbers(raw[name], name, rows) / self.divisor
        # One sum shows whether every value is finite, without an array of flags; only then look for the culprit.
        with np.errstate(over="ignore", invalid="ignore"):
            finite = np.isfinite(x.sum(dtype=np.float64))
        if not finite:
            refuse(~np.isfinite(x), rows, self.columns, "missing or infinite; pixels must be finite")
        return x

    def to_dict(self) -> dict[str, Any]:
        """Everything as dicts, lists, texts, numbers and None, for JSON; `from_dict` reads it back exactly."""
        return {
            "version": VERSION,
            "kind": self.kind,
            "columns": list(self.columns),
            "divisor": self.divisor,
            "numeric": list(self.numeric),
            "median": self.median.tolist(),
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "categories": {name: list(texts) for name, texts in self.categories.items()},
            "dropped": dict(self.dropped),
            "target": self.target,
            "classes": list(self.classes),
        }

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Preprocessing:
        """What `to_dict` wrote; `InputError` for another version or a part that can't be."""
        version = d.get("version") if isinstance(d, Mapping) else None
        if type(version) is int and version > VERSION:
            raise InputError(f"preprocessing must be of version {VERSION}, got {version}: a newer gossamer wrote it")
        if type(version) is not int or version != VERSION:
            raise InputError(f"preprocessing must be of version {VERSION}, got {version!r}")

        def part(key: str) -> Any:
            return d.get(key)

        kind = part("kind")
        _require(kind in KINDS, "kind", f"one of {KINDS}", kind)
        columns, numeric, classes = (_texts(d, key) for key in ("columns", "numeric", "classes"))
        divisor = _floats(d, "divisor", [part("divisor")])[0]
        _require(divisor > 0, "divisor", "positive", divisor)
        median, mean, std = (_floats(d, key, part(key), len(numeric)) for key in ("median", "mean", "std"))
        _require(bool((std >= 0).all()), "std", "non-negative", std.min(initial=0))
        raw_categories, dropped, target = part("categories"), part("dropped"), part("target")
        _require(isinstance(raw_categories, dict), "categories", "a dict", raw_categories)
        categories = {name: _texts(raw_categories, name, none=True) for name in raw_categories}
        good = isinstance(dropped, dict) and all(isinstance(text, str) for text in dropped.values())
        _require(good, "dropped", "a dict of texts", dropped)
        _require(target is None or isinstance(target, str), "target", "a text or None", target)
        used = sorted([*numeric, *categories, *dropped])
        whole = len(set(columns)) == len(columns) and used == ([] if kind == "scale" else sorted(columns))
        _require(whole, "columns", "distinct, each of them numeric, categories or dropped", columns)
        ordered = tuple(name for name in columns if name in set(numeric))
        _require(ordered == numeric, "numeric", "in the order of columns", numeric)
        return cls(kind, columns, float(divisor), numeric, median, mean, std, categories, dropped, target, classes)


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
