"""The fields of a JSON object, each checked as it is read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gossamer.errors import InputError

__all__ = ["Fields"]


class Fields:
    """The fields of one JSON object; a missing or wrong one raises `InputError` that names file and field."""

    def __init__(self, values: object, where: str) -> None:
        if not isinstance(values, Mapping):
            raise InputError(f"{where} must be a JSON object, got {values!r:.60}")
        self.values = values
        self.where = where

    def get(self, name: str, allowed: str, *kinds: type) -> Any:
        value = self.values.get(name)
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            got = "nothing" if name not in self.values else f"{value!r:.60}"
            raise InputError(f"{self.where}: {name} must be {allowed}, got {got}")
        return value

    def text(self, name: str) -> str:
        return str(self.get(name, "text", str))

    def number(self, name: str) -> float:
        return float(self.get(name, "a number", int, float))

    def known(self, name: str) -> float:
        """A number, or NaN for null, which says that it isn't known."""
        return math.nan if self.values.get(name, 0) is None else self.number(name)

    def count(self, name: str, low: int = 0) -> int:
        value = self.get(name, f"a whole number of at least {low}", int)
        if value < low:
            raise InputError(f"{self.where}: {name} must be a whole number of at least {low}, got {value}")
        return int(value)

    def share(self, name: str) -> float:
        value = self.number(name)
        if not 0 <= value <= 1:
            raise InputError(f"{self.where}: {name} must be in [0, 1], got {value}")
        return value

    def items(self, name: str) -> list[Any]:
        return list(self.get(name, "a list", list))

    def object(self, name: str) -> Fields:
        return Fields(self.get(name, "a JSON object", dict), f"{self.where}: {name}")

    def objects(self, name: str) -> list[Fields]:
        return [Fields(value, f"{self.where}: {name}[{i}]") for i, value in enumerate(self.items(name))]
