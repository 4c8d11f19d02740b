from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gossamer.errors import InputError, check_choice, check_count, check_fraction


def test_input_error_is_a_value_error_and_survives_pickling() -> None:
    error = InputError("density must be in (0, 1], got 2")
    assert isinstance(error, ValueError)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@given(st.floats(0, 1))
def test_a_fraction_in_the_closed_interval_is_returned(value: float) -> None:
    assert check_fraction("p", value) == value


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, math.inf, -math.inf, "much", None, [0.5]])
def test_a_fraction_outside_is_refused(value: float) -> None:
    with pytest.raises(InputError, match=r"^p must be .*\[0, 1\], got "):
        check_fraction("p", value)


def test_open_ends_are_outside_and_named() -> None:
    with pytest.raises(InputError, match=r"density must be in \(0, 1\], got 0"):
        check_fraction("density", 0.0, open_low=True)
    with pytest.raises(InputError, match=r"p must be in \[0, 1\), got 1"):
        check_fraction("p", 1.0, open_high=True)
    assert check_fraction("q", 3, low=2, high=4) == 3.0


@pytest.mark.parametrize("value", [0, 7, 7.0, np.int32(7), np.float64(7), torch.tensor(7)])
def test_a_count_is_any_whole_number(value: int) -> None:
    count = check_count("k", value)
    assert type(count) is int
    assert count == value


@pytest.mark.parametrize("value", [True, -1, 1.5, math.nan, math.inf, "many", None])
def test_a_count_is_nothing_else(value: int) -> None:
    with pytest.raises(InputError, match="k must be a whole number of at least 0, got "):
        check_count("k", value)


def test_a_count_has_bounds() -> None:
    assert check_count("k", 3, low=3, high=3) == 3
    for value in (2, 4):
        with pytest.raises(InputError, match=f"k must be a whole number from 3 to 3, got {value}"):
            check_count("k", value, low=3, high=3)


def test_a_choice_is_one_of_the_list() -> None:
    assert check_choice("keep", "random", ("random", "magnitude")) == "random"
    with pytest.raises(InputError, match="keep must be one of 'random', 'magnitude', got 'all'"):
        check_choice("keep", "all", ("random", "magnitude"))
