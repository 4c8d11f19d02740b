from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from gossamer.data.cells import Cells, arrays
from gossamer.data.identifiers import find_identifiers

RNG = np.random.default_rng(0)
GAPS = RNG.permutation(1000)[:30]


def found(name: str, values: Any) -> tuple[list[str], list[str]]:
    cells = Cells(arrays(pd.DataFrame({name: values, "other": RNG.normal(size=len(values))})))
    return find_identifiers(cells, cells.names)


@pytest.mark.parametrize("name", ["Unnamed: 0", "id", "ID", "index", "row_number", "customer_id", "PassengerId", "No."])
@pytest.mark.parametrize(
    "values", [range(30), GAPS, GAPS.astype(float), [f"u{v}" for v in GAPS], list(map(str, GAPS))], ids=str
)
def test_left_out(name: str, values: Any) -> None:
    out, notices = found(name, values)
    assert out == [name]
    assert "--numeric" in notices[0]


@pytest.mark.parametrize("name", ["paid", "valid", "android", "candid", "width", "idea", "nominal", "row_width"])
def test_names_that_end_like_an_id(name: str) -> None:
    assert found(name, GAPS) == ([], [])


@pytest.mark.parametrize("values", [[1, 2] * 15, [0.5 * v for v in range(30)], ["a", "b"] * 15, [None, *range(29)]])
def test_an_id_that_occurs_twice_is_kept(values: Any) -> None:
    assert found("id", values)[0] == []


@pytest.mark.parametrize("values", [range(30), range(60, 0, -2), np.cumsum(RNG.random(30)), RNG.permutation(30)])
def test_what_follows_the_rows_is_said(values: Any) -> None:
    out, notices = found("dose", values)
    assert out == []
    assert "'dose' follows the order of the rows: --drop dose" in notices[0]


def test_few_rows_say_nothing() -> None:
    assert found("id", range(4)) == ([], [])
    assert found("dose", range(19)) == ([], [])


def test_a_nameless_column_that_is_no_index() -> None:
    out, notices = found("Unnamed: 3", [1.5, 2.5] * 15)
    assert out == []
    assert "has no name in the file and is used: --drop 'Unnamed: 3'" in notices[0]
