"""Formatting of numbers for readers: a few digits, a unit, a real minus sign, and spaces that don't break."""

from __future__ import annotations

import math

__all__ = ["count", "duration", "interval", "p_value", "percent", "plain", "points", "ratio", "share", "size"]

SPACE = "\N{NO-BREAK SPACE}"
NOT_FINITE = "not finite"


def _scaled(value: float, units: tuple[tuple[float, str], ...]) -> str:
    """``value`` in the largest unit that leaves at least 1 of it, with three significant digits."""
    if not math.isfinite(value):
        return NOT_FINITE
    # 999.6 kB reads as 1 MB, not as 1000 kB
    fitting = [entry for entry in units if abs(value) >= 0.9995 * entry[0] or (value == 0 and entry[0] == 1)]
    scale, unit = fitting[0] if fitting else units[-1]
    number = float(f"{value / scale:.3g}")
    digits = min(3, max(0, 2 - math.floor(math.log10(abs(number))))) if number else 0
    digits = 0 if scale == 1 and number == round(number) else digits
    shown = f"{number:.{digits}f}"
    return f"{shown.replace('-', '−')}{SPACE if unit else ''}{unit}"


def plain(value: float) -> str:
    """Three significant digits."""
    return f"{value:#.3g}".rstrip(".").replace("-", "−") if math.isfinite(value) else NOT_FINITE


def count(value: float) -> str:
    """Whole below a million with thousands apart, else in millions or billions."""
    if math.isfinite(value) and abs(value) < 999_500:
        return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    return _scaled(value, ((1e9, "billion"), (1e6, "million")))


def size(value: float) -> str:
    """Bytes, in powers of 1000."""
    return _scaled(value, ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "B")))


def duration(seconds: float) -> str:
    """Seconds, from microseconds to hours."""
    if math.isfinite(seconds) and seconds >= 119.5:
        minutes = round(seconds / 60)
        return f"{minutes // 60}{SPACE}h {minutes % 60}{SPACE}min" if minutes >= 120 else f"{minutes}{SPACE}min"
    return _scaled(seconds, ((1, "s"), (1e-3, "ms"), (1e-6, "µs")))


def percent(value: float) -> str:
    """A share of 1 with one digit after the point, as accuracies have it."""
    return f"{100 * value:.1f}{SPACE}%" if math.isfinite(value) else NOT_FINITE


def share(value: float) -> str:
    """A share of 1 with two significant digits, as densities have it; 100 % only where nothing is missing."""
    if not math.isfinite(value):
        return NOT_FINITE
    digits = 2 if value < 0.985 else 3 if value < 0.9985 else 6
    return f"{float(f'{100 * value:.{digits}g}'):g}{SPACE}%"


def interval(low: float, high: float) -> str:
    """Two shares as one range."""
    return f"{100 * low:.1f} to {100 * high:.1f}{SPACE}%"


def points(value: float, *, sign: bool = True, unit: bool = True) -> str:
    """A difference of two shares in percentage points."""
    shown = 100 * abs(value)
    digits = f"{shown:.1f}" if shown >= 0.095 or shown < 0.005 else f"{shown:.2f}"
    lead = "" if not sign or float(digits) == 0 else "+" if value > 0 else "−"
    return f"{lead}{digits}" + (f"{SPACE}points" if unit else "")


def p_value(p: float) -> str:
    """Format p with its relation, ``p = 0.023`` or ``p < 0.001``."""
    return f"p{SPACE}<{SPACE}0.001" if p < 0.001 else f"p{SPACE}={SPACE}{p:.3f}" if p < 0.9995 else f"p{SPACE}={SPACE}1"


def ratio(factor: float, less: str, more: str) -> str:
    """Format a ratio as ``less`` (factor above 1) or ``more`` (below 1)."""
    times = factor if factor >= 1 else 1 / factor
    digits = 0 if times >= 99.5 else 1 if times >= 1.05 else 2
    return f"{times:,.{digits}f}× {less if factor >= 1 else more}"
