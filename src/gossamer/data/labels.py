"""Labels and categories as strings: one spelling for a value, however a file stores it.

The class "1" may arrive as the integer 1, the float 1.0 (an integer column with a gap) or the string "1"; a boolean as
True, "true" or "TRUE". Blanks around a string don't count. Spellings that differ in case alone are one value, unless
they are so short that case may distinguish them (`merged`). An ordering that doesn't depend on the order of
rows numbers the values.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.errors import InputError

__all__ = ["MISSING", "UNKNOWN", "class_indices", "encode", "factorise", "match_classes", "merged", "order"]
__all__ += ["places", "spelling"]

MISSING = -1
UNKNOWN = -2

_YES_AND_NO = ("yes", "no", "true", "false", "on", "off", "y", "n", "t", "f", "ja", "nein", "nee", "oui", "non", "si")
_WORDS = frozenset((*_YES_AND_NO, "sì", "sí", "sim", "não", "da", "ne", "tak", "nie"))
_WHOLE = re.compile(r"([-+]?(?:0|[1-9]\d*))\.0*", re.ASCII)


def spelling(value: object) -> str:
    """``value`` as a trimmed string, "" if it is empty."""
    if isinstance(value, str):
        string = value.strip()
        if not string.isascii():
            string = unicodedata.normalize("NFC", string)
    elif isinstance(value, bytes):
        string = value.decode(errors="replace").strip()
    elif isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    else:
        string = str(value)
    return string.capitalize() if len(string) < 6 and string.lower() in ("true", "false") else string


def order(string: str) -> tuple[int, float, str]:
    """Return a sorting key: numbers by size ("9" before "10"), then other strings in alphabetical order."""
    try:
        number = float(string)
    except ValueError:
        return 1, 0.0, string
    return (0, number, string) if math.isfinite(number) else (1, 0.0, string)


def _fold(strings: Collection[str]) -> dict[str, str]:
    """Map each string to the form that it shares with those that differ from it in case alone.

    Case means nothing in a string of three or more characters, and "no", "ja", "y", "n" and the like where nothing but
    such words occurs: "Yes" and "YES" are one, "a" and "A", or "Co" and "CO", are two.
    """
    folded = {string: string.casefold() for string in strings}
    words = set(folded.values()) <= _WORDS
    return {string: low if words or len(low) > 2 else string for string, low in folded.items()}


def merged(strings: Sequence[str], counts: Sequence[int]) -> dict[str, str]:
    """The spelling that stands for each of ``strings``: the most frequent of those that differ in case alone."""
    groups: dict[str, list[tuple[int, str]]] = {}
    folded = _fold(strings)
    if len(set(folded.values())) == len(folded):
        return {string: string for string in strings}
    for string, count in zip(strings, counts, strict=True):
        groups.setdefault(folded[string], []).append((-count, string))
    return {string: min(groups[folded[string]])[1] for string in strings}


def places(strings: Sequence[str], known: Sequence[str | None]) -> list[int]:
    """The index of each of ``strings`` among the ``known``, else of the one of another case; `UNKNOWN` for others."""
    place = {string: i for i, string in enumerate(known) if string is not None}
    missed = [string for string in strings if string not in place]
    if not missed:
        return [place[string] for string in strings]
    folded = {low: place[string] for string, low in _fold(place.keys()).items()}
    words = all(string.casefold() in _WORDS for string in place)

    def find(string: str) -> int:
        low = string.casefold()
        return folded.get(low, UNKNOWN) if len(low) > 2 or (words and low in _WORDS) else UNKNOWN

    return [place[string] if string in place else find(string) for string in strings]


def factorise(values: Any) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return ``values`` (n,) as codes (n,) into the sorted tuple of its distinct strings; `MISSING` without a value."""
    import pandas as pd

    codes, uniques = pd.factorize(values)
    spellings = [spelling(value) for value in uniques]
    strings = tuple(sorted(set(spellings) - {""}, key=order))
    place = {"": MISSING} | {string: i for i, string in enumerate(strings)}
    # pandas codes a missing value -1, which picks the last entry here.
    return np.array([*(place[s] for s in spellings), MISSING], dtype=np.int64)[codes], strings


def encode(values: Any, strings: Sequence[str | None]) -> NDArray[np.int64]:
    """Return ``values`` (n,) as indices into the known ``strings``; `MISSING` without a value, `UNKNOWN` for others."""
    codes, found = factorise(values)
    return np.array([*places(found, strings), MISSING], dtype=np.int64)[codes]


def class_indices(labels: Any, name: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Class index (n,) of every label and the classes, from the target column called ``name``.

    `InputError` for a missing label, a single class, fractions (numbers to regress on) and more classes than half the
    rows (numbers to regress on, or an identifier).
    """
    y, found = factorise(labels)
    _refuse_fractions(y, found, name)
    missing = np.flatnonzero(y == MISSING)
    if len(missing):
        raise InputError(
            f"target {name!r} must have a label in every row, got none in {len(missing)} of {len(y)} rows "
            f"(the first is row {missing[0] + 1}): fill them in, or remove these rows"
        )
    to = _joined(found, np.bincount(y, minlength=len(found)).tolist())
    classes = tuple(sorted(set(to.values()), key=order))
    place = {string: i for i, string in enumerate(classes)}
    y = np.array([place[to[string]] for string in found], dtype=np.int64)[y]
    if len(classes) < 2:
        raise InputError(
            f"target {name!r} must hold two or more classes, got {', '.join(map(repr, classes)) or 'none'}"
        )
    if len(classes) > len(y) / 2:
        raise InputError(
            f"target {name!r} must hold classes, got {len(classes)} distinct values in {len(y)} rows: "
            + (
                "that is too few rows to learn from"
                if len(y) < 10
                else "that is an identifier or a number, and only classification is supported"
            )
        )
    return y, classes


def _joined(found: Sequence[str], counts: Sequence[int]) -> Mapping[str, str]:
    """The class that each label stands for: spellings merged, and 1.0 is 1, though 01 is not."""
    whole = {string: match[1] if (match := _WHOLE.fullmatch(string)) else string for string in found}
    tally: dict[str, int] = {}
    for string, count in zip(found, counts, strict=True):
        tally[whole[string]] = tally.get(whole[string], 0) + count
    to = merged(list(tally), list(tally.values()))
    return {string: to[whole[string]] for string in found}


def _refuse_fractions(y: NDArray[np.int64], found: Sequence[str], name: str) -> None:
    try:
        numbers = np.array([float(string) for string in found])
    except ValueError:
        return
    with np.errstate(invalid="ignore"):
        bad = np.flatnonzero(np.isinf(numbers) | (numbers != np.rint(numbers)) & ~np.isnan(numbers))
    if len(bad):
        row = int(np.flatnonzero(np.isin(y, bad))[0])
        raise InputError(
            f"target {name!r} must hold classes, got the number {numbers[y[row]]} in row {row + 1}: "
            "only classification is supported; divide the numbers into classes first"
        )


def match_classes(labels: Any, classes: tuple[str, ...]) -> NDArray[np.int64] | None:
    """Return the index (n,) of every label in the known ``classes``; None if no row has one of them.

    The index is `MISSING` where there is no label, `UNKNOWN` for another one.
    """
    codes, found = factorise(labels)
    whole = [match[1] if (match := _WHOLE.fullmatch(string)) else string for string in found]
    y = np.array([*places(whole, classes), MISSING], dtype=np.int64)[codes]
    return y if (y >= 0).any() else None
