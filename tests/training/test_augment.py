"""Augmented images are moved and reflected images, and the generator alone decides how."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from gossamer.errors import InputError
from gossamer.training.augment import Augment

pytestmark = pytest.mark.usefixtures("one_thread")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(*shape: int, seed: int = 0) -> Tensor:
    return 1 + torch.rand(shape, generator=seeded(seed))  # no pixel is zero


def moved(x: Tensor, down: int, right: int) -> Tensor:
    """One image, moved by hand, with zeros from outside."""
    most = max(abs(down), abs(right))
    padded = F.pad(x, (most,) * 4)
    height, width = x.shape[-2:]
    return padded[..., most - down : most - down + height, most - right : most - right + width]


@given(st.integers(1, 3), st.booleans(), st.integers(0, 2**32), st.integers(1, 3))
def test_each_result_is_its_image_moved_and_maybe_reflected(most: int, flip: bool, seed: int, channels: int) -> None:
    x = images(6, channels, 5, 4)
    found = Augment(most, flip)(x, seeded(seed))
    assert found.shape == x.shape
    steps = range(-most, most + 1)
    for image, result in zip(x, found, strict=True):
        candidates = [moved(image, down, right) for down in steps for right in steps]
        candidates += [each.flip(-1) for each in candidates] if flip else []
        assert any(torch.equal(result, each) for each in candidates)


def test_all_shifts_occur_equally_often_and_half_of_the_images_are_reflected() -> None:
    x = torch.zeros(9000, 1, 5, 5)
    x[:, 0, 2, 2] = 1
    places = Augment(shift=1)(x, seeded()).flatten(1).argmax(1)
    counts = places.bincount(minlength=25).view(5, 5)
    assert counts.sum() == counts[1:4, 1:4].sum() == 9000
    assert (counts[1:4, 1:4] - 1000).abs().max() < 150  # 5 standard deviations
    x = torch.zeros(10000, 1, 1, 2)
    x[..., 0] = 1
    assert abs(Augment(flip=True)(x, seeded())[:, 0, 0, 1].sum() - 5000) < 250


def test_the_generator_decides_and_torch_keeps_its_own() -> None:
    augment, x = Augment.parse("shift:1,flip"), images(50, 3, 6, 6)
    before = torch.get_rng_state(), x.clone()
    first, same, other = (augment(x, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(before[0], torch.get_rng_state())
    assert torch.equal(before[1], x)
    generator = seeded(1)
    assert torch.equal(torch.cat([augment(part, generator) for part in (x, x)])[:50], first)
    assert not torch.equal(augment(x, generator), first)


def test_nothing_to_do_and_no_images() -> None:
    x = images(3, 1, 4, 4)
    assert Augment()(x, seeded()) is x
    assert Augment(1, True)(x[:0], seeded()).shape == (0, 1, 4, 4)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("shift:1", Augment(1)),
        ("flip", Augment(flip=True)),
        ("flip, shift:4", Augment(4, True)),
        ("SHIFT:2,Flip", Augment(2, True)),
    ],
)
def test_strings(text: str, expected: Augment) -> None:
    assert Augment.parse(text) == expected


@pytest.mark.parametrize(
    "text", ["", "shift", "shift:", "shift:0", "shift:-1", "shift:1.5", "flip:1", "flip,flip", "turn"]
)
def test_other_strings_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"(augment must be shift:PIXELS, flip|shift must be a whole number)"):
        Augment.parse(text)


def test_mistakes_are_named() -> None:
    with pytest.raises(InputError, match=r"x must be images \(N, C, H, W\) to be augmented, got shape \(2, 3\)"):
        Augment(flip=True)(torch.rand(2, 3), seeded())
    with pytest.raises(InputError, match=r"shift must be below the size of the images, 4 × 9, got 4"):
        Augment(shift=4)(images(1, 1, 4, 9), seeded())
    with pytest.raises(InputError, match="shift must be a whole number of at least 0"):
        Augment(shift=-1)
