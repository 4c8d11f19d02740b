"""A study small enough to be carried out in a moment, under the name ``toy``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gossamer import studies
from gossamer.studies import trials
from gossamer.studies.findings import Claim, Findings, Table
from gossamer.studies.trials import Trial, Watch


def carry_out(trial: Trial) -> Mapping[str, Any]:
    return {"accuracy": 0.5 + 0.1 * trial.seed + (0.05 if trial.variant == "ours" else 0)}


def run(
    preset: str, folder: Path, *, seeds: int | None, jobs: int, watch: Watch, data: tuple[str, ...] | None = None
) -> Findings:
    names = data or ("digits",)
    wanted = [Trial(v, name, s) for name in names for v in ("ours", "theirs") for s in range(seeds or 3)]
    records = trials.run(wanted, carry_out, folder, jobs=jobs, watch=watch)
    rows = [[r["variant"], r["seed"], r["accuracy"]] for r in records]
    verdict = Claim("Ours is better.", "holds", f"{len(rows)} trials.")
    return Findings(
        "Toy study", "A claim (Nobody 2020).", preset, [verdict], tables=[Table("All", ("", "n", "a"), rows)]
    )


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("gossamer.studies.toy")
    module.TITLE, module.CLAIM = "Toy study", "A claim (Nobody 2020)."  # type: ignore[attr-defined]
    module.PRESETS, module.run = {"quick": "a moment", "full": "two"}, run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(studies._MODULES, "toy", "toy")
    monkeypatch.setattr(studies, "names", lambda: ("toy",))
    return module
