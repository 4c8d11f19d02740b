"""Associations: what is kept, what is drawn, what is refused."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from gossamer.associative.problem import (
    Associations,
    check_signs,
    random_associations,
    random_signs,
)
from gossamer.errors import InputError


def test_any_dtype_of_zeros_and_ones() -> None:
    for dtype in (bool, int, np.uint8, float):
        problem = Associations(np.array([[0, 1, 1], [1, 0, 1]], dtype), np.array([1, 0], dtype))
        assert problem.inputs.dtype == problem.targets.dtype == np.bool_
        assert problem.labels.tolist() == [1.0, -1.0]
        assert (len(problem), problem.n_inputs, problem.n_units, problem.load) == (2, 3, None, 2 / 3)


@pytest.mark.parametrize(
    ("inputs", "targets", "message"),
    [
        ([[0, 2]], [1], "inputs must be of zeros and ones, got 2 at (0, 1)"),
        ([[0.0, np.nan]], [1], "inputs must be of zeros and ones, got nan at (0, 1)"),
        ([[0, 1]], [-1], "targets must be of zeros and ones, got -1 at (0,)"),
        ([[0, 1]], [1, 0], "targets must have one row per row of inputs, got 2 and 1"),
        ([0, 1], [1, 0], "inputs must have 2 dimensions, got shape (2,)"),
        ([[0, 1]], 1, "targets must have 1 or 2 dimensions, got shape ()"),
        (np.empty((2, 0)), [1, 0], "inputs must have at least one column (N ≥ 1), got shape (2, 0)"),
        ([["a", "b"]], [1], "inputs must be of zeros and ones, got dtype <U1"),
    ],
)
def test_bad_associations(inputs: Any, targets: Any, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        Associations(inputs, targets)


def test_contradictions() -> None:
    inputs = np.array([[0, 1], [1, 1], [0, 1], [1, 1], [0, 1]])
    assert Associations(inputs, [1, 0, 0, 0, 1]).contradictions().tolist() == [[0, 2]]
    layer = Associations(inputs, np.array([[1, 1], [0, 0], [1, 1], [0, 1], [0, 0]]))
    assert layer.contradictions().tolist() == [[1, 3], [0, 4]]
    assert Associations(np.empty((0, 2)), np.empty(0)).contradictions().shape == (0, 2)


def test_units_of_a_layer() -> None:
    layer = random_associations(5, 4, np.random.default_rng(0), n_units=3)
    assert layer.targets.shape == (4, 3)
    assert np.array_equal(layer.unit(2).targets, layer.targets[:, 2])
    with pytest.raises(InputError, match="index must be a whole number from 0 to 2"):
        layer.unit(3)
    with pytest.raises(InputError, match="needs targets of shape"):
        layer.unit(0).unit(0)


def test_random_associations_have_the_probabilities_asked_for() -> None:
    f = np.array([0.1, 0.5, 0.9])
    problem = random_associations(3, 40_000, np.random.default_rng(1), f_in=f, f_out=0.2)
    assert np.allclose(problem.inputs.mean(0), f, atol=0.01)
    assert abs(problem.targets.mean() - 0.2) < 0.01
    again = random_associations(3, 40_000, np.random.default_rng(1), f_in=f, f_out=0.2)
    assert np.array_equal(problem.inputs, again.inputs)
    assert np.array_equal(problem.targets, again.targets)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"f_in": 0.0}, "f_in must be in (0, 1), got 0"),
        ({"f_in": [0.5, 1.0, 0.5]}, "f_in must be in (0, 1), got 1 at index 1"),
        ({"f_in": [0.5, 0.5]}, "f_in must be a number or have shape (3,), got shape (2,)"),
        ({"f_in": float("nan")}, "f_in must be in (0, 1), got nan"),
        ({"f_out": 1.0}, "f_out must be in (0, 1), got 1"),
        ({"n_inputs": 0}, "n_inputs must be a whole number of at least 1, got 0"),
        ({"n_associations": 1.5}, "n_associations must be a whole number of at least 0, got 1.5"),
        ({"n_units": 0}, "n_units must be a whole number of at least 1, got 0"),
        ({"generator": 3}, "generator must be a numpy.random.Generator"),
    ],
)
def test_bad_random_associations(given: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"n_inputs": 3, "n_associations": 2, "generator": np.random.default_rng(0)} | given
    with pytest.raises(InputError, match=re.escape(message)):
        random_associations(**arguments)


def test_signs() -> None:
    signs = random_signs(10, 0.25, np.random.default_rng(0))
    assert sorted(signs.tolist()) == [-1] * 3 + [1] * 7
    assert (random_signs(4, 1, np.random.default_rng(0)) == -1).all()
    assert check_signs(None, 3) is None
    with pytest.raises(InputError, match=r"inhibitory must be in \[0, 1\], got nan"):
        random_signs(4, float("nan"), np.random.default_rng(0))
    with pytest.raises(InputError, match=r"signs must be −1 .* got \[0\]"):
        check_signs([1, 0], 2)
    with pytest.raises(InputError, match=r"signs must have shape \(3,\)"):
        check_signs([1, 1], 3)
    with pytest.raises(InputError, match="signs must be −1"):
        check_signs([True, False], 2)
