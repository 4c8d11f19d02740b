"""What a verb of ``gossamer associate`` found, on the terminal and in files that are whole or not there."""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.cli.associate.drawings import Shown, page
from gossamer.io.files import write_atomically, written
from gossamer.studies.findings import Table

__all__ = ["Result", "progress_bar", "show", "to_csv", "to_plain", "waiting", "weights_csv", "write"]

Floats = NDArray[np.float64]


@dataclass
class Result:
    """What a verb found: for the terminal, for JSON, and for the folder."""

    title: str
    summary: str
    values: dict[str, Any]
    tables: list[Table]
    shown: Callable[[], list[Shown]]
    files: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)


def write(result: Result, arguments: argparse.Namespace, out: Path) -> Path:
    """Write all files into ``out``, each whole or not at all; the page's path."""
    words = ["gossamer", "associate", *_words(arguments)]
    text = page(
        arguments.verb,
        result.title,
        result.summary,
        result.shown(),
        tables=result.tables,
        command=shlex.join(words),
        settings=[
            (name, f"{value:g}" if isinstance(value, float) else value) for name, value in result.settings.items()
        ],
    )
    with written(out):
        out.mkdir(parents=True, exist_ok=True)
    content = json.dumps(to_plain(result.values), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    for name, whole in (result.files | {f"{arguments.verb}.json": content, f"{arguments.verb}.html": text}).items():
        write_atomically(out / name, whole)
    return out / f"{arguments.verb}.html"


def _words(arguments: argparse.Namespace) -> list[str]:
    """The command line again, without the options that were left alone."""
    positional = [str(getattr(arguments, name)) for name in ("data", "weights") if getattr(arguments, name, None)]
    words = [arguments.verb, *positional]
    for name, value in vars(arguments).items():
        if name in ("command", "verb", "data", "weights", "quiet", "json") or value is None or value == math.inf:
            continue
        text = ",".join(f"{part:g}" for part in value) if isinstance(value, tuple) else str(value)
        words += [f"--{name.replace('_', '-')}", text]
    return words


@contextmanager
def progress_bar(arguments: argparse.Namespace, text: str, total: int) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar on standard error; none if it is no terminal or output is quiet."""
    if arguments.quiet or arguments.json or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(text, total=total)
        yield lambda done, whole: shown.update(task, completed=done, total=whole)


@contextmanager
def waiting(arguments: argparse.Namespace, text: str) -> Iterator[None]:
    """A line with the time that has passed, where standard error is a terminal."""
    if arguments.quiet or arguments.json or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        shown.add_task(text, total=None)
        yield


def show(result: Result, page: Path | None) -> None:
    """Print a result to the terminal, and where its page is."""
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    console = Console(highlight=False)
    console.print(Text(result.title, style="bold"))
    console.print(Text(result.summary))
    for table in result.tables:
        grid = Grid(box=None, pad_edge=False, collapse_padding=console.width < 100)
        for i, heading in enumerate(table.columns):
            grid.add_column(heading, justify="right" if i and len(table.columns) > 2 else "left")
        for row in table.cells():
            grid.add_row(*(Text(text, style="bold" if best else "") for text, best in row))
        console.print()
        console.print(grid)
        if table.note:
            console.print(Text(table.note, style="dim"))
    if page is not None:
        console.print()
        console.print(Text(f"Page: {page}"), soft_wrap=True)


def to_csv(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Format a table as CSV."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def weights_csv(weights: Floats, signs: NDArray[np.int8] | None) -> str:
    """One row per unit, one column per input, as ``fit`` reads it; names end in + or − where inputs have signs."""
    marks = ["" if signs is None else "+" if s > 0 else "-" for s in (signs if signs is not None else weights[0])]
    names = [f"input {i + 1}{mark}" for i, mark in enumerate(marks)]
    return to_csv(names, [[repr(float(w)) if w else 0 for w in row] for row in weights])


def to_plain(value: Any) -> Any:
    """As JSON has it: None for a number that isn't finite."""
    if isinstance(value, dict):
        return {name: to_plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
