from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from gossamer.data.labels import MISSING, UNKNOWN, class_indices, encode, factorise, match_classes
from gossamer.errors import InputError


@pytest.mark.parametrize(
    ("values", "codes", "texts"),
    [
        ([10, 9, 10], [1, 0, 1], ("9", "10")),
        ([1.0, np.nan, 2.0], [0, MISSING, 1], ("1", "2")),
        ([True, False], [1, 0], ("False", "True")),
        (["true", "FALSE", "True"], [1, 0, 1], ("False", "True")),
        (["b", None, "10", "9"], [2, MISSING, 1, 0], ("9", "10", "b")),
        ([1, "1", b"a"], [0, 0, 1], ("1", "a")),
        (["nan text", "inf"], [1, 0], ("inf", "nan text")),
        ([], [], ()),
    ],
)
def test_one_spelling_for_one_value(values: list[Any], codes: list[int], texts: tuple[str, ...]) -> None:
    got, found = factorise(pd.Series(values, dtype=None if all(type(v) is type(values[0]) for v in values) else object))
    assert (got.tolist(), found) == (codes, texts)


def test_order_of_rows_does_not_matter() -> None:
    assert factorise(np.array(["c", "a", "b"]))[1] == factorise(np.array(["b", "c", "a"]))[1]


def test_encode_tells_missing_from_unknown() -> None:
    values = pd.Series(["a", None, "z"], dtype=object)
    assert encode(values, ["b", "a"]).tolist() == [1, MISSING, UNKNOWN]


def test_categories_of_pandas() -> None:
    values = pd.Series(["b", "a", None], dtype=pd.CategoricalDtype(["unused", "b", "a"]))
    codes, texts = factorise(values)
    assert (codes.tolist(), texts) == ([1, 0, MISSING], ("a", "b"))


def test_class_indices() -> None:
    y, classes = class_indices(np.array([-1, 1, 1, -1]), "y")
    assert (y.tolist(), classes) == ([0, 1, 1, 0], ("-1", "1"))
    assert y.dtype == np.int64


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1.5, 2.0, 2.0, 1.5], "'y' must hold classes, got the number 1.5 in row 1"),
        ([1.0, np.inf, 1.0, 1.0], "two or more classes|got the number inf"),
        (["a", None, "b", "b"], r"none in 1 of 4 rows \(the first is row 2\)"),
        ([1.0, 2.0, np.nan, np.nan], r"none in 2 of 4 rows \(the first is row 3\)"),
        (["a", "a", "a"], "two or more classes, got 'a'"),
        ([101, 205, 309, 420], "4 distinct values in 4 rows"),
    ],
)
def test_labels_that_are_no_classes(labels: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        class_indices(pd.Series(labels), "y")


def test_match_classes() -> None:
    got = match_classes(pd.Series([2.0, 1.0]), ("1", "2"))
    assert got is not None
    assert got.tolist() == [1, 0]
    assert match_classes(pd.Series([np.nan, np.nan]), ("1", "2")) is None


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", "c"], "must be one of 'a', 'b' or empty in every row, got 'c' in row 2"),
        (["a", None], "got none in row 2"),
    ],
)
def test_labels_that_were_not_trained_on(labels: list[str | None], message: str) -> None:
    with pytest.raises(InputError, match=message):
        match_classes(pd.Series(labels, dtype=object), ("a", "b"), "y")
