from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gossamer.data.dataset import rare_classes, split_rows
from gossamer.errors import InputError

Rows = NDArray[np.int64]


def cut(
    y: list[int], test: float = 0.2, validation: float = 0.1, seed: int = 0, train_rows: int | None = None
) -> tuple[Rows, Rows, Rows]:
    return split_rows(np.array(y), test_size=test, validation_size=validation, seed=seed, train_rows=train_rows)


@settings(deadline=None, max_examples=40)
@given(
    counts=st.lists(st.integers(3, 30), min_size=2, max_size=5),
    test=st.sampled_from([0.0, 0.1, 0.2, 0.3]),
    validation=st.sampled_from([0.0, 0.1, 0.2]),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_row_is_in_one_split_and_every_class_in_training(
    counts: list[int], test: float, validation: float, seed: int
) -> None:
    y = [c for c, n in enumerate(counts) for _ in range(n)]
    splits = cut(y, test, validation, seed)
    assert sorted(np.concatenate(splits).tolist()) == list(range(len(y)))
    assert set(np.array(y)[splits[0]]) == set(y)
    for rows, size in zip(splits[1:], (validation, test), strict=True):
        assert len(rows) == (0 if size == 0 else max(round(size * len(y)), len(counts)))


def test_classes_keep_their_proportions() -> None:
    y = [0] * 80 + [1] * 20
    train, validation, test = (np.bincount(np.array(y)[rows]).tolist() for rows in cut(y))
    assert (train, validation, test) == ([56, 14], [8, 2], [16, 4])


def test_seed_decides_the_rows() -> None:
    y = [0, 1] * 50
    assert all(np.array_equal(a, b) for a, b in zip(cut(y), cut(y), strict=True))
    assert not np.array_equal(cut(y)[2], cut(y, seed=1)[2])


def test_test_rows_do_not_depend_on_validation() -> None:
    y = [0, 1] * 50
    np.testing.assert_array_equal(cut(y, validation=0.1)[2], cut(y, validation=0.3)[2])


def test_given_test_split_stays_in_order_and_validation_comes_from_training() -> None:
    train, validation, test = cut([0, 1] * 50, test=0.9, train_rows=80)
    assert test.tolist() == list(range(80, 100))
    assert (len(train), len(validation)) == (72, 8)
    assert max(train.max(), validation.max()) < 80


def test_rows_are_shuffled_without_any_cut() -> None:
    train, _, _ = cut([0] * 20 + [1] * 20, test=0, validation=0)
    assert train.tolist() != sorted(train)
    assert sorted(train) == list(range(40))


def test_a_class_with_one_row_is_trained_on() -> None:
    y = [0] * 20 + [1] * 20 + [2]
    assert 40 in cut(y)[0]


def test_small_splits_are_as_large_as_the_number_of_classes() -> None:
    train, validation, test = cut([0, 1, 2] * 5, test=0.01, validation=0.01)
    assert (len(train), len(validation), len(test)) == (9, 3, 3)


@pytest.mark.parametrize(
    ("test", "validation", "seed", "message"),
    [
        (1.0, 0.1, 0, "test_size must be in"),
        (float("nan"), 0.1, 0, "test_size must be in"),
        (0.2, -0.1, 0, "validation_size must be in"),
        (0.6, 0.4, 0, "must be below 1"),
        (0.2, 0.1, -1, "seed must be"),
        (0.97, 0.0, 0, "too few"),
    ],
)
def test_sizes_that_cannot_be(test: float, validation: float, seed: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        cut([0, 1] * 10, test, validation, seed)


def test_sizes_that_leave_a_class_untrained() -> None:
    with pytest.raises(InputError, match="leave no training row of 1 of the 2 classes"):
        cut([0] * 60 + [1] * 2, test=0.9, validation=0.0)


def test_too_few_rows() -> None:
    with pytest.raises(InputError, match="4 rows of 2 classes are too few"):
        cut([0, 0, 1, 1])


def test_more_classes_than_rows_in_a_split() -> None:
    y = [i % 1000 for i in range(3000)]
    splits = cut(y)
    assert [len(rows) for rows in splits] == [2100, 300, 600]
    assert sorted(np.concatenate(splits).tolist()) == list(range(3000))
    assert len(np.unique(np.array(y)[splits[0]])) == 1000
    again = cut(y)
    assert all(np.array_equal(a, b) for a, b in zip(splits, again, strict=True))
    np.testing.assert_array_equal(cut(y, validation=0.2)[2], splits[2])


def test_rare_classes_are_said() -> None:
    y = np.array([0] * 40 + [1] * 40 + [2])
    said = rare_classes(y, ("a", "b", "c"), *cut(y.tolist()))
    assert said.startswith("1 of 3 classes ('c'), of 1 row at most, are not among both")
    assert rare_classes(y[:80], ("a", "b"), *cut(y[:80].tolist())) == ""
    assert rare_classes(y, ("a", "b", "c"), *cut(y.tolist(), test=0, validation=0)) == ""
