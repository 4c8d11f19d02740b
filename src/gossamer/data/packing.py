"""The state of a preprocessing as plain data, for JSON.

Data rather than a pickle, so that a file can be opened without running code, and be checked part by part.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.data.dates import FORMS, PARTS
from gossamer.data.names import Numbered
from gossamer.data.reading import Reading
from gossamer.errors import InputError

__all__ = ["KINDS", "VERSION", "packed_names", "unpacked"]

VERSION = 2
KINDS = ("scale", "table", "counts", "sparse")


def unpacked(d: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a `Preprocessing`, checked; `InputError` for another version or a part that can't be."""
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
    _require(target is None or isinstance(target, str), "target", "a string or None", target)
    columns = _unpacked_names(d)
    known = {"kind": kind, "columns": columns, "divisor": divisor, "target": target, "classes": classes}
    known["reading"] = reading
    if kind == "sparse":
        zeros, std = np.broadcast_to(0.0, len(columns)), _unpacked_floats(d, "std", len(columns))
        state = {"numeric": columns, "median": zeros, "mean": zeros, "std": std, "categories": {}, "dropped": {}}
        return {**known, **state, "dates": {}}
    numeric = _texts(d, "numeric")
    dates = _dates(part("dates"))
    count = len(numeric) + sum(len(parts) for _, parts in dates.values())
    median, mean, std = (_floats(d, key, part(key), count) for key in ("median", "mean", "std"))
    _require(bool((std >= 0).all()), "std", "non-negative", std.min(initial=0))
    raw_categories, dropped = part("categories"), part("dropped")
    _require(isinstance(raw_categories, dict), "categories", "a dict", raw_categories)
    categories = {name: _texts(raw_categories, name, none=True) for name in raw_categories}
    good = isinstance(dropped, dict) and all(isinstance(string, str) for string in dropped.values())
    _require(good, "dropped", "a dict of strings", dropped)
    used = sorted([*numeric, *categories, *dates, *dropped])
    whole = len(set(columns)) == len(columns) and used == ([] if kind == "scale" else sorted(columns))
    _require(whole, "columns", "distinct, each of them numeric, categories, dates or dropped", columns)
    ordered = [name for name in columns if name in set(numeric)] if len(numeric) < len(columns) else list(columns)
    _require(ordered == list(numeric), "numeric", "in the order of columns", numeric)
    state = {"numeric": numeric, "median": median, "mean": mean, "std": std, "categories": categories}
    return {**known, **state, "dropped": dropped, "dates": dates}


def packed_names(names: Sequence[str]) -> Any:
    """``names`` as JSON: those that are numbered as prefix, first number and count."""
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
    _require(good and len(set(value)) == len(value), key, "a list of distinct strings", value)
    return tuple(value)


def _floats(d: Any, key: str, value: Any, length: int = 1) -> NDArray[np.float64]:
    good = isinstance(value, list) and all(type(v) in (int, float) for v in value) and len(value) == length
    _require(good and bool(np.isfinite(value).all()), key, f"{length} finite numbers", d.get(key))
    return np.array(value, dtype=np.float64)
