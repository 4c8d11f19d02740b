from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from gossamer import InputError, data
from gossamer.runs.units import unit_rows


def test_images_are_pixels_and_the_network_reads_its_own_rows() -> None:
    digits = data.load("digits")
    rows = unit_rows(digits)
    assert rows.images
    assert rows.x.shape == (len(digits.test), 1, 8, 8)
    assert (float(rows.low), float(rows.high)) == (0, 1)
    assert rows.unit == "pixels from 0 to 1"
    assert torch.equal(rows.network(nn.Identity())(rows.x), torch.from_numpy(digits.test.x))
    assert torch.equal(rows.y, torch.from_numpy(digits.test.y))


def test_channels_are_put_back_in_the_order_of_the_data(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (60, 4, 5, 3), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", x=pixels, y=np.arange(60) % 2)
    images = data.load(tmp_path / "images.npz")
    assert images.image == (4, 5, 3)
    rows = unit_rows(images)
    assert rows.x.shape[1:] == (3, 4, 5)
    torch.testing.assert_close(rows.network(nn.Identity())(rows.x), torch.from_numpy(images.test.x))
    first = images.test.x[0].reshape(4, 5, 3)
    assert rows.x[0, 2, 3, 1] == first[3, 1, 2]
    read = rows.network(nn.Identity(), reads_images=True)(rows.x)
    torch.testing.assert_close(read, rows.x)  # bytes / 255 are in these units already


def test_standardised_pixels_are_shown_from_0_to_1(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.uniform(-3, 7, (80, 4, 4)).astype(np.float32)
    pixels[:, 0, 0] = 2.0  # carries nothing, and is 0 for the network
    np.savez(tmp_path / "images.npz", x=pixels, y=np.arange(80) % 2)
    images = data.load(tmp_path / "images.npz")
    assert images.preprocessing.kind == "table"
    rows = unit_rows(images)
    assert rows.images
    assert 0 <= rows.x.min() < 0.05
    assert 0.95 < rows.x.max() <= 1
    torch.testing.assert_close(
        rows.network(nn.Identity())(rows.x), torch.from_numpy(images.test.x), atol=1e-5, rtol=1e-5
    )
    moved = rows.x.clone()
    moved[:, 0, 0, 0] = 1
    assert torch.equal(rows.network(nn.Identity())(moved), rows.network(nn.Identity())(rows.x))


def test_tables_are_in_units_of_their_deviation_within_the_range_of_training(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["a,b,colour,kind"]
    for i in range(100):
        a, b = rng.normal(5, 3), rng.exponential(2)
        lines.append(f"{a:.4f},{b:.4f},{'red' if i % 3 == 0 else 'blue'},{'xy'[i % 2]}")
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    table = data.load(tmp_path / "t.csv", target="kind")
    rows = unit_rows(table)
    assert not rows.images
    assert rows.unit == "standard deviations of the columns"
    scale = table.train.x.std(0)
    torch.testing.assert_close(rows.scale, torch.from_numpy(scale), atol=1e-5, rtol=1e-4)
    assert (rows.scale[:2] == 1).all()  # standardised columns stay as they are, to the last bit
    torch.testing.assert_close(rows.low, torch.from_numpy(table.train.x.min(0) / scale), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(rows.high, torch.from_numpy(table.train.x.max(0) / scale), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(rows.network(nn.Identity())(rows.x), torch.from_numpy(table.test.x))
    assert rows.columns is not None
    assert rows.columns.tolist() == [0, 1, 2, 2]
    assert rows.fill is not None
    torch.testing.assert_close(rows.fill * rows.scale, torch.from_numpy(table.preprocessing.missing()[0]))


def test_sparse_rows_become_dense(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = [
        f"{i % 2} " + " ".join(f"{j + 1}:{rng.uniform(1, 2):.3f}" for j in range(12) if (i + j) % 3 == 0)
        for i in range(90)
    ]
    (tmp_path / "t.svmlight").write_text("\n".join(lines) + "\n")
    table = data.load(tmp_path / "t.svmlight")
    rows = unit_rows(table)
    dense = torch.from_numpy(table.test.x.toarray())
    torch.testing.assert_close(rows.network(nn.Identity())(rows.x), dense)
    train = table.train.x.toarray()
    torch.testing.assert_close(rows.scale, torch.from_numpy(train.std(0)), rtol=1e-4, atol=1e-5)
    assert rows.low.max() == 0
    assert rows.fill is not None
    assert rows.fill.abs().max() == 0


def test_rows_are_drawn_by_the_seed() -> None:
    digits = data.load("digits")
    some = unit_rows(digits, 50, seed=3)
    assert len(some.y) == 50
    assert torch.equal(some.x, unit_rows(digits, 50, seed=3).x)
    assert not torch.equal(some.x, unit_rows(digits, 50, seed=4).x)
    whole = {tuple(row) for row in digits.test.x.tolist()}
    assert {tuple(row) for row in some.x.flatten(1).tolist()} <= whole


def test_too_many_rows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    wine = data.load("wine")
    with pytest.raises(InputError, match="rows must be at most the 36 test rows of the run, got 37"):
        unit_rows(wine, 37)
    with pytest.raises(InputError, match="rows must be a whole number of at least 1"):
        unit_rows(wine, 0)
    monkeypatch.setattr("gossamer.runs.units._MOST", 13 * 20)
    with pytest.raises(InputError, match="rows must be at most 20, as each has 13 inputs"):
        unit_rows(wine, 21)
