from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from gossamer.bench import Bench, Cell, Sample

pytest.importorskip("matplotlib")

from gossamer.bench.plot import svg


def test_the_picture_is_well_formed_and_the_same_each_time(bench: Bench) -> None:
    picture = svg(bench)
    assert picture is not None
    root = ElementTree.fromstring(picture)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "NaN" not in picture
    assert picture == svg(bench)


def test_panels_are_one_for_each_width_batch_and_task(bench: Bench) -> None:
    one = Sample(1.0, 1.0, 1.0, 1)
    convolution = Cell(
        "convolution", {"channels": 4, "batch": 1, "size": 8, "density": 0.1}, {"gossamer": one, "dense": one}
    )
    picture = svg(replace(bench, cells=(*bench.cells, convolution)))
    assert picture is not None
    visible = [part for part in picture.split('<g id="axes_')[1:] if "matplotlib.axis" in part]
    assert len(visible) == 3


def test_dense_faster_throughout(bench: Bench) -> None:
    slow = Sample(9.0, 9.0, 9.0, 1)
    picture = svg(replace(bench, cells=[replace(c, results={**c.results, "gossamer": slow}) for c in bench.cells[:2]]))
    assert picture is not None


def test_nothing_to_plot(bench: Bench) -> None:
    assert svg(replace(bench, cells=bench.cells[-2:])) is None
    assert svg(replace(bench, cells=())) is None
