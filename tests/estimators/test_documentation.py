"""The examples of docs/estimators.md run, one after the other, and say what they promise."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "estimators.md"


@pytest.mark.usefixtures("one_thread")
@pytest.mark.skipif(not PAGE.is_file(), reason="the documentation isn't here")
def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 4
    shown: list[tuple[Any, ...]] = []
    names: dict[str, Any] = {"print": lambda *values: shown.append(values)}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), names)
    (accuracy,), (_, r2), (chosen, fitted) = shown
    assert accuracy > 0.9
    assert r2 > 0.3
    assert len(set(chosen) & set(range(10))) >= 7
    assert fitted > 0.9
