"""Against libjpeg, through Pillow: the same images at the same quality."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from torch import Tensor

from gossamer.evaluate.jpeg import compress

QUALITIES = pytest.mark.parametrize("quality", [1, 8, 25, 49, 50, 60, 90, 100])


def pictures(channels: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand((4, channels, 5, 5), generator=generator)
    x = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    x = x + 0.05 * torch.randn(x.shape, generator=generator)
    return (255 * x.clamp(0, 1)).round() / 255


def by_pillow(x: Tensor, quality: int) -> Tensor:
    image = pytest.importorskip("PIL.Image")
    found = []
    for pixels in (255 * x).round().byte().permute(0, 2, 3, 1).numpy():
        file = io.BytesIO()
        image.fromarray(pixels.squeeze()).save(file, "JPEG", quality=quality, subsampling=0)
        found.append(np.array(image.open(file)).reshape(pixels.shape))
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).float() / 255


@QUALITIES
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 19, 13), (3, 16, 16), (3, 21, 30)])
def test_pixels_are_those_of_libjpeg(shape: tuple[int, int, int], quality: int) -> None:
    x = pictures(*shape)
    ours, theirs = compress(x, quality), by_pillow(x, quality)
    # coefficients halfway between two multiples go either way: more of them, and finer ones, at high quality
    assert (ours - theirs).abs().mean() < (0.35 if quality <= 25 else 1.5) / 255
    assert (ours - theirs).abs().mean() < (0.1 if quality < 90 else 0.7) * (theirs - x).abs().mean() + 0.3 / 255


def test_the_best_quality_is_almost_exact_and_other_channels_are_compressed_one_by_one() -> None:
    x = pictures(5, 11, 9)
    assert (compress(x, 100) - x).abs().max() < 3 / 255
    apart = torch.cat([compress(x[:, [i]], 20) for i in range(5)], 1)
    assert torch.equal(compress(x, 20), apart)


def test_double_precision_agrees_with_single() -> None:
    x = pictures(3, 16, 24)
    assert (compress(x.double(), 30).float() - compress(x, 30)).abs().mean() < 0.1 / 255
