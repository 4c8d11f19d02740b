"""Names of many columns that differ by a number alone, made at each access."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

__all__ = ["Numbered"]


@dataclass(frozen=True)
class Numbered(Sequence[str]):
    """Names ``prefix`` with each whole number from ``first`` on, ``size`` of them, such as x1, x2, x3.

    Example:
        >>> from gossamer.data.names import Numbered
        >>> list(Numbered("x", 1, 3)), Numbered("x", 1, 10**7)[-1]
        (['x1', 'x2', 'x3'], 'x10000000')
    """

    prefix: str
    first: int
    size: int

    def __len__(self) -> int:
        return self.size

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[str, ...]: ...
    def __getitem__(self, place: int | slice) -> str | tuple[str, ...]:
        numbers = range(self.first, self.first + self.size)[place]
        return f"{self.prefix}{numbers}" if isinstance(numbers, int) else tuple(f"{self.prefix}{n}" for n in numbers)

    def __contains__(self, name: Any) -> bool:
        digits = name[len(self.prefix) :] if isinstance(name, str) and name.startswith(self.prefix) else ""
        return digits.isdecimal() and digits == str(int(digits)) and 0 <= int(digits) - self.first < self.size
