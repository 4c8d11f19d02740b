from __future__ import annotations

import datetime
import decimal
import json
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.sparse import csr_array

from gossamer.data import Preprocessing
from gossamer.errors import InputError

NAN, INF = np.nan, np.inf


def frame(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame(columns)


def test_numbers_are_filled_with_the_median_and_standardised() -> None:
    table = np.array([[1.0, 5.0], [3.0, 5.0], [NAN, 5.0], [8.0, NAN]])
    fitted = Preprocessing.fit(table)
    assert fitted.median.tolist() == [3.0, 5.0]
    x = fitted.transform(table)
    std = np.sqrt((2.75**2 + 2 * 0.75**2 + 4.25**2) / 4)  # of 1, 3, 3, 8 around 3.75
    np.testing.assert_allclose(x[:, 0], np.array([-2.75, -0.75, -0.75, 4.25]) / std, rtol=1e-6)
    np.testing.assert_array_equal(x[:, 1], 0)
    assert x.dtype == np.float32
    assert x.flags.c_contiguous


@settings(deadline=None, max_examples=50)
@given(
    hnp.arrays(
        np.float64,
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=8),
        elements=st.floats(-1e6, 1e6).map(lambda v: round(v, 3)),
    )
)
def test_training_columns_have_mean_0_and_deviation_1_or_are_0(table: np.ndarray[Any, Any]) -> None:
    x = Preprocessing.fit(table).transform(table).astype(np.float64)
    varies = np.ptp(table, axis=0) > 0
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(x.std(axis=0), varies, atol=1e-5)


def test_array_and_frame_agree_also_over_many_columns() -> None:
    table = np.random.default_rng(0).normal(size=(7, 300))
    table[2, 280] = NAN
    a = Preprocessing.fit(table)
    b = Preprocessing.fit(pd.DataFrame(table, columns=[f"x{i}" for i in range(300)]))
    assert a.to_dict() == b.to_dict()
    np.testing.assert_array_equal(a.transform(table), b.transform(pd.DataFrame(table, columns=list(b.columns))))


def test_only_the_given_rows_are_learnt_from() -> None:
    table = np.array([[0.0], [2.0], [1000.0]])
    fitted = Preprocessing.fit(table, rows=np.array([0, 1]))
    assert fitted.mean.tolist() == [1.0]
    assert fitted.transform(table, np.array([2])).tolist() == [[999.0]]


def test_a_rounded_constant_is_0() -> None:
    table = np.full((10, 1), 0.1)
    assert not Preprocessing.fit(table).transform(np.array([[0.1], [5.0]])).any()


def test_categories_become_one_column_each() -> None:
    table = frame(size=[1.0, 2.0, 3.0], colour=["red", "blue", "red"], new=[True, False, True])
    fitted = Preprocessing.fit(table)
    assert fitted.features == ("size", "colour=blue", "colour=red", "new=False", "new=True")
    np.testing.assert_array_equal(fitted.transform(table)[:, 1:], [[0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1]])


def test_unknown_category_is_all_zeros() -> None:
    fitted = Preprocessing.fit(frame(c=["a", "b"]))
    x = fitted.transform(frame(c=["z", None, "b"]))
    assert x.tolist() == [[0, 0], [0, 0], [0, 1]]
    assert fitted.unseen(x) == {"c": 2}
    assert fitted.unseen(x[2:]) == fitted.unseen(x[:0]) == {}


def test_missing_is_a_category_where_training_has_it() -> None:
    fitted = Preprocessing.fit(frame(c=["a", None, "b"]))
    assert fitted.features == ("c=a", "c=b", "c is missing")
    assert fitted.transform(frame(c=[None, "z"])).tolist() == [[0, 0, 1], [0, 0, 0]]


