from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from gossamer.data.labels import MISSING, UNKNOWN, class_indices, encode, factorise, match_classes
from gossamer.errors import InputError


@pytest.mark.parametrize(
    ("values", "codes", "strings"),
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
def test_one_spelling_for_one_value(values: list[Any], codes: list[int], strings: tuple[str, ...]) -> None:
    got, found = factorise(pd.Series(values, dtype=None if all(type(v) is type(values[0]) for v in values) else object))
    assert (got.tolist(), found) == (codes, strings)


def test_order_of_rows_does_not_matter() -> None:
    assert factorise(np.array(["c", "a", "b"]))[1] == factorise(np.array(["b", "c", "a"]))[1]


def test_encode_tells_missing_from_unknown() -> None:
    values = pd.Series(["a", None, "z"], dtype=object)
    assert encode(values, ["b", "a"]).tolist() == [1, MISSING, UNKNOWN]


def test_categories_of_pandas() -> None:
    values = pd.Series(["b", "a", None], dtype=pd.CategoricalDtype(["unused", "b", "a"]))
    codes, strings = factorise(values)
    assert (codes.tolist(), strings) == ([1, 0, MISSING], ("a", "b"))


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


def test_labels_that_were_not_trained_on() -> None:
    labels = pd.Series(["b", "c", None, " A ", "1.0"], dtype=object)
    got = match_classes(labels, ("1", "a", "b"))
    assert got is not None
    assert got.tolist() == [2, UNKNOWN, MISSING, UNKNOWN, 0]
    assert match_classes(pd.Series(["c", None], dtype=object), ("a", "b")) is None


@pytest.mark.parametrize(
    ("labels", "codes", "classes"),
    [
        (["yes", "yes ", "YES", "no", "no", "No"], [1, 1, 1, 0, 0, 0], ("no", "yes")),
        (["Ja", "ja", "ja", "nein", "NEIN", "nein"], [0, 0, 0, 1, 1, 1], ("ja", "nein")),
        (["a", "A", "a", "A"], [1, 0, 1, 0], ("A", "a")),  # case may be all that differs
        (["Co", "CO", "Co", "CO"], [1, 0, 1, 0], ("CO", "Co")),
        (["01", "1", "01", "1"], [0, 1, 0, 1], ("01", "1")),
        (["1.0", "1", "2", "2."], [0, 0, 1, 1], ("1", "2")),
        (["None", "NA", "None", "NA"], [1, 0, 1, 0], ("NA", "None")),
        (["caf\u00e9", "cafe\u0301", "tea", "tea"], [0, 0, 1, 1], ("café", "tea")),  # one letter, or two characters
    ],
)
def test_spellings_of_a_class(labels: list[str], codes: list[int], classes: tuple[str, ...]) -> None:
    y, found = class_indices(pd.Series(labels, dtype=object), "y")
    assert (y.tolist(), found) == (codes, classes)
    again = match_classes(pd.Series(labels, dtype=object), found)
    assert again is not None
    assert again.tolist() == y.tolist()
