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
        text = value.strip()
        if not text.isascii():
            text = unicodedata.normalize("NFC", text)
    elif isinstance(value, bytes):
        text = value.decode(errors="replace").strip()
    elif isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    else:
        text = str(value)
    return text.capitalize() if len(text) < 6 and text.lower() in ("true", "false") else text


def order(text: str) -> tuple[int, float, str]:
    """Return a sorting key: numbers by size ("9" before "10"), then other strings in alphabetical order."""
    try:
        number = float(text)
    except ValueError:
        return 1, 0.0, text
    return (0, number, text) if math.isfinite(number) else (1, 0.0, text)


def _fold(texts: Collection[str]) -> dict[str, str]:
    """Of each text, the form that it shares with those that differ from it in case alone, as far as case means nothing.

    It means nothing in a text of three or more characters, and "no", "ja", "y", "n" and the like where nothing but such
    words occurs: "Yes" and "YES" are one, "a" and "A", or "Co" and "CO", are two.
    """
    folded = {text: text.casefold() for text in texts}
    words = set(folded.values()) <= _WORDS
    return {text: low if words or len(low) > 2 else text for text, low in folded.items()}


def merged(texts: Sequence[str], counts: Sequence[int]) -> dict[str, str]:
    """The spelling that stands for each of ``texts``: the most frequent of those that differ in case alone."""
    groups: dict[str, list[tuple[int, str]]] = {}
    folded = _fold(texts)
    if len(set(folded.values())) == len(folded):
        return {text: text for text in texts}
    for text, count in zip(texts, counts, strict=True):
        groups.setdefault(folded[text], []).append((-count, text))
    return {text: min(groups[folded[text]])[1] for text in texts}


def places(texts: Sequence[str], known: Sequence[str | None]) -> list[int]:
    """The index of each of ``texts`` among the ``known``, else of the one of another case; `UNKNOWN` for others."""
    place = {text: i for i, text in enumerate(known) if text is not None}
    missed = [text for text in texts if text not in place]
    if not missed:
        return [place[text] for text in texts]
    folded = {low: place[text] for text, low in _fold(place.keys()).items()}
    words = all(text.casefold() in _WORDS for text in place)

    def find(text: str) -> int:
        low = text.casefold()
        return folded.get(low, UNKNOWN) if len(low) > 2 or (words and low in _WORDS) else UNKNOWN

    return [place[text] if text in place else find(text) for text in texts]


def factorise(values: Any) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """``values`` (n,) as codes (n,) into the sorted tuple of its distinct texts; `MISSING` where there is no value."""
    import pandas as pd

    codes, uniques = pd.factorize(values)
    spellings = [spelling(value) for value in uniques]
    texts = tuple(sorted(set(spellings) - {""}, key=order))
    place = {"": MISSING} | {text: i for i, text in enumerate(texts)}
    # pandas codes a missing value -1, which picks the last entry here.
    return np.array([*(place[s] for s in spellings), MISSING], dtype=np.int64)[codes], texts


def encode(values: Any, texts: Sequence[str | None]) -> NDArray[np.int64]:
    """``values`` (n,) as indices into the known ``texts``; `MISSING` without a value, `UNKNOWN` for any other text."""
    codes, found = factorise(values)
    return np.array([*places(found, texts), MISSING], dtype=np.int64)[codes]


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
    place = {text: i for i, text in enumerate(classes)}
    y = np.array([place[to[text]] for text in found], dtype=np.int64)[y]
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
    whole = {text: match[1] if (match := _WHOLE.fullmatch(text)) else text for text in found}
    tally: dict[str, int] = {}
    for text, count in zip(found, counts, strict=True):
        tally[whole[text]] = tally.get(whole[text], 0) + count
    to = merged(list(tally), list(tally.values()))
    return {text: to[whole[text]] for text in found}


def _refuse_fractions(y: NDArray[np.int64], found: Sequence[str], name: str) -> None:
    try:
        numbers = np.array([float(text) for text in found])
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
    whole = [match[1] if (match := _WHOLE.fullmatch(text)) else text for text in found]
    y = np.array([*places(whole, classes), MISSING], dtype=np.int64)[codes]
    return y if (y >= 0).any() else None
