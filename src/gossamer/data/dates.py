"""Dates and times as numbers: the day, the day of the week, the time of day."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["FORMS", "PARTS", "ambiguous", "find_form", "parts", "read_dates"]

FORMS = ("iso", "day first", "month first", "time")
"""2024-01-31 and 2024/1/31; 31.1.2024 and 31/01/2024; 1/31/2024; 14:30. The first three with or without a time."""

PARTS = ("day", "weekday", "time")
"""Days since 1970-01-01 as whole numbers; 0 (Monday) to 6; hours since midnight, 0 to 24."""

_TIME = r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2}(?:[.,]\d+)?))?\s*(?P<half>[ap]\.?m\.?)?"
_ZONE = r"\s*(?:Z|UTC|[-+]\d{2}:?\d{2}|[-+]\d{2})?"
_DATES = {
    "iso": r"(?P<year>\d{4})(?P<by>[-/.])(?P<month>\d{1,2})(?:(?P=by)(?P<day>\d{1,2}))?",
    "day first": r"(?P<day>\d{1,2})(?P<by>[-/.])(?P<month>\d{1,2})(?P=by)(?P<year>\d{4})",
    "month first": r"(?P<month>\d{1,2})(?P<by>[-/.])(?P<day>\d{1,2})(?P=by)(?P<year>\d{4})",
}
_PATTERNS = {
    form: re.compile(rf"{date}(?:[T\s]\s*{_TIME}{_ZONE})?", re.ASCII | re.IGNORECASE) for form, date in _DATES.items()
} | {"time": re.compile(_TIME, re.ASCII | re.IGNORECASE)}
_MICROSECONDS = 1_000_000


def read_dates(strings: Sequence[str], form: str) -> NDArray[np.datetime64]:
    """Return ``strings`` as datetime64[us], NaT for other strings than dates of that form; a time is one of 1970-01-01.

    A time zone is ignored: day and hour are kept as written.
    """
    pattern = _PATTERNS[form]
    out = np.full(len(strings), "NaT", dtype="datetime64[us]")
    for i, string in enumerate(strings):
        found = pattern.fullmatch(string)
        if found is None:
            continue
        groups = found.groupdict()
        hour, minute = int(groups["hour"] or 0), int(groups["minute"] or 0)
        second = float((groups["second"] or "0").replace(",", "."))
        if groups["half"]:
            if not 1 <= hour <= 12:
                continue
            hour = hour % 12 + 12 * (groups["half"][0] in "pP")
        if hour > 24 or minute > 59 or second >= 61 or (hour == 24 and (minute or second)):
            continue
        date = "1970-01-01"
        if form != "time":
            date = f"{groups['year']}-{int(groups['month']):02d}-{int(groups['day'] or 1):02d}"
        try:
            day = np.datetime64(date, "us")
        except ValueError:  # the 31st of February
            continue
        out[i] = day + np.timedelta64(round((3600 * hour + 60 * minute + second) * _MICROSECONDS), "us")
    return out


def find_form(strings: Sequence[str]) -> str | None:
    """The form in which all ``strings`` are dates or times; None if there is none.

    Where days and months can't be distinguished, a date with dots has its day first; `ambiguous` finds the others.
    """
    if not strings or not (strings[0][:1].isdigit() and any(mark in strings[0] for mark in "-/.:")):
        return None
    for form in FORMS:
        matches = all(_PATTERNS[form].fullmatch(string) for string in strings[:20])
        if matches and not np.isnat(read_dates(strings, form)).any():
            return form
    return None


def ambiguous(strings: Sequence[str], form: str) -> bool:
    """Whether ``strings``, dates with their day first, could have their month first as well."""
    if form != "day first" or "." in strings[0]:
        return False
    return not np.isnat(read_dates(strings, "month first")).any()


def parts(dates: NDArray[np.datetime64], wanted: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """The ``wanted`` ones of `PARTS` of each date, NaN where it is missing."""
    missing = np.isnat(dates)
    days = dates.astype("datetime64[D]")
    numbers = days.astype(np.int64).astype(np.float64)
    found = {
        "day": numbers,
        "weekday": (numbers + 3) % 7,  # 1970-01-01 was a Thursday
        "time": (dates - days).astype("timedelta64[us]").astype(np.int64) / (3600 * _MICROSECONDS),
    }
    for values in found.values():
        values[missing] = np.nan
    return {part: found[part] for part in wanted}
