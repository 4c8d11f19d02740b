"""JPEG compression of images: the cosine transform of 8 × 8 blocks, rounded to multiples of a table.

For a block B of pixels from 0 to 255, with the orthonormal cosine transform D (8 × 8),

    B' = D' (q ∘ round(D (B − 128) D' / q)) D + 128,

q the table of the standard at the given quality. Images of three channels are compressed as luma and two chroma
channels at full resolution, others channel by channel as luma. The lossless part of the format changes no pixel and is
left out, as is the reduced resolution of chroma.

References:
    ITU-T Recommendation T.81, 1992, annexes A (transform) and K (tables); T.871, 2011 (luma and chroma).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["compress"]

_BLOCK = 8
_LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8 for _ in range(4)),
)
_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


def compress(x: Tensor, quality: int) -> Tensor:
    """Compress images (n, channels, height, width) in [0, 1] at a quality from 1 to 100, and decompress them."""
    channels, (height, width) = x.shape[1], x.shape[2:]
    levels = (255 * x).round() - 128
    tables = torch.tensor([_LUMA] * channels, dtype=x.dtype, device=x.device)
    colours = torch.tensor(_TO_YCC, dtype=x.dtype, device=x.device) if channels == 3 else None
    if colours is not None:  # −128 is that of luma; chroma has none of it, as the rows for it add up to 0
        levels = torch.einsum("kc,nchw->nkhw", colours, levels).round()
        tables = torch.tensor([_LUMA, _CHROMA, _CHROMA], dtype=x.dtype, device=x.device)
    scale = 5000 / quality if quality < 50 else 200 - 2 * quality
    tables = ((tables * scale + 50) / 100).floor().clamp(1, 255)[:, None, None]  # (channels, 1, 1, 8, 8)
    padded = functional.pad(levels, (0, -width % _BLOCK, 0, -height % _BLOCK), "replicate")
    blocks = padded.unflatten(3, (-1, _BLOCK)).unflatten(2, (-1, _BLOCK)).transpose(3, 4)  # (n, c, rows, columns, 8, 8)
    cosines = _cosines(x)
    kept = (cosines @ blocks @ cosines.T / tables).round() * tables
    restored = (cosines.T @ kept @ cosines).round().clamp(-128, 127)
    restored = restored.transpose(3, 4).flatten(4, 5).flatten(2, 3)[:, :, :height, :width]
    if colours is not None:
        restored = torch.einsum("kc,nchw->nkhw", colours.inverse(), restored)
    pixels: Tensor = ((restored + 128).round() / 255).clamp(0, 1)
    return pixels


def _cosines(like: Tensor) -> Tensor:
    """The orthonormal cosine transform: row k is √(2/8) cos(π k (2 i + 1) / 16), of k = 0 √(1/8)."""
    at = torch.arange(_BLOCK, dtype=torch.float64)
    rows = (math.pi / (2 * _BLOCK) * at[:, None] * (2 * at + 1)).cos() * math.sqrt(2 / _BLOCK)
    rows[0] = math.sqrt(1 / _BLOCK)
    return rows.to(like)
