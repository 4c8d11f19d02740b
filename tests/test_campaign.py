"""A small sample of the campaign, with fixed seeds; ``make campaign`` runs the whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.campaign import PARTS

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(("part", "scale"), [("flips", 0.04), ("hostile", 0.05), ("layers", 0.03)])
def test_sample(part: str, scale: float, tmp_path: Path) -> None:
    for figure in PARTS[part](tmp_path, scale, 1):
        assert figure.trials > 0
        assert figure.failures == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills its children")
def test_sample_of_kills(tmp_path: Path) -> None:
    for figure in PARTS["kills"](tmp_path, 0.02, 1):
        assert figure.failures == []
