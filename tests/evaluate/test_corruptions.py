from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gossamer import InputError
from gossamer.evaluate.corruptions import CORRUPTIONS, SEVERITIES, corrupt, corrupt_table

NAMES = pytest.mark.parametrize("name", sorted(CORRUPTIONS))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scene(n: int, channels: int, height: int, width: int) -> Tensor:
    """Smooth images in [0, 1]: a few waves, each image its own."""
    generator = seeded(1)
    y, x = torch.linspace(0, 1, height)[:, None], torch.linspace(0, 1, width)
    phase = 6 * torch.rand((n, channels, 3, 1, 1), generator=generator)
    waves = [((3 + 4 * i) * (x + (i - 1) * y) + phase[:, :, i]).sin() for i in range(3)]
    return torch.stack(waves).mean(0) / 2 + 0.5


@NAMES
@given(
    channels=st.integers(1, 4),
    height=st.integers(1, 11),
    width=st.integers(1, 11),
    severity=st.integers(0, 5),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_any_size_and_number_of_channels_stays_in_the_box(
    name: str, channels: int, height: int, width: int, severity: int, dtype: torch.dtype
) -> None:
    x = torch.rand((3, channels, height, width), generator=seeded(), dtype=dtype)
    kept = x.clone()
    found = corrupt(name, x, severity, seeded(2))
    assert found.shape == x.shape
    assert found.dtype == dtype
    assert found.min() >= 0
    assert found.max() <= 1
    assert torch.equal(x, kept)
    assert torch.equal(found, corrupt(name, x, severity, seeded(2)))
    if severity == 0:
        assert torch.equal(found, x)


@NAMES
@pytest.mark.parametrize("shape", [(60, 1, 8, 8), (30, 3, 16, 16), (20, 1, 28, 28)])
def test_distance_grows_with_the_severity(name: str, shape: tuple[int, ...]) -> None:
    x = scene(*shape)
    distances = [float((corrupt(name, x, s, seeded(3)) - x).flatten(1).norm(dim=1).mean()) for s in (0, *SEVERITIES)]
    assert distances == sorted(distances)
    assert len(set(distances)) == 6
    assert distances[1] > 0.005 * math.sqrt(x[0].numel())


@NAMES
def test_images_are_corrupted_one_by_one(name: str) -> None:
    """A corruption of the first image does not depend on the others, except for the random numbers."""
    x = scene(4, 2, 9, 7)
    other = torch.cat([x[:1], torch.zeros_like(x[1:])])
    assert torch.equal(corrupt(name, x, 3, seeded())[0], corrupt(name, other, 3, seeded())[0])


def test_torchs_own_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    for name in CORRUPTIONS:
        corrupt(name, scene(2, 1, 6, 6), 4, seeded())
    assert torch.equal(torch.get_rng_state(), before)


def test_no_images_are_no_images() -> None:
    for name in CORRUPTIONS:
        assert corrupt(name, torch.zeros(0, 1, 4, 4), 3, seeded()).shape == (0, 1, 4, 4)


def test_noise_has_the_stated_moments() -> None:
    x = torch.full((200, 1, 20, 20), 0.5)
    gaussian = corrupt("gaussian_noise", x, 2, seeded())
    assert gaussian.mean() == pytest.approx(0.5, abs=0.001)
    assert gaussian.std() == pytest.approx(0.08, abs=0.001)
    shot = corrupt("shot_noise", x, 2, seeded())  # the variance of Poisson(λ x) / λ is x / λ
    assert shot.mean() == pytest.approx(0.5, abs=0.002)
    assert shot.std() == pytest.approx(math.sqrt(0.5 / 50), abs=0.002)
    impulse = corrupt("impulse_noise", x, 5, seeded())
    assert (impulse == 0).float().mean() == pytest.approx(0.135, abs=0.004)
    assert (impulse == 1).float().mean() == pytest.approx(0.135, abs=0.004)


def test_light_is_arithmetic() -> None:
    x = torch.tensor([[[[0.2, 0.4]], [[0.9, 0.9]]]])
    torch.testing.assert_close(corrupt("brightness", x, 2, seeded()), torch.tensor([[[[0.4, 0.6]], [[1.0, 1.0]]]]))
    torch.testing.assert_close(corrupt("contrast", x, 4, seeded()), torch.tensor([[[[0.27, 0.33]], [[0.9, 0.9]]]]))


@pytest.mark.parametrize("name", ["defocus_blur", "motion_blur", "pixelate", "contrast", "elastic", "jpeg"])
def test_a_constant_image_stays_constant(name: str) -> None:
    x = torch.full((2, 3, 10, 12), 102 / 255)
    tolerance = 2.5 / 255 if name == "jpeg" else 1e-6
    assert (corrupt(name, x, 5, seeded()) - x).abs().max() <= tolerance


@pytest.mark.parametrize("name", ["defocus_blur", "motion_blur"])
def test_a_blur_spreads_a_point_and_keeps_its_light(name: str) -> None:
    x = torch.zeros(1, 1, 31, 31)
    x[0, 0, 15, 15] = 1
    found = corrupt(name, x, 4, seeded())
    assert found.sum() == pytest.approx(1, abs=0.05)
    rows, columns = found[0, 0].nonzero().T
    reach = max(int((rows - 15).abs().max()), int((columns - 15).abs().max()))
    radius = 0.5 + 0.02 * 31 * 4 if name == "defocus_blur" else (1 + 0.1 * 31 * 4) / 2
    assert radius - 2.5 <= reach <= radius + 1.5


def test_pixelated_blocks_are_the_means_of_their_pixels() -> None:
    x = torch.arange(16.0).view(1, 1, 4, 4) / 16
    found = corrupt("pixelate", x, 4, seeded())[0, 0]  # 2 × 2 blocks
    torch.testing.assert_close(found[:2, :2], x[0, 0, :2, :2].mean().expand(2, 2))
    torch.testing.assert_close(found[2:, :2], x[0, 0, 2:, :2].mean().expand(2, 2))


def test_an_occlusion_covers_a_rectangle_of_the_stated_size_anywhere() -> None:
    x = torch.zeros(300, 2, 10, 20)
    covered = corrupt("occlusion", x, 2, seeded()) == 0.5
    assert covered.sum((1, 2, 3)).unique().tolist() == [2 * 3 * 7]
    assert torch.equal(covered[:, 0], covered[:, 1])
    assert covered.any(0).all()  # no pixel is spared for ever


def test_an_elastic_field_moves_pixels_and_invents_none() -> None:
    x = scene(20, 1, 16, 16)
    found = corrupt("elastic", x, 5, seeded())
    low, high = x.amin((1, 2, 3)), x.amax((1, 2, 3))
    assert (found.amin((1, 2, 3)) >= low - 1e-6).all()
    assert (found.amax((1, 2, 3)) <= high + 1e-6).all()


def test_wrong_images_are_refused() -> None:
    with pytest.raises(InputError, match=r"name must be one of 'gaussian_noise'.* got 'fog'"):
        corrupt("fog", scene(1, 1, 4, 4), 1, seeded())
    for severity in (-1, 6, 1.5, True):
        with pytest.raises(InputError, match="severity must be a whole number from 0 to 5"):
            corrupt("contrast", scene(1, 1, 4, 4), severity, seeded())  # type: ignore[arg-type]
    for x in (torch.zeros(4, 4), torch.zeros(1, 0, 4, 4), torch.zeros(1, 1, 4, 4, dtype=torch.uint8)):
        with pytest.raises(InputError, match="x must be images"):
            corrupt("contrast", x, 1, seeded())
    for value in (-0.1, 1.1, math.nan, math.inf):
        with pytest.raises(InputError, match=r"x must hold numbers in \[0, 1\]"):
            corrupt("contrast", torch.full((1, 1, 2, 2), value), 1, seeded())


# ---- tables ----------------------------------------------------------------------------------------------------------


def test_columns_of_a_table_are_replaced_whole() -> None:
    x = torch.ones(500, 6)
    fill = torch.tensor([7.0, 8.0, 9.0, 0.0, 0.0, 5.0])
    columns = torch.tensor([0, 1, 2, 3, 3, 3])  # the last three features are the categories of one string
    found = corrupt_table(x, 5, seeded(), fill, columns)
    changed = found != x
    assert (found[changed] == fill.expand(500, 6)[changed]).all()
    assert torch.equal(changed[:, 3], changed[:, 4])
    assert torch.equal(changed[:, 3], changed[:, 5])
    assert changed[:, :4].sum(1).unique().tolist() == [2]  # half of the four columns
    assert changed.float().mean(0).tolist() == pytest.approx([0.5] * 6, abs=0.08)


def test_a_severer_corruption_replaces_more_of_the_same() -> None:
    x, fill = torch.ones(50, 40), torch.zeros(40)
    masks = [corrupt_table(x, s, seeded(), fill, torch.arange(40)) == 0 for s in (0, *SEVERITIES)]
    assert [int(mask.sum()) for mask in masks] == [0, 100, 200, 400, 700, 1000]
    for less, more in itertools.pairwise(masks):
        assert not (less & ~more).any()


def test_a_table_of_one_column_loses_it() -> None:
    assert corrupt_table(torch.ones(3, 1), 1, seeded(), torch.zeros(1), torch.zeros(1, dtype=torch.int64)).sum() == 0


def test_wrong_tables_are_refused() -> None:
    x = torch.ones(3, 2)
    for fill, columns in ((torch.ones(3), torch.arange(2)), (torch.ones(2), torch.arange(3))):
        with pytest.raises(InputError, match="x, fill and columns must be"):
            corrupt_table(x, 1, seeded(), fill, columns)
    with pytest.raises(InputError, match="columns must hold whole numbers"):
        corrupt_table(x, 1, seeded(), torch.ones(2), torch.tensor([0, -1]))
    with pytest.raises(InputError, match="severity must be"):
        corrupt_table(x, 6, seeded(), torch.ones(2), torch.arange(2))