def test_a_row_without_any_value_has_medians_and_missing_categories() -> None:
    table = frame(
        colour=["red", None, "red", "blue"],
        empty=[None, None, None, None],
        size=[1.0, 2.0, 3.0, 10.0],
        day=["2020-01-05", "2020-03-02", "2021-07-11", "2022-12-30"],
        new=["yes", "no", "yes", "no"],
        constant=[4.0, 4.0, 4.0, 4.0],
    )
    fitted = Preprocessing.fit(table)
    fill, columns = fitted.missing()
    nothing = frame(**{str(name): [None] for name in table}).astype({"size": float, "constant": float})
    np.testing.assert_allclose(fill, fitted.transform(nothing)[0], rtol=1e-6)
    owners = [re.split(r"=| is | day| weekday| time", name)[0] for name in fitted.features]
    names = [name for name in fitted.columns if name in owners]
    assert [names[i] for i in columns] == owners
    assert len(set(columns.tolist())) == max(columns) + 1 == len(names)


def test_missing_pixels_and_words_are_zero() -> None:
    for kind in ("scale", "counts"):
        fitted = Preprocessing.fit(np.array([[0.0, 3.0], [0.0, 0.0], [5.0, 0.0]]), kind=kind)
        assert fitted.missing()[0].tolist() == [0, 0]
        assert fitted.missing()[1].tolist() == [0, 1]


@pytest.mark.parametrize(
    "column",
    [
        pd.Series([1, None, 3], dtype="Int64"),
        pd.Series([1.0, None, 3.0], dtype="Float64"),
        pd.Series([decimal.Decimal(1), None, decimal.Decimal(3)], dtype=object),
        pd.Series([1, None, 3.0], dtype=object),
    ],
)
def test_numbers_in_every_storage(column: pd.Series[Any]) -> None:
    fitted = Preprocessing.fit(column.to_frame("a"))
    assert fitted.median.tolist() == [2.0]
    np.testing.assert_allclose(fitted.transform(column.to_frame("a"))[:, 0], [-(1.5**0.5), 0, 1.5**0.5], rtol=1e-6)


@pytest.mark.parametrize("dtype", ["category", "string", "object"])
def test_texts_in_every_storage(dtype: str) -> None:
    table = pd.DataFrame({"a": pd.Series(["x", "y", None], dtype=dtype)})
    assert Preprocessing.fit(table).features == ("a=x", "a=y", "a is missing")


def test_nullable_booleans_are_categories() -> None:
    table = pd.DataFrame({"a": pd.Series([True, False, None], dtype="boolean")})
    assert Preprocessing.fit(table).features == ("a=False", "a=True", "a is missing")


@pytest.mark.parametrize("empty", [[NAN, NAN], [None, None]])
def test_column_without_values_is_dropped_and_recorded(empty: list[Any]) -> None:
    table = frame(a=[1.0, 2.0], nothing=empty)
    fitted = Preprocessing.fit(table)
    assert dict(fitted.dropped) == {"nothing": "no value in the training rows"}
    assert fitted.features == ("a",)
    assert fitted.transform(frame(a=[1.0, 2.0])).shape == (2, 1)


def test_column_without_values_in_an_array() -> None:
    table = np.array([[NAN, 1.0], [NAN, 2.0]])
    fitted = Preprocessing.fit(table)
    assert fitted.features == ("x1",)
    np.testing.assert_allclose(fitted.transform(table), [[-1], [1]])


def test_no_column_with_values() -> None:
    with pytest.raises(InputError, match="must have a column with values, got none in 'a'"):
        Preprocessing.fit(frame(a=[NAN, NAN]))


@pytest.mark.parametrize("bad", [INF, -INF])
def test_infinity_in_training_and_after(bad: float) -> None:
    with pytest.raises(InputError, match="column 'a' has a value in row 2 that is infinite"):
        Preprocessing.fit(frame(a=[1.0, bad]))
    with pytest.raises(InputError, match="column 'x0' has a value in row 3 that is infinite"):
        Preprocessing.fit(np.array([[1.0], [2.0]])).transform(np.array([[0.0], [bad], [bad]]), np.array([0, 2]))


