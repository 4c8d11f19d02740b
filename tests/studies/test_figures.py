"""Figures that several studies share."""

from __future__ import annotations

import numpy as np

from gossamer.studies import figures


def test_mosaic_lays_tiles_in_reading_order() -> None:
    tiles = np.stack([np.full((1, 2), value, np.float32) for value in (2, 3, 4, 5)])
    assert figures.mosaic(tiles, (2, 2)).tolist() == [
        [1, 1, 1, 1, 1, 1, 1],
        [1, 2, 2, 1, 3, 3, 1],
        [1, 1, 1, 1, 1, 1, 1],
        [1, 4, 4, 1, 5, 5, 1],
        [1, 1, 1, 1, 1, 1, 1],
    ]
