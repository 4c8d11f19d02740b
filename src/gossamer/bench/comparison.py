"""One comparison that is still to be made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gossamer.bench.measure import Step

__all__ = ["Comparison", "Factories"]

Factories = Mapping[str, Callable[[], Step | str]]
"""By contender's name: a function that prepares the step to be measured, or gives the reason why there is none."""


@dataclass(frozen=True)
class Comparison:
    """A comparison to make.

    ``contenders`` prepares everything that they share when it is called, and nothing before. Unless ``gradient``, it is
    called and its steps are run without gradients.
    """

    task: str
    setting: Mapping[str, Any]
    contenders: Callable[[], Factories]
    baseline: str = "dense"
    gradient: bool = False
