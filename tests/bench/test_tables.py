from __future__ import annotations

import re
from dataclasses import replace

import pytest

from gossamer.bench import Bench, Cell, Sample, tables


def cell(ours: float, theirs: float, task: str = "layer") -> Cell:
    return Cell(task, {}, {"gossamer": Sample(ours, ours, ours, 1), "dense": Sample(theirs, theirs, theirs, 1)})


@pytest.mark.parametrize(
    ("ours", "theirs", "task", "text", "verdict"),
    [
        (1.0, 3.41, "layer", "3.4× faster", "won"),
        (3.41, 1.0, "layer", "dense is 3.4× faster", "lost"),
        (1.0, 1.03, "layer", "even", "even"),
        (1.03, 1.0, "layer", "even", "even"),
        (1.0, 250.0, "layer", "250× faster", "won"),
        (1.0, 2.0, "memory", "2.0× smaller", "won"),
        (2.0, 1.0, "memory", "dense is 2.0× smaller", "lost"),
        (0.0, 1.0, "memory", "–", ""),
    ],
)
def test_verdicts(ours: float, theirs: float, task: str, text: str, verdict: str) -> None:
    assert tables.verdict_of(cell(ours, theirs, task)) == (text, verdict)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1.5, "1.50 s"),
        (0.0123, "12.3 ms"),
        (4.5e-6, "4.50 µs"),
        (9.996e-4, "1.00 ms"),
        (3e-8, "30.0 ns"),
        (123.4, "123 s"),
    ],
)
def test_seconds_have_three_digits(seconds: float, text: str) -> None:
    assert tables._seconds(seconds) == text


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.50 kB"), (5.34e7, "53.4 MB")])
def test_bytes_have_three_digits(size: float, text: str) -> None:
    assert tables._bytes(size) == text


def test_sections_follow_the_tasks(bench: Bench) -> None:
    found = tables.sections(bench)
    assert [section.title.split(",")[0] for section in found] == [
        "Layer",
        "Training step",
        "Sparse input into a sparse layer",
        "Hoyer projection",
        "Memory of a training step",
        "Break-even density",
    ]
    for section in found:
        assert all(len(row.cells) == len(section.headings) for row in section.rows)
    layer = found[0]
    assert layer.headings == ("batch", "density", "gossamer", "dense", "gossamer is", "masked", "CSR", "SparseLab")
    assert layer.rows[0].cells == (
        *("8", "0.4", "2.00 ms", "1.00 ms", "dense is 2.0× faster"),
        *("2.00 ms", "~50.0 µs", "not installed"),
    )
    assert [row.verdict for row in layer.rows] == ["lost", "won"]
    assert layer.rows[0].best == 6  # CSR
    spspmm = found[2]
    assert spspmm.rows[0].cells[:6] == ("8", "0.1", "0.1", "1.00 µs", "1.00 ms", "1000× faster")
    projection = found[3]
    assert projection.headings[:3] == ("rows × units", "sparseness", "pass")
    assert projection.rows[0].cells == (
        *("4 × 50", "0.8", "forward", "3.00 ms", "1.00 ms", "softmax is 3.0× faster"),
        *("40.0 ms",),
    )
    memory = found[4]
    assert memory.rows[0].cells == (
        "0.1",
        "40 B / 16 B",
        "40.0 kB",
        "160 kB",
        "4.0× smaller",
        "–",
        "not installed",
    )
    assert [row.cells for row in found[5].rows] == [
        ("layer", "width 32, batch 8", "0.1"),
        ("training", "width 32, batch 128", "0.4 or above"),
    ]


def test_a_density_that_never_pays_is_said_to(bench: Bench) -> None:
    lost = [replace(c, results={**c.results, "gossamer": Sample(9.0, 9.0, 9.0, 1)}) for c in bench.cells[:2]]
    section = tables.sections(replace(bench, cells=lost))[-1]
    assert section.rows[0].cells[-1] == "none: dense is faster down to 0.025"


def test_the_score_counts_losses_to_everyone(bench: Bench) -> None:
    assert tables.losses(bench.cells) == [bench.cells[0], bench.cells[5]]
    assert "Of 7 comparisons, the baseline (dense or softmax) wins 2; in 2 another rival" in tables.score(bench.cells)


def test_markdown_is_whole(bench: Bench) -> None:
    page = tables.markdown(bench, "bench.svg")
    assert page.startswith("# Break-even map\n")
    assert "![Speed against density, dense = 1](bench.svg)" in page
    assert "Measured 2020-02-20T20:20:20+00:00 by `gossamer bench`." in page
    assert "| 8 | 0.4 | 2.00 ms (2 %) | 1.00 ms (2 %) | **dense is 2.0× faster** |" in page
    assert "**~50.0 µs (50 %)**" in page
    blocks = re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE)
    assert len(blocks) == len(tables.sections(bench))
    for block in blocks:
        assert len({line.count("|") for line in block.splitlines()}) == 1
        assert set(block.splitlines()[1]) <= set("|-: ")
    assert page.index("## Break-even density") < page.index("## Layer")


def test_markdown_without_figure_or_date(bench: Bench) -> None:
    page = tables.markdown(replace(bench, date=None, command=None))
    assert "![" not in page
    assert "Measured" not in page


def test_a_run_that_was_stopped_says_so(bench: Bench) -> None:
    assert "stopped before its end." in tables.markdown(replace(bench, stopped=True))


def test_the_machine_is_described_whatever_is_known(bench: Bench) -> None:
    unknown = dict(bench.machine) | dict.fromkeys(("processor", "cores", "caches", "memory_bytes", "load", "sparselab"))
    first, second = tables.machine_lines(replace(bench, machine=unknown))
    assert first.startswith("unknown processor, ? cores")
    assert "SparseLab not installed" in second
    busy = tables.machine_lines(replace(bench, machine=unknown | {"load": 99.0}))
    assert "expect noise" in busy[-1]
