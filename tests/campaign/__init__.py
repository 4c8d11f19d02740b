"""A campaign against the files of a run, its process and the layers: kills, flipped bits, hostile files, fuzz, ranks.

The tests run a small sample with fixed seeds (``tests/test_campaign.py``); ``make campaign`` runs the whole. Each part
yields `Figure`s: how many trials there were, and what failed.
"""

from __future__ import annotations

from tests.campaign.common import Figure
from tests.campaign.damage import flips, hostile
from tests.campaign.fuzz import layers, ranks
from tests.campaign.kills import kills

__all__ = ["PARTS", "Figure"]

PARTS = {"flips": flips, "hostile": hostile, "kills": kills, "layers": layers, "ranks": ranks}
