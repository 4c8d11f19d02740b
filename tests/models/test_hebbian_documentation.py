"""The examples of docs/hebbian.md run, one after the other, and say what they promise."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "hebbian.md"


@pytest.mark.usefixtures("one_thread")
@pytest.mark.skipif(not PAGE.is_file(), reason="the documentation isn't here")
def test_examples_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 4
    shown: list[tuple[Any, ...]] = []
    names: dict[str, Any] = {"print": lambda *values: shown.append(values)}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    (clean, noisy), (active,), (sparseness,), (survived,) = shown
    assert clean > 0.95
    assert 0.6 < noisy < clean
    assert names["cost"].costs.isfinite().all()
    assert 0.05 < active <= 13 / 64
    assert 0.3 < sparseness < 1
    assert 0.2 < survived < clean
