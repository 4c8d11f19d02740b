"""Findings of a study, and their files: ``study.json``, ``study.md``, ``study.html`` and the figures."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from gossamer.errors import InputError, check_choice
from gossamer.io.files import write_atomically, written

__all__ = ["Claim", "Figure", "Findings", "Table", "Verdict", "judged", "markdown", "write"]

Verdict = Literal["holds", "does not hold", "undecided"]

Cell = str | int | float | None


@dataclass(frozen=True)
class Claim:
    """A statement that the study tests, its verdict here, and the numbers that decide."""

    text: str
    verdict: Verdict
    evidence: str

    def __post_init__(self) -> None:
        check_choice("verdict", self.verdict, get_args(Verdict))


def judged(gain: float, p: float, alpha: float = 0.05) -> Verdict:
    """On "this is better": it holds, or doesn't, if p is below ``alpha``, by the sign of the gain; else undecided."""
    if p >= alpha:
        return "undecided"
    return "holds" if gain > 0 else "does not hold"


@dataclass(frozen=True)
class Table:
    """Rows under ``columns``, the first of which names the row.

    A number is shown with four significant digits, None as a dash; ``best`` holds the (row, column) numbers of cells to
    set in bold.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    best: frozenset[tuple[int, int]] = frozenset()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise InputError(f"table {self.title!r} must have {len(self.columns)} cells in a row, got {len(row)}")

    def cells(self) -> list[list[tuple[str, bool]]]:
        """Each cell's text, and whether it is among the best."""
        return [[(_shown(cell), (i, j) in self.best) for j, cell in enumerate(row)] for i, row in enumerate(self.rows)]


@dataclass(frozen=True)
class Figure:
    """A picture: SVG text or the bytes of a PNG; ``alt`` is its text alternative."""

    name: str
    content: str | bytes
    caption: str
    alt: str

    @property
    def file(self) -> str:
        """Name of the figure's file."""
        return f"{self.name}.{'svg' if isinstance(self.content, str) else 'png'}"

    @property
    def address(self) -> str:
        """The picture itself, as the address of an image."""
        svg = isinstance(self.content, str)
        content = self.content.encode() if isinstance(self.content, str) else self.content
        return f"data:image/{'svg+xml' if svg else 'png'};base64,{base64.b64encode(content).decode('ascii')}"


@dataclass(frozen=True)
class Findings:
    """A study's outcome.

    ``claim`` is the paper's, with its citation; ``claims`` are the statements that were tested; ``settings`` are
    shared by all trials; ``departures`` list differences from the paper's experiment, and ``summary`` has the results
    in a few sentences. ``gossamer study`` fills in ``command``, ``machine`` and ``date``.
    """

    title: str
    claim: str
    preset: str
    claims: Sequence[Claim] = ()
    summary: str = ""
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    departures: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""
    machine: Mapping[str, Any] = field(default_factory=dict)
    date: str = ""

    def to_json(self) -> dict[str, Any]:
        """As JSON has it; a figure is its file's name."""
        return {
            "title": self.title,
            "claim": self.claim,
            "preset": self.preset,
            "command": self.command,
            "date": self.date,
            "summary": self.summary,
            "claims": [{"text": c.text, "verdict": c.verdict, "evidence": c.evidence} for c in self.claims],
            "settings": dict(self.settings),
            "departures": list(self.departures),
            "tables": [
                {"title": t.title, "columns": list(t.columns), "rows": [list(map(_finite, r)) for r in t.rows]}
                | ({"note": t.note} if t.note else {})
                for t in self.tables
            ],
            "figures": [{"file": f.file, "caption": f.caption, "alt": f.alt} for f in self.figures],
            "machine": dict(self.machine),
        }


def _finite(cell: Cell) -> Cell:
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell


def _shown(cell: Cell) -> str:
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return "–"
    return f"{cell:.4g}".replace("-", "−") if isinstance(cell, float) else str(cell)


# ---- Markdown --------------------------------------------------------------------------------------------------------


def markdown(findings: Findings) -> str:
    """Return the page as Markdown, with links to the figures' files beside it."""
    page = [f"# {findings.title}", "", f"> {findings.claim}", ""]
    if findings.command:
        page += [f"`{findings.command}`" + (f", {findings.date}" if findings.date else ""), ""]
    if findings.summary:
        page += [findings.summary, ""]
    if findings.claims:
        page += ["## Verdicts", "", *_table(("claim", "here", "evidence"), _verdicts(findings), numbers=False), ""]
    for figure in findings.figures:
        page += [f"![{_line(figure.alt)}]({figure.file})", "", f"*{_line(figure.caption)}*", ""]
    for table in findings.tables:
        rows = [[f"**{text}**" if best else text for text, best in row] for row in table.cells()]
        page += [f"## {table.title}", "", *_table(table.columns, rows), ""]
        page += [table.note, ""] if table.note else []
    if findings.departures:
        page += ["## Where this departs from the paper", "", *(f"- {note}" for note in findings.departures), ""]
    facts = [*_facts(findings.settings), *_facts(findings.machine)]
    if facts:
        page += ["## Settings and machine", "", *_table(("", ""), facts, numbers=False), ""]
    return "\n".join(page)


def _verdicts(findings: Findings) -> list[list[str]]:
    return [[claim.text, f"**{claim.verdict}**", claim.evidence] for claim in findings.claims]


def _facts(values: Mapping[str, Any]) -> list[list[str]]:
    return [[name.replace("_", " "), _fact(value)] for name, value in values.items() if value is not None]


def _fact(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_fact(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_fact, value))
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _line(text: str) -> str:
    return " ".join(text.split())


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: bool = True) -> list[str]:
    marks = ["---" if i == 0 or not numbers else "---:" for i in range(len(columns))]
    return [f"| {' | '.join(_line(cell).replace('|', '∣') for cell in row)} |" for row in (columns, marks, *rows)]


# ---- files -----------------------------------------------------------------------------------------------------------


def write(findings: Findings, folder: Path) -> list[Path]:
    """Write all files into ``folder``, each whole or not at all; their paths, the page first."""
    from gossamer.report.page import render_template

    page = render_template(
        "study.html.j2",
        findings=findings,
        title=findings.title,
        settings=_facts(findings.settings),
        machine=_facts(findings.machine),
    )
    with written(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for figure in findings.figures:
        write_atomically(folder / figure.file, figure.content)
    content = json.dumps(findings.to_json(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    texts = {"study.html": page, "study.md": markdown(findings), "study.json": content}
    for name, text in texts.items():
        write_atomically(folder / name, text)
    return [folder / name for name in (*texts, *(figure.file for figure in findings.figures))]
