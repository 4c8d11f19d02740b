from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gossamer.associative.fit import MeasuredWeights, read_weights
from gossamer.errors import InputError

MATRIX = np.array([[1.0, 0, -2, 0.5], [0, 3, 0, 0], [1, 1, -1, 2], [0.5, 0, -1, 1], [0, 0, -3, 0]])


def test_a_matrix_is_counted_by_cell_and_class() -> None:
    measured = MeasuredWeights.from_matrix(MATRIX, [1, 1, -1, 1])
    assert measured.n_cells == 5
    assert measured.zeros.tolist() == [[1, 0], [2, 1], [0, 0], [1, 0], [3, 0]]
    assert measured.potential == 20
    assert measured.connection_probability == 12 / 20
    assert measured.sides.sum() == 4
    free = MeasuredWeights.from_matrix(MATRIX)
    assert free.zeros.shape == (5, 1)
    assert not free.signed


def test_each_cell_may_have_a_unit_of_its_own() -> None:
    measured = MeasuredWeights.from_matrix(MATRIX * np.arange(1, 6)[:, None], scale="cell")
    total = np.bincount(measured.cell, np.abs(measured.values))
    np.testing.assert_allclose(total, 4.0)


def test_strengths_and_a_probability_are_potential_inputs() -> None:
    measured = MeasuredWeights.from_strengths(np.ones(30), 0.2, -np.ones(10), 0.5)
    assert measured.zeros.sum(0).tolist() == [120, 10]
    assert measured.n_cells == 170
    assert MeasuredWeights.from_strengths([1.0, -1] * 10, 1.0, signed=False).potential == 20


@pytest.mark.parametrize(
    ("weights", "given", "message"),
    [
        (np.zeros((4, 4)), {}, "at least 10 connections"),
        (np.ones(12), {}, "shape"),
        (np.ones((1, 12)), {}, "at least 2 cells"),
        ([[1.0, np.nan], [1, 2]], {}, "finite, got nan in row 0, column 1"),
        ([[1.0, np.inf], [1, 2]], {}, "finite, got inf"),
        ([["a"]], {}, "matrix of numbers"),
        (np.ones((4, 4)), {}, "both signs.*signs=1"),
        (-np.ones((4, 4)), {}, "both signs.*signs=-1"),
        (MATRIX, {"signs": 1}, "excitatory, ≥ 0.*column 2|column 2 is excitatory"),
        (MATRIX, {"signs": [1, -1, -1, 1]}, "inhibitory, ≤ 0"),
        (MATRIX, {"signs": [1, 1]}, "signs must be"),
        (MATRIX, {"signs": 0.5}, "signs must be"),
        (MATRIX, {"scale": "row"}, "scale must be one of"),
        (np.vstack([MATRIX, np.zeros(4)]), {"scale": "cell"}, "no connections, as row 5"),
    ],
)
def test_bad_matrices(weights: Any, given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MeasuredWeights.from_matrix(weights, **given)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0] * 20, 0), "connection_probability must be in"),
        (([1.0] * 20, float("nan")), "connection_probability must be in"),
        (([1.0, 0.0] * 10, 0.5), "strengths must be finite and > 0, got 0 at index 1"),
        (([1.0, -1.0] * 10, 0.5), "finite and > 0"),
        (([], 0.5), "at least one number"),
        (([1.0] * 20, 0.5, [1.0] * 5, 0.5), "inhibitory_strengths must be finite and < 0"),
        (([1.0] * 20, 0.5, [-1.0] * 5), "together"),
        (("abc", 0.5), "list of numbers"),
    ],
)
def test_bad_strengths(arguments: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        MeasuredWeights.from_strengths(*arguments)


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("1,0,-2\n,3,\n", [[1, 0, -2], [0, 3, 0]]),
        ("a,b\n1,2\n3,\n", [[1, 2], [3, 0]]),
        ("cell;a;b\nx;1;2\ny;;4\n", [[1, 2], [0, 4]]),
        ("\ufeff1\t2\n3\t4\n\n", [[1, 2], [3, 4]]),
    ],
)
def test_files(text: str, rows: list[list[float]], tmp_path: Path) -> None:
    path = tmp_path / "weights.csv"
    path.write_text(text, "utf-8")
    assert read_weights(path).tolist() == rows


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "got none"),
        (b"a,b\n", "got none"),
        (b"1,2\n3\n", "rows of one length"),
        (b"1,x\n2,3\n", "'x' in row 1, column 2"),
        (b"1,nan\n2,3\n", "finite numbers, got 'nan'"),
        (b"\xff\xfe\x00", "UTF-8"),
    ],
)
def test_bad_files(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_weights(path)
    with pytest.raises(InputError, match="can't be read"):
        read_weights(tmp_path / "none.csv")