@pytest.mark.parametrize("dtype", [object, "string"])
def test_text_where_training_had_numbers(dtype: Any) -> None:
    fitted = Preprocessing.fit(frame(a=[1.0, 2.0]))
    with pytest.raises(InputError, match="column 'a' must hold numbers, got 'abc' in row 2"):
        fitted.transform(pd.DataFrame({"a": pd.Series(["1", "abc"], dtype=dtype)}))
    np.testing.assert_allclose(fitted.transform(pd.DataFrame({"a": pd.Series(["1", None], dtype=dtype)})), [[-1], [0]])


def test_dates_where_training_had_numbers() -> None:
    with pytest.raises(InputError, match="column 'a' must hold numbers"):
        Preprocessing.fit(frame(a=[1.0, 2.0])).transform(frame(a=pd.to_datetime(["2020-01-01"])))


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([1j, 2j], "got complex"),
        ([[1, 2], [3]], "got lists or other nested values"),
        ([{"a": 1}, {"b": 2}], "got lists or other nested values"),
        (
            [f"name {i}" for i in range(40)],
            "40 different strings in 40 rows: leave out free text and ids with --drop a",
        ),
        ([*map(str, range(39)), "soon"], r"39 numbers and 1 other fields, such as 'soon' \(row 40\).*--numeric a"),
        ([f"{i},5" for i in range(20)], "20 fields such as .* in another notation .* --decimal ,"),
        (["5 %", *map(str, range(19))], "numbers with no unit and '%': bring them to one unit"),
        ([f"{i % 12 + 1}/{i % 11 + 1}/2024" for i in range(20)], "day and month are ambiguous"),
        ([f"t{i % 1001}" for i in range(5000)], "1,001 different strings in 5,000 rows"),
    ],
)
def test_columns_that_cannot_be_used(column: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Preprocessing.fit(frame(a=column))


def test_few_different_texts_are_categories_however_few_the_rows() -> None:
    assert len(Preprocessing.fit(frame(a=list("abcdefghij"))).features) == 10


@pytest.mark.parametrize(
    ("column", "features", "first"),
    [
        (pd.to_datetime(["2024-01-01", "2024-01-03"]), ("a day", "a weekday"), (19723, 0)),
        ([datetime.date(2024, 1, 1), datetime.date(2024, 1, 3)], ("a day", "a weekday"), (19723, 0)),
        (["2024-01-01T06:30:00Z", "2024-01-03"], ("a day", "a weekday", "a time"), (19723, 0, 6.5)),
        (["31.1.1970", "1.2.1970"], ("a day", "a weekday"), (30, 5)),
        (["1/31/1970 12:00 AM", "2/1/1970 1:15 PM"], ("a day", "a weekday", "a time"), (30, 5, 0)),
        (["9:45", "23:59:59.5"], ("a time",), (9.75,)),
        (pd.to_timedelta([36, 48], unit="h"), ("a",), (1.5,)),
    ],
)
def test_dates_become_numbers(column: Any, features: tuple[str, ...], first: tuple[float, ...]) -> None:
    table = frame(a=column)
    fitted = Preprocessing.fit(table)
    assert fitted.features == features
    again = Preprocessing.from_dict(json.loads(json.dumps(fitted.to_dict())))
    x = again.transform(table)
    np.testing.assert_array_equal(x, fitted.transform(table))
    np.testing.assert_allclose(x[0] * fitted.std + fitted.mean, first, rtol=1e-6, atol=1e-6)


def test_a_text_that_is_no_date_of_the_form_of_training() -> None:
    fitted = Preprocessing.fit(frame(a=["2024-01-01", "2024-02-30".replace("30", "28"), None]))
    assert fitted.transform(frame(a=[None, "NA", "2024-01-01"])).shape == (3, 2)
    with pytest.raises(InputError, match=r"'a' must hold dates \(iso\) as in training, got '2024-02-30' in row 2"):
        fitted.transform(frame(a=["2024-01-01", "2024-02-30"]))
    with pytest.raises(InputError, match="'a' must hold dates as in training, got numbers"):
        fitted.transform(frame(a=[1.0]))


def test_sparse_rows_stay_sparse_and_zero_stays_zero() -> None:
    table = csr_array(np.array([[0, 3.0, 0], [4.0, 0, 0], [0, -3.0, 0]]))
    fitted = Preprocessing.fit(table, kind="sparse")
    x = fitted.transform(table)
    assert x.format == "csr"
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x.toarray(), [[0, 1, 0], [1, 0, 0], [0, -1, 0]])
    np.testing.assert_array_equal(fitted.transform(table.toarray()), x.toarray())
    again = Preprocessing.from_dict(json.loads(json.dumps(fitted.to_dict())))
    np.testing.assert_array_equal(again.transform(table, np.array([1, 0])).toarray(), x.toarray()[[1, 0]])
    assert fitted.transform(csr_array(np.array([[0, 0, 7.0]]))).nnz == 0  # what training never had
    with pytest.raises(InputError, match="must be finite numbers, got nan in row 2"):
        fitted.transform(csr_array(np.array([[1.0, 0, 0], [0, np.nan, 0]])))
    with pytest.raises(InputError, match="rows must be numbers in 3 columns"):
        fitted.transform(csr_array(np.eye(2)))
    with pytest.raises(InputError, match="must be dense for the kind 'table'"):
        Preprocessing.fit(table)
    with pytest.raises(InputError, match="must be dense as in training"):
        Preprocessing.fit(table.toarray()).transform(table)
    with pytest.raises(InputError, match=r"preprocessing\['std'\]"):
        Preprocessing.from_dict({**fitted.to_dict(), "std": "AAAA"})


