from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gossamer import InputError
from gossamer.models import map_patches, patches, sample_patches
from gossamer.models.patches import noise_level


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@given(
    height=st.integers(3, 9),
    width=st.integers(2, 9),
    p=st.integers(1, 3),
    q=st.integers(1, 2),
    stride=st.integers(1, 2),
)
def test_patches_that_stay_as_they_are_give_the_image_again(
    height: int, width: int, p: int, q: int, stride: int
) -> None:
    image = rng().standard_normal((height, width))
    again = map_patches(image, (p, q), lambda x: x, stride=min(stride, p, q))
    np.testing.assert_allclose(again, image, atol=1e-12)


def test_where_patches_overlap_they_are_averaged() -> None:
    image = np.array([[1.0, 2.0, 4.0]])
    marked = map_patches(image, (1, 2), lambda x: x * [1, 10])
    np.testing.assert_allclose(marked, [[1.0, (20 + 2) / 2, 40.0]])


def test_every_pixel_is_covered_at_any_stride() -> None:
    counted = map_patches(np.zeros((8, 9)), (3, 3), np.ones_like, stride=3)
    assert (counted == 1).all()


def test_colours_stay_with_their_pixels() -> None:
    image = rng().standard_normal((6, 7, 3)).astype(np.float32)
    seen = []
    again = map_patches(image, (2, 3, 3), lambda x: seen.append(x.copy()) or x)  # type: ignore[func-returns-value]
    np.testing.assert_allclose(again, image, atol=1e-6)
    assert again.dtype == np.float32
    np.testing.assert_array_equal(seen[0][0], image[:2, :3].reshape(-1))


def test_patches_come_a_few_lines_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patches, "_NUMBERS", 1)
    image, sizes = rng().standard_normal((5, 6)), []
    again = map_patches(image, (2, 2), lambda x: sizes.append(len(x)) or x)  # type: ignore[func-returns-value]
    np.testing.assert_allclose(again, image, atol=1e-12)
    assert sizes == [5] * 4


def test_sampled_patches_are_pieces_of_the_images() -> None:
    images = [np.arange(20).reshape(4, 5), 100 + np.arange(9).reshape(3, 3)]
    found = sample_patches(images, (2, 3), 500, rng())
    assert found.shape == (500, 6)
    assert found.dtype == images[0].dtype
    whole = {tuple(i[r : r + 2, c : c + 3].ravel()) for i in images for r in range(3) for c in range(3)}
    pieces = {piece for piece in whole if len(piece) == 6}
    assert {tuple(row) for row in found} == pieces  # 9 places in the first image, 2 in the second: all are drawn
    share = np.mean(found[:, 0] >= 100)
    assert 0.1 < share < 0.28
    np.testing.assert_array_equal(found, sample_patches(images, (2, 3), 500, rng()))


def test_sampled_patches_have_the_channels_of_their_images() -> None:
    images = rng().random((2, 6, 6, 3))
    assert sample_patches(images, (4, 4, 3), 7, rng()).shape == (7, 48)


@pytest.mark.parametrize("sigma", [0.02, 0.3])
def test_noise_level_finds_the_noise_and_not_the_picture(sigma: float) -> None:
    smooth = np.add.outer(np.linspace(0, 2, 200), np.linspace(0, 1, 200) ** 2)
    noisy = smooth + sigma * rng().standard_normal(smooth.shape)
    assert noise_level(noisy) == pytest.approx(sigma, rel=0.03)
    assert noise_level(np.dstack([noisy] * 3)) == pytest.approx(noise_level(noisy))
    assert noise_level(smooth) < 1e-4


@pytest.mark.parametrize("shape", [(3,), (5, 2), (2, 5), (2, 2, 3), (0, 2), (1.5, 2)])
def test_patches_must_fit_into_the_image(shape: tuple[int, ...]) -> None:
    for call in (
        lambda: map_patches(np.zeros((4, 4)), shape, lambda x: x),
        lambda: sample_patches([np.zeros((4, 4))], shape, 3, rng()),
    ):
        with pytest.raises(InputError, match=r"patch|image"):
            call()


def test_mistakes_are_named() -> None:
    with pytest.raises(InputError, match="stride must be a whole number from 1 to 2, got 3"):
        map_patches(np.zeros((4, 4)), (2, 2), lambda x: x, stride=3)
    with pytest.raises(InputError, match="count"):
        sample_patches([np.zeros((4, 4))], (2, 2), 0, rng())
    with pytest.raises(InputError, match="at least one image"):
        sample_patches([], (2, 2), 1, rng())
    with pytest.raises(InputError, match="3 × 3"):
        noise_level(np.zeros((2, 5)))
