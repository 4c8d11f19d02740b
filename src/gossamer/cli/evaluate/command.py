"""``gossamer evaluate``, carried out."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gossamer.cli.evaluate.progress import Progress
from gossamer.errors import InputError, check_count
from gossamer.report import claims, read, write
from gossamer.runs import EvaluationWatch, Plan, evaluate_run
from gossamer.runs.options import MOST_THREADS

__all__ = ["evaluate"]


def evaluate(arguments: argparse.Namespace) -> None:
    """Make the missing measurements, then show the comparison and write the page."""
    if arguments.threads is not None:
        torch.set_num_threads(check_count("threads", arguments.threads, low=1, high=MOST_THREADS))
    plan = _plan(arguments)
    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    shown = not (arguments.quiet or arguments.json)
    path: Path = arguments.run
    try:
        if shown:
            with Progress() as watch:
                evaluate_run(path, plan, watch, device=device, overwrite=arguments.overwrite)
        else:
            evaluate_run(path, plan, EvaluationWatch(), device=device, overwrite=arguments.overwrite)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            "stopped. Finished measurements are kept; continue with the same command"
            f"{' without --overwrite' if arguments.overwrite else ''}: gossamer evaluate {shlex.quote(str(path))} …"
        ) from None
    page = None if arguments.no_report else write(path)
    if arguments.json:
        found = json.loads((path / "robustness.json").read_bytes())
        print(json.dumps({"run": str(path), "report": None if page is None else str(page), **found}))
    elif arguments.quiet:
        print(path)
    else:
        show_claims(path, page)


def _plan(arguments: argparse.Namespace) -> Plan:
    corruptions = arguments.corruptions
    given = {
        "noise": arguments.noise,
        "uniform_noise": arguments.uniform_noise,
        "corruptions": None if corruptions is None else tuple(corruptions) or ("all",),
        "attacks": None if arguments.attack is None else tuple(arguments.attack),
        "norm": arguments.norm,
        "radii": arguments.radius,
        "sanity": arguments.sanity,
        "rows": arguments.rows,
        "seed": arguments.seed,
        "draws": arguments.draws,
    }
    conditions = [name for name in ("noise", "uniform_noise", "corruptions") if given[name] is not None]
    idle = [f"--{name}" for name in ("norm", "radius", "sanity") if getattr(arguments, name) is not None]
    if conditions and idle and arguments.attack is None:
        raise InputError(f"{' and '.join(idle)} must come with --attack, got none: add --attack apgd-ce")
    return Plan(**{name: value for name, value in given.items() if value is not None})


def show_claims(path: Path, page: Path | None) -> None:
    """Show accuracy under each condition, and the reasons to distrust a comparison."""
    console = Console(highlight=False)
    run = read(path)
    assert run.robustness is not None
    table = Table(box=None, pad_edge=False, title=f"Accuracy on {run.robustness.rows} test rows", title_justify="left")
    table.add_column("")
    for heading in ("strength", "sparse", "dense"):
        table.add_column(heading, justify="right")
    table.add_column("sparse is")
    colours = {"sparse": "green", "dense": "red", "even": ""}
    listed = claims(run)
    for claim in listed:
        label = claim.label if claim.first else ""
        against = Text(claim.against, style="bold" if claim.doubts else "")
        table.add_row(label, claim.strength, claim.sparse, claim.dense, against, style=colours[claim.verdict])
    console.print()
    console.print(table)
    for reason in dict.fromkeys(reason for claim in listed for reason in claim.doubts):
        console.print(Text(f"not trustworthy: {reason}", style="bold"), soft_wrap=True)
    console.print()
    if page is not None:
        console.print(Text(f"Report: {page}"), soft_wrap=True)  # one line, so that it can be clicked or copied