def test_scale() -> None:
    pixels = np.array([[0, 51], [255, 102]], dtype=np.uint8)
    fitted = Preprocessing.fit(pixels, kind="scale", divisor=255)
    np.testing.assert_allclose(fitted.transform(pixels), [[0, 0.2], [1, 0.4]], rtol=1e-6)
    assert fitted.transform(pixels).dtype == np.float32
    np.testing.assert_array_equal(
        fitted.transform(pd.DataFrame(pixels, columns=["x0", "x1"])), fitted.transform(pixels)
    )
    np.testing.assert_array_equal(fitted.transform(pixels.astype(np.float64)), fitted.transform(pixels))
    with pytest.raises(InputError, match="column 'x1' has a value in row 2 that is missing or infinite"):
        fitted.transform(np.array([[0.0, 1.0], [1.0, NAN]]))


def test_counts() -> None:
    words = np.array([[0, 3, 2], [1, 0, 2]], dtype=np.uint8)
    fitted = Preprocessing.fit(words, kind="counts")
    np.testing.assert_allclose(fitted.transform(words), [[0, np.log(4), 0], [np.log(2), 0, 0]], rtol=1e-6)
    with pytest.raises(InputError, match="column 'x2' has a value in row 1 that is negative"):
        fitted.transform(np.array([[0, 0, -1]]))


def test_very_large_numbers() -> None:
    with pytest.raises(InputError, match="column 'x0' must hold numbers whose variance fits float64"):
        Preprocessing.fit(np.array([[1e300], [-1e300]]))
    with pytest.raises(InputError, match="row 1 that is too far from the training rows"):
        Preprocessing.fit(np.array([[0.0], [1.0]])).transform(np.array([[1e300]]))


def test_columns_are_found_by_name() -> None:
    table = frame(a=[1.0, 3.0], b=[0.0, 4.0])
    fitted = Preprocessing.fit(table)
    swapped = frame(other=["?", "?"], b=[0.0, 4.0], a=[1.0, 3.0])
    np.testing.assert_array_equal(fitted.transform(swapped), fitted.transform(table))
    with pytest.raises(InputError, match="columns 'b' were there in training and are missing"):
        fitted.transform(frame(a=[1.0]))


@pytest.mark.parametrize("table", [np.zeros((2, 3)), np.zeros(2), np.array([["a", "b"]]), np.zeros((1, 2), complex)])
def test_arrays_of_another_shape_or_type(table: np.ndarray[Any, Any]) -> None:
    with pytest.raises(InputError, match="rows must be numbers in 2 columns"):
        Preprocessing.fit(np.eye(2)).transform(table)


