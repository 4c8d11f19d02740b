"""Strings that are numbers, in the notations that tables use, and the spellings of a missing one."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["MARK", "MARKS", "NUMBER", "OTHER", "SWAPPED", "parse", "parse_all"]

MARKS = frozenset(
    "? - -- --- . .. * na n/a #n/a #na n.a. n.a n.d. nd nan -nan null nil none <na> nat missing unknown unavailable "
    "not\tavailable not\tapplicable undefined \\n #null! #div/0! #value! #ref! #num! #name? 1.#ind -1.#ind 1.#qnan "
    "-1.#qnan – — k.a. s/d".replace(" ", "\n")
    .replace("\t", " ")
    .split("\n")
)
"""Spellings of a missing number, in lower case; an empty field is always missing."""

NUMBER, MARK, SWAPPED, OTHER = range(4)
"""Kinds of a string among numbers: a number, missing, a number with the other decimal mark, anything else."""

_SPACES = " \u00a0\u202f\u2009'’"  # between groups of thousands
_UNIT = r"[%‰$€£¥]?"


def _grammar(decimal: str) -> re.Pattern[str]:
    mark = "," if decimal == "." else r"\."
    group = rf"[1-9]\d{{0,2}}(?:(?P<by>[{mark}{_SPACES}])\d{{3}}(?:(?P=by)\d{{3}})*)"  # not 0,123
    point = re.escape(decimal)
    return re.compile(
        rf"(?P<before>{_UNIT})\s*(?P<sign>[-+−]?)\s*(?P<also>[$€£¥]?)\s*"
        rf"(?P<whole>{group}|\d*)(?:{point}(?P<part>\d*))?(?P<power>[eE][-+]?\d+)?\s*(?P<after>{_UNIT})",
        re.ASCII,
    )


_GRAMMARS = {decimal: _grammar(decimal) for decimal in ".,"}


def parse(string: str, decimal: str) -> tuple[float, str] | None:
    """The number that ``string`` is with this decimal mark, and its unit (``%``, ``$``, … or ""); None if it is none.

    Thousands may be grouped by the other mark, blanks or apostrophes, in threes: 1,234,567.5 and 1 234 567.5. Percent
    and currency signs are left out of the number.
    """
    found = _GRAMMARS[decimal].fullmatch(string)
    if found is None or not (found["whole"] or found["part"]):
        return None
    units = [unit for unit in (found["before"], found["also"], found["after"]) if unit]
    if len(units) > 1 or found["before"] in ("%", "‰"):
        return None
    whole = re.sub(r"\D", "", found["whole"])
    sign = found["sign"].replace("−", "-")
    value = float(f"{sign}{whole or '0'}.{found['part'] or '0'}{found['power'] or ''}")
    return value, "".join(units)


def parse_all(strings: Sequence[str], decimal: str) -> tuple[NDArray[np.float64], NDArray[np.int8], dict[int, str]]:
    """Return the values of ``strings`` (NaN for no number), the kind of each (`NUMBER`, …), and units where given."""
    import pandas as pd

    kinds = np.full(len(strings), NUMBER, dtype=np.int8)
    if not strings:
        return np.zeros(0), kinds, {}
    plain = strings if decimal == "." else ["" if "." in string else string.replace(",", ".") for string in strings]
    values = np.array(pd.to_numeric(pd.Series(plain, dtype=object), errors="coerce"), dtype=np.float64)
    units: dict[int, str] = {}
    other = "," if decimal == "." else "."
    again = np.isnan(values)
    for i in np.flatnonzero(again).tolist():
        string = strings[i]
        found = parse(string, decimal)
        values[i] = np.nan
        if found is not None:
            values[i] = found[0]
            if found[1]:
                units[i] = found[1]
        elif string.lower() in MARKS:
            kinds[i] = MARK
        else:
            kinds[i] = OTHER if parse(string, other) is None else SWAPPED
    return values, kinds, units
