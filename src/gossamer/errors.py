"""The exception for invalid input, and range checks that many functions share."""

from __future__ import annotations

__all__ = ["InputError", "check_choice", "check_count", "check_fraction"]


class InputError(ValueError):
    """Invalid input from the user; the message names the argument, its value and the allowed range.

    Example:
        >>> gs.SparseLinear(4, 2, density=1.5)
        Traceback (most recent call last):
        gossamer.errors.InputError: density must be in (0, 1], got 1.5
    """


def check_fraction(
    name: str, value: float, *, low: float = 0.0, high: float = 1.0, open_low: bool = False, open_high: bool = False
) -> float:
    """Return ``value`` as a float if it lies in the interval from ``low`` to ``high``; raise `InputError` otherwise."""
    interval = f"{'(' if open_low else '['}{low:g}, {high:g}{')' if open_high else ']'}"
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be a number in {interval}, got {value!r}") from None
    inside = (low < number if open_low else low <= number) and (number < high if open_high else number <= high)
    if not inside:  # NaN is inside of nothing
        raise InputError(f"{name} must be in {interval}, got {value!r}")
    return number


def check_count(name: str, value: int, *, low: int = 0, high: int | None = None) -> int:
    """Return ``value`` if it is a whole number from ``low`` to ``high``; raise `InputError` otherwise."""
    allowed = f"a whole number of at least {low}" if high is None else f"a whole number from {low} to {high}"
    try:
        whole = not isinstance(value, bool) and int(value) == value
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole or value < low or (high is not None and value > high):
        raise InputError(f"{name} must be {allowed}, got {value!r}")
    return int(value)


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> str:
    """Return ``value`` if it is one of ``choices``; raise `InputError` otherwise."""
    if value not in choices:
        raise InputError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    return value
