"""Labels and categories as texts: one spelling for a value, however a file stores it.

The class "1" may arrive as the integer 1, the float 1.0 (an integer column with a gap) or the text "1"; a boolean as
True, "true" or "TRUE". Each is one category, and an ordering that doesn't depend on the order of rows numbers them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.errors import InputError

__all__ = ["MISSING", "UNKNOWN", "class_indices", "encode", "factorise", "match_classes"]

MISSING = -1
UNKNOWN = -2


def _spelling(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    text = str(value)
    return text.capitalize() if text.lower() in ("true", "false") else text


def _order(text: str) -> tuple[int, float, str]:
    """Numbers by size ("9" before "10"), then texts by the alphabet."""
    try:
        number = float(text)
    except ValueError:
        return 1, 0.0, text
    return (0, number, text) if math.isfinite(number) else (1, 0.0, text)


def factorise(values: Any) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """``values`` (n,) as codes (n,) into the sorted tuple of its distinct texts; `MISSING` where there is no value."""
    import pandas as pd

    codes, uniques = pd.factorize(values)
    spellings = [_spelling(value) for value in uniques]
    texts = tuple(sorted(set(spellings), key=_order))
    place = {text: i for i, text in enumerate(texts)}
    # pandas codes a missing value -1, which picks the last entry here.
    return np.array([*(place[s] for s in spellings), MISSING], dtype=np.int64)[codes], texts


def encode(values: Any, texts: Sequence[str | None]) -> NDArray[np.int64]:
    """``values`` (n,) as indices into the known ``texts``; `MISSING` without a value, `UNKNOWN` for any other text."""
    codes, found = factorise(values)
    place = {text: i for i, text in enumerate(texts)}
    return np.array([*(place.get(text, UNKNOWN) for text in found), MISSING], dtype=np.int64)[codes]


def class_indices(labels: Any, name: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Class index (n,) of every label and the classes, from the target column called ``name``.

    `InputError` for a missing label, a single class, fractions (numbers to regress on) and more classes than half the
    rows (numbers to regress on, or an identifier).
    """
    values = np.asarray(labels)
    if values.dtype.kind in "fc":
        with np.errstate(invalid="ignore"):
            fractions = np.flatnonzero(np.isinf(values) | (~np.isnan(values) & (values != np.rint(values.real))))
        if len(fractions):
            row = int(fractions[0])
            raise InputError(
                f"target {name!r} must hold classes, got the number {values[row]} in row {row + 1}: "
                "only classification is supported; divide the numbers into classes first"
            )
    y, classes = factorise(labels)
    missing = np.flatnonzero(y == MISSING)
    if len(missing):
        raise InputError(
            f"target {name!r} must have a label in every row, got none in {len(missing)} of {len(y)} rows "
            f"(the first is row {missing[0] + 1})"
        )
    if len(classes) < 2:
        raise InputError(
            f"target {name!r} must hold two or more classes, got {', '.join(map(repr, classes)) or 'none'}"
        )
    if len(classes) > len(y) / 2:
        raise InputError(
            f"target {name!r} must hold classes, got {len(classes)} distinct values in {len(y)} rows: "
            "that is an identifier or a number, and only classification is supported"
        )
    return y, classes


def match_classes(labels: Any, classes: tuple[str, ...], name: str) -> NDArray[np.int64] | None:
    """Index (n,) of every label in the known ``classes``; None where no row has a label.

    `InputError` where only some rows have one, or one isn't among ``classes``.
    """
    y = encode(labels, classes)
    if (y == MISSING).all():
        return None
    wrong = np.flatnonzero(y < 0)
    if len(wrong):
        row = int(wrong[0])
        value = "none" if y[row] == MISSING else repr(_spelling(np.asarray(labels)[row]))
        shown = ", ".join(map(repr, classes[:20])) + (", …" if len(classes) > 20 else "")
        raise InputError(f"target {name!r} must be one of {shown} or empty in every row, got {value} in row {row + 1}")
    return y
