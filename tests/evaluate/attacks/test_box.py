from __future__ import annotations

import pytest
import torch

from gossamer import InputError
from gossamer.evaluate.attacks import Box


def test_bounds_of_each_feature() -> None:
    low, high = Box(torch.tensor([0.0, -1.0]), 3).around(torch.ones(4, 2))
    assert low.tolist() == [[0.0, -1.0]] * 4
    assert high.tolist() == [[3.0, 3.0]] * 4


def test_a_sample_outside_keeps_its_value() -> None:
    low, high = Box(0, 1).around(torch.tensor([[-2.0, 0.5], [0.5, 7.0]]))
    assert low.tolist() == [[-2.0, 0.0], [0.0, 0.0]]
    assert high.tolist() == [[1.0, 1.0], [1.0, 7.0]]


def test_a_bound_for_each_channel() -> None:
    low, _ = Box(torch.tensor([0.0, 1.0]).view(2, 1, 1), 9).around(torch.full((3, 2, 4, 5), 5.0))
    assert low.shape == (3, 2, 4, 5)
    assert low[:, 1].eq(1).all()


def test_the_dtype_is_that_of_the_samples() -> None:
    assert Box(0, 1).around(torch.ones(1, 1, dtype=torch.float64))[0].dtype == torch.float64
    assert Box(0, 1).around(torch.ones(1, 1))[0].dtype == torch.float32


@pytest.mark.parametrize(("norm", "length"), [("linf", 4.0), ("l2", 5.0)])
def test_the_diameter(norm: str, length: float) -> None:
    assert Box(0, torch.tensor([3.0, 4.0])).diameter(torch.zeros(2, 2), norm) == length


def test_a_box_without_bounds_has_no_diameter() -> None:
    assert Box(-torch.inf, torch.inf).diameter(torch.zeros(1, 2), "l2") == torch.inf


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        (1, 0, "low must be at most high"),
        (torch.tensor([0.0, 2.0]), 1, "low must be at most high"),
        (float("nan"), 1, "low must be a number"),
        (0, torch.tensor([]), "high must be a number"),
        ("zero", 1, "low must be a number or a tensor"),
        (torch.zeros(2), torch.ones(3), "must broadcast"),
    ],
)
def test_no_box(low: float, high: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Box(low, high)


def test_bounds_of_other_features() -> None:
    with pytest.raises(InputError, match=r"box must broadcast to one sample \(2,\)"):
        Box(torch.zeros(3), 1).around(torch.zeros(4, 2))


def test_it_is_shown() -> None:
    assert repr(Box(0, torch.arange(1.0, 7.0))) == "Box(low=0, high=1…6 of 6 features)"
