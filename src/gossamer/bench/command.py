"""``gossamer bench``: options, tables on the terminal, files."""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossamer.errors import InputError

if TYPE_CHECKING:
    from gossamer.bench.cells import Bench, Plan
    from gossamer.bench.comparison import Comparison

__all__ = ["add_parser", "bench"]

_DESCRIPTION = """\
The break-even map of this machine: at which density sparse layers become faster
and smaller than dense ones, and how they compare with masked dense layers,
torch.sparse and SparseLab. Where dense is faster, the tables mark it.
Close other programs first: noisy figures are marked by ~.
"""

_EXAMPLES = """\
examples:
  gossamer bench                        under a minute
  gossamer bench --full --out bench     some ten minutes; writes bench/bench.md,
                                        bench/bench.json and bench/bench.svg
  gossamer bench --only layer,training --widths 300,1000 --densities 0.1,0.05
"""


def add_parser(commands: Any) -> None:
    """Add ``bench`` to the subparsers of the command line."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "bench",
        help="the break-even map of this machine: where sparse beats dense",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    extent = parser.add_mutually_exclusive_group()
    extent.add_argument("--quick", action="store_true", help="width 1024, batches to 128 (the default)")
    extent.add_argument(
        "--full", action="store_true", help="widths 1024 and 4096, batches to 1024, more repeats, noisy ones again"
    )
    parser.add_argument(
        "--only", type=_tasks, metavar="TASK,TASK", help="layer, training, spspmm, convolution, projection, memory"
    )
    parser.add_argument("--widths", type=_list(int), metavar="N,N", help="units of the layers")
    parser.add_argument("--densities", type=_list(float), metavar="D,D", help="fractions of the connections that exist")
    parser.add_argument("--batches", type=_list(int), metavar="B,B", help="samples at a time, of the layer")
    parser.add_argument("--threads", type=int, metavar="N", help="of the CPU (as many as PyTorch takes)")
    parser.add_argument("--dtype", metavar="NAME", help="float32, float64, bfloat16 (float32)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write bench.json, bench.md and bench.svg here")
    parser.add_argument("--quiet", action="store_true", help="print no table")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def _tasks(text: str) -> tuple[str, ...]:
    from gossamer.bench.runner import TASKS

    words = tuple(word.strip() for word in text.split(","))
    for word in words:
        if word not in TASKS:
            raise argparse.ArgumentTypeError(f"must be some of {', '.join(TASKS)}, got {word!r}")
    return words


def _list(kind: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    def parse(text: str) -> tuple[Any, ...]:
        try:
            return tuple(kind(part) for part in text.split(","))
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be numbers with commas between: {text!r}") from None

    return parse


def bench(arguments: argparse.Namespace) -> None:
    """Measure, show and write the benchmarks that the command line selects."""
    from gossamer.bench.cells import Plan

    given = {name: getattr(arguments, name) for name in ("widths", "densities", "batches", "dtype")}
    changes = {name: value for name, value in given.items() if value is not None}
    if arguments.only is not None:
        changes["tasks"] = arguments.only
    if arguments.widths is not None:
        changes["spspmm_widths"] = arguments.widths
    plan = Plan.full(**changes) if arguments.full else Plan.quick(**changes)
    if arguments.out is not None:
        _folder(arguments.out)  # better now than after ten minutes

    date = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    found = _watched(plan, arguments.threads, shown=not (arguments.quiet or arguments.json))
    found = replace(found, command=_command(arguments), date=date)
    if arguments.json:
        print(json.dumps(found.to_json(), allow_nan=False))
    elif not arguments.quiet:
        _show(found)
    if arguments.out is not None:
        for path in _write(found, arguments.out):
            print(path, file=sys.stderr if arguments.json else sys.stdout)
    if found.stopped:
        raise KeyboardInterrupt


def _command(arguments: argparse.Namespace) -> str:
    """The command line, to repeat the measurement."""
    words = ["gossamer", "bench"]
    for name, value in vars(arguments).items():
        if value is True:
            words.append(f"--{name}")
        elif value not in (None, False) and name != "command":
            words += [f"--{name}", ",".join(f"{v}" for v in value) if isinstance(value, tuple) else str(value)]
    return shlex.join(words)


def _watched(plan: Plan, threads: int | None, shown: bool) -> Bench:
    """Run the plan, with a progress line on standard error if that is a terminal."""
    from gossamer.bench.runner import run

    if not (shown and sys.stderr.isatty()):
        return run(plan, threads=threads)
    from rich.console import Console

    with Console(stderr=True, highlight=False).status("") as status:

        def watch(done: int, comparisons: int, comparison: Comparison) -> None:
            shown = {key: value for key, value in comparison.setting.items() if "connections" not in key}
            setting = ", ".join(f"{key} {value}" for key, value in shown.items())
            status.update(f"{done + 1} of {comparisons}: {comparison.task}, {setting}")

        return run(plan, threads=threads, watch=watch)


def _show(found: Bench) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from gossamer.bench import tables

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=160)
    colours = {"won": "green", "lost": "red", "even": "yellow", "": ""}
    for line in tables.machine_lines(found):
        console.print(Text(line, style="dim"))
    for section in tables.sections(found):
        console.print()
        console.print(Text(section.title, style="bold"))
        table = Table(box=None, pad_edge=False, collapse_padding=console.width < 100)
        for i, heading in enumerate(section.headings):
            left = i == section.verdict_column or section.verdict_column is None
            table.add_column(heading, justify="left" if left else "right")
        for row in section.rows:
            styles = {section.verdict_column: colours[row.verdict], row.best: "bold"}
            table.add_row(*(Text(cell, style=styles.get(i, "")) for i, cell in enumerate(row.cells)))
        console.print(table)
        console.print(Text(section.note, style="dim"))
    console.print()
    console.print(Text(f"{tables.score(found.cells)} ~ marks noisy figures."))


def _folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"out must be a folder that can be written, got {str(path)!r}: {error.strerror}") from None


def _write(found: Bench, folder: Path) -> list[Path]:
    from gossamer.bench import tables
    from gossamer.io.files import write_atomically

    picture = None
    if importlib.util.find_spec("matplotlib") is None:
        print("bench.svg needs matplotlib, which isn't installed: pip install 'gossamer[plot]'", file=sys.stderr)
    else:
        from gossamer.bench.plot import svg

        picture = svg(found)
    files = {"bench.json": json.dumps(found.to_json(), indent=1, allow_nan=False) + "\n"}
    files["bench.md"] = tables.markdown(found, None if picture is None else "bench.svg")
    if picture is not None:
        files["bench.svg"] = picture
    for name, content in files.items():
        write_atomically(folder / name, content)
    return [folder / name for name in files]
