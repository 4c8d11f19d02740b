from __future__ import annotations

import base64
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest

from gossamer.errors import InputError
from gossamer.studies import figures
from gossamer.studies.findings import Claim, Figure, Findings, Table, markdown, write

SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 4 4"><circle r="2"/></svg>\n'
FOUND = Findings(
    title="What evolves",
    claim="It works (Somebody, arXiv 1234.5678v1).",
    preset="quick",
    claims=[Claim("A beats B.", "holds", "p = 0.01"), Claim("B beats C.", "does not hold", "p | q")],
    summary="A is best.",
    tables=[
        Table("Accuracy", ("variant", "digits", "wine"), [("A", 0.98765, 0.9), ("B", None, math.nan)], "Means.",
              frozenset({(0, 1)})),
    ],
    figures=[Figure("curve", SVG, "A curve.", "Accuracy\nrises."), Figure("map", b"\x89PNG", "A map.", "Dark inside.")],
    departures=["Fewer epochs."],
    settings={"epochs": 3, "twin": False, "hidden": [10, 10]},
    command="gossamer study evolving --preset quick",
    machine={"processor": "abacus", "caches": {"L1": 32}, "memory": None},
    date="2024-02-29",
)  # fmt: skip


def test_all_files_are_written_and_nothing_else(tmp_path: Path) -> None:
    paths = write(FOUND, tmp_path / "new")
    assert [path.name for path in paths] == ["study.html", "study.md", "study.json", "curve.svg", "map.png"]
    assert {path.name for path in (tmp_path / "new").iterdir()} == {path.name for path in paths}
    assert paths[3].read_text() == SVG
    assert paths[4].read_bytes() == b"\x89PNG"
    before = [path.read_bytes() for path in paths]
    assert [path.read_bytes() for path in write(FOUND, tmp_path / "new")] == before


def test_json_holds_everything_but_the_pictures(tmp_path: Path) -> None:
    content = json.loads(write(FOUND, tmp_path)[2].read_text())
    assert content["claims"][1] == {"text": "B beats C.", "verdict": "does not hold", "evidence": "p | q"}
    assert content["tables"][0]["rows"] == [["A", 0.98765, 0.9], ["B", None, None]]
    assert content["figures"][0] == {"file": "curve.svg", "caption": "A curve.", "alt": "Accuracy\nrises."}
    assert (content["preset"], content["command"], content["settings"]["epochs"]) == (
        "quick", "gossamer study evolving --preset quick", 3,
    )  # fmt: skip


def test_markdown_has_tables_pictures_and_verdicts() -> None:
    text = markdown(FOUND)
    assert "| A beats B. | **holds** | p = 0.01 |" in text
    assert "| B beats C. | **does not hold** | p ∣ q |" in text
    assert "| variant | digits | wine |\n| --- | ---: | ---: |\n| A | **0.9877** | 0.9 |\n| B | – | – |" in text
    assert "![Accuracy rises.](curve.svg)" in text
    assert "| twin | no |" in text
    assert "| caches | L1 32 |" in text


def test_page_needs_nothing_from_outside(tmp_path: Path) -> None:
    page = write(FOUND, tmp_path)[0].read_text("utf-8")
    assert not re.search(r'(?:src|href)\s*=\s*"(?!#|data:)|url\(|@import|<script', page)
    assert "default-src 'none'" in page
    assert base64.b64encode(SVG.encode()).decode() in page
    assert 'alt="Dark inside."' in page
    assert '<b class="verdict does-not-hold">does not hold</b>' in page
    assert "<strong>0.9877</strong>" in page


@pytest.mark.parametrize("nasty", ["</title><script>alert(1)</script>", '"><img src=x onerror=alert(1)>'])
def test_text_cannot_act(tmp_path: Path, nasty: str) -> None:
    found = replace(FOUND, title=nasty, claim=nasty, summary=nasty, departures=[nasty], settings={nasty: nasty})
    found = replace(found, figures=[Figure("f", SVG, nasty, nasty)], tables=[Table(nasty, (nasty,), [(nasty,)])])
    page = write(found, tmp_path)[0].read_text("utf-8")
    assert "<script" not in page
    assert "<img src=x" not in page


def test_findings_without_anything_make_a_page(tmp_path: Path) -> None:
    paths = write(Findings("Empty", "Nothing (Nobody).", "quick"), tmp_path)
    assert "Verdicts" not in paths[0].read_text()
    assert "## " not in paths[1].read_text()


def test_wrong_verdicts_and_ragged_rows_are_refused() -> None:
    with pytest.raises(InputError, match="verdict must be one of"):
        Claim("A", "perhaps", "")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="2 cells in a row, got 1"):
        Table("T", ("a", "b"), [("x",)])


# ---- pictures ----


def test_the_same_figure_is_the_same_text() -> None:
    pytest.importorskip("matplotlib")
    drawn = []
    for _ in range(2):
        with figures.canvas(3, 2) as figure:
            figure.add_subplot().plot([1, 2], [3, 4], figures.MARKERS[0], color=figures.COLOURS[0])
            drawn.append((figures.svg(figure, "A line"), figures.png(figure, dpi=50)))
    assert drawn[0] == drawn[1]
    assert "<title>A line</title>" in drawn[0][0] or "A line" in drawn[0][0]
    assert drawn[0][1].startswith(b"\x89PNG")


def test_methods_within_the_critical_difference_are_joined() -> None:
    assert figures._groups([1.0, 1.5, 2.6, 4.0], 1.2) == [(0, 1), (1, 2)]
    assert figures._groups([1.0, 1.1, 1.2], 5.0) == [(0, 2)]
    assert figures._groups([1.0, 2.0, 3.0], 0.5) == []


def test_rank_diagram_names_every_method() -> None:
    pytest.importorskip("matplotlib")
    drawn = figures.ranks(["A", "B", "C"], [2.5, 1.0, 2.5], 0.7, "Ranks")
    assert drawn.count("<!-- ") >= 3  # text as outlines, with the text in a comment
    assert all(f"<!-- {name} " in drawn for name in ("A  2.50", "B  1.00", "C  2.50"))


@pytest.mark.parametrize("width", [2.0, 3.5, 8.0])
def test_a_legend_takes_no_more_room_than_there_is(width: float) -> None:
    pytest.importorskip("matplotlib")
    with figures.canvas(width, 3) as figure:
        panel = figure.add_subplot()
        handles = [panel.plot([0, 1])[0] for _ in range(6)]
        figures.legend(figure, handles, [f"variant {i}" for i in range(6)], 6)
        figure.draw_without_rendering()
        box = figure.legends[0].get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width
        assert len(figure.legends) == 1
