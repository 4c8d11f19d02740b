"""``gossamer study``: options, verdicts on the terminal, files."""

from __future__ import annotations

import argparse
import datetime
import inspect
import json
import shlex
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gossamer import studies
from gossamer.errors import InputError, check_choice, check_count

if TYPE_CHECKING:
    from gossamer.studies.findings import Findings

__all__ = ["add_parser", "study"]

_DESCRIPTION = """\
Test the claims of a paper on data of this machine: trials of every variant
and seed, tables, figures and verdicts on a page. Without NAME: the list of studies.
"""

_EXAMPLES = """\
examples:
  gossamer study
  gossamer study evolving-connectivity
  gossamer study evolving-connectivity --preset full --out docs/studies/evolving-connectivity

A study can be stopped at any moment, by Ctrl-C or otherwise. The same command
continues it; at most the trials in progress are lost.
"""


def add_parser(commands: Any) -> None:
    """Add ``study`` to the subparsers of the command line."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "study",
        help="test a paper's claims: trials, tables, figures, verdicts",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="which one; all are listed without it")
    parser.add_argument("--preset", default="quick", metavar="NAME", help="quick, full, or another of the list (quick)")
    parser.add_argument("--seeds", type=int, metavar="N", help="of each variant, instead of the preset's number")
    parser.add_argument("--data", metavar="NAME,NAME", help="data sets, instead of the preset's")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the study's folder (runs/study-NAME-PRESET)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes; more than one blurs times (1)")
    parser.add_argument("--threads", type=int, metavar="N", help="of the CPU, for all processes together")
    parser.add_argument("--quiet", action="store_true", help="print nothing but the page's path")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def study(arguments: argparse.Namespace) -> None:
    """Run the study that the command line names, or list all studies."""
    if arguments.name is None:
        _list(arguments.json)
        return
    module = studies.load(arguments.name)
    check_choice("preset", arguments.preset, tuple(module.PRESETS))
    check_count("jobs", arguments.jobs, low=1)
    for option in ("seeds", "threads"):
        if getattr(arguments, option) is not None:
            check_count(option, getattr(arguments, option), low=1, high=1000)
    chosen: dict[str, Any] = {}
    if arguments.data is not None:
        if "data" not in inspect.signature(module.run).parameters:
            raise InputError(f"data must be left out: {arguments.name} has fixed data, got {arguments.data!r}")
        chosen["data"] = tuple(name.strip() for name in arguments.data.split(","))
    folder: Path = arguments.out or Path("runs") / f"study-{arguments.name}-{arguments.preset}"
    found = _carried_out(module, arguments, folder, chosen)
    if arguments.json:
        print(json.dumps(found.to_json() | {"folder": str(folder)}, allow_nan=False))
    elif arguments.quiet:
        print(folder / "study.html")
    else:
        _show(found, folder)


def _carried_out(
    module: studies.Study, arguments: argparse.Namespace, folder: Path, chosen: dict[str, Any]
) -> Findings:
    """Write the study's findings into ``folder`` and return them."""
    from gossamer.bench import rivals
    from gossamer.bench.machine import describe
    from gossamer.studies.findings import write
    from gossamer.studies.progress import Terminal
    from gossamer.studies.trials import Watch

    command, shown = _command(arguments), not (arguments.quiet or arguments.json)
    with rivals.threads(arguments.threads), Terminal(arguments.name) if shown else nullcontext(Watch()) as watch:
        machine = describe()
        try:
            found = module.run(
                arguments.preset, folder, seeds=arguments.seeds, jobs=arguments.jobs, watch=watch, **chosen
            )
        except KeyboardInterrupt:
            raise KeyboardInterrupt(f"stopped. Continue with: {command}") from None
    date = datetime.datetime.now().astimezone().date().isoformat()
    found = replace(found, command=command, machine=machine, date=date)
    write(found, folder)
    return found


def _command(arguments: argparse.Namespace) -> str:
    """The command line, to continue or repeat the study."""
    words = ["gossamer", "study", arguments.name, "--preset", arguments.preset]
    for name in ("seeds", "data", "out", "threads"):
        if getattr(arguments, name) is not None:
            words += [f"--{name}", str(getattr(arguments, name))]
    words += ["--jobs", str(arguments.jobs)] if arguments.jobs > 1 else []
    return shlex.join(words)


def _list(as_json: bool) -> None:
    modules = {name: studies.load(name) for name in studies.names()}
    if as_json:
        listed = {
            name: {"title": module.TITLE, "claim": module.CLAIM, "presets": dict(module.PRESETS)}
            for name, module in modules.items()
        }
        print(json.dumps(listed, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text

    console = Console(highlight=False)
    for name, module in modules.items():
        console.print(Text.assemble((name, "bold"), f"  {module.TITLE}"))
        console.print(Padding(Text(module.CLAIM), (0, 0, 0, 2)))
        for preset, what in module.PRESETS.items():
            console.print(Padding(Text(f"{preset}: {what}", style="dim"), (0, 0, 0, 2)))
        console.print()
    console.print(Text("gossamer study NAME carries one out; gossamer study --help has the options."))


def _show(found: Findings, folder: Path) -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    colours = {"holds": "green", "does not hold": "red", "undecided": "yellow"}
    console.print()
    console.print(Text(found.title, style="bold"))
    console.print(Text(found.claim, style="dim"))
    if found.summary:
        console.print()
        console.print(Text(found.summary))
    for table in found.tables:
        console.print()
        console.print(Text(table.title, style="bold"))
        grid = Table(box=None, pad_edge=False, collapse_padding=console.width < 100)
        for i, heading in enumerate(table.columns):
            grid.add_column(heading, justify="right" if i else "left")
        for row in table.cells():
            grid.add_row(*(Text(text, style="bold" if best else "") for text, best in row))
        console.print(grid)
        if table.note:
            console.print(Text(table.note, style="dim"))
    for claim in found.claims:
        console.print()
        console.print(Text.assemble((claim.verdict, f"bold {colours[claim.verdict]}"), f": {claim.text}"))
        console.print(Padding(Text(claim.evidence, style="dim"), (0, 0, 0, 2)))
    console.print()
    console.print(Text(f"Page: {folder / 'study.html'}"), soft_wrap=True)
    for name in ("study.md", "study.json"):
        console.print(Text(f"      {folder / name}"), soft_wrap=True)