def test_array_where_training_had_categories() -> None:
    with pytest.raises(InputError, match="columns 'c' hold categories"):
        Preprocessing.fit(frame(c=["a", "b"])).transform(np.zeros((1, 1)))


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        (np.eye(2), {"kind": "magic"}, "kind must be one of"),
        (np.zeros((0, 2)), {}, "must have a row and a column"),
        (np.zeros((2, 0)), {}, "must have a row and a column"),
        (np.zeros(2), {}, "two-dimensional array of numbers"),
        (np.array([["a"]]), {}, "two-dimensional array of numbers"),
        (np.eye(2), {"columns": ["a", "a"]}, "2 distinct names"),
        (np.eye(2), {"columns": ["a"]}, "2 distinct names"),
    ],
)
def test_fit_refuses(table: np.ndarray[Any, Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Preprocessing.fit(table, **options)


def test_no_rows_and_one_row() -> None:
    fitted = Preprocessing.fit(frame(a=[1.0], c=["x"]))
    assert fitted.transform(frame(a=[7.0], c=["x"])).tolist() == [[0, 1]]
    assert fitted.transform(frame(a=[1.0], c=["x"]), np.arange(0)).shape == (0, 2)


MIXED = frame(a=[0.1, NAN, 3.0], c=["x", None, "y"], gone=[None, None, None], b=[True, False, True])


def test_plain_data_and_back() -> None:
    fitted = Preprocessing.fit(MIXED, target="t", classes=("no", "yes"))
    stored = json.loads(json.dumps(fitted.to_dict(), allow_nan=False))
    again = Preprocessing.from_dict(stored)
    assert again.to_dict() == fitted.to_dict()
    assert (again.target, again.classes, again.features) == ("t", ("no", "yes"), fitted.features)
    np.testing.assert_array_equal(again.transform(MIXED), fitted.transform(MIXED))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 3}, "got 3: a newer gossamer wrote it"),
        ({"version": 0}, "must be of version 2, got 0"),
        ({"version": None}, "must be of version 2, got None"),
        ({"version": True}, "must be of version 2, got True"),
        ({"kind": "pickle"}, r"preprocessing\['kind'\]"),
        ({"columns": "abc"}, r"preprocessing\['columns'\]"),
        ({"columns": ["a"]}, r"preprocessing\['columns'\]"),
        ({"columns": ["b", "gone", "c", "a", "a"]}, r"preprocessing\['columns'\]"),
        ({"mean": [1.0, 2.0]}, r"preprocessing\['mean'\] must be 1 finite numbers"),
        ({"mean": ["1"]}, r"preprocessing\['mean'\]"),
        ({"std": [NAN]}, r"preprocessing\['std'\]"),
        ({"std": [-1.0]}, r"preprocessing\['std'\] must be non-negative"),
        ({"divisor": 0.0}, r"preprocessing\['divisor'\] must be positive"),
        ({"divisor": None}, r"preprocessing\['divisor'\]"),
        ({"categories": []}, r"preprocessing\['categories'\]"),
        ({"categories": {"c": [1], "b": []}}, r"preprocessing\['c'\]"),
        ({"dropped": {"gone": 1}}, r"preprocessing\['dropped'\]"),
        ({"target": 1}, r"preprocessing\['target'\]"),
        ({"classes": [1]}, r"preprocessing\['classes'\]"),
        ({"kind": "scale"}, r"preprocessing\['columns'\]"),
    ],
)
def test_stored_parts_are_checked(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Preprocessing.from_dict({**Preprocessing.fit(MIXED).to_dict(), **change})


def test_numeric_columns_out_of_order() -> None:
    stored = Preprocessing.fit(np.eye(2)).to_dict()
    with pytest.raises(InputError, match=r"preprocessing\['numeric'\] must be in the order"):
        Preprocessing.from_dict({**stored, "numeric": ["x1", "x0"]})
