"""``gossamer associate``, carried out."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from gossamer.cli.associate.arguments import check_paths
from gossamer.cli.associate.curves import fit, theory_curve
from gossamer.cli.associate.output import show, to_plain, waiting, write
from gossamer.cli.associate.patterns import learn, solve

__all__ = ["associate"]


def associate(arguments: argparse.Namespace) -> None:
    """Carry out the verb, print what came out, and write the folder if one is given."""
    check_paths(arguments)
    verbs = {"theory": theory_curve, "solve": solve, "learn": learn, "fit": fit}
    result = verbs[arguments.verb](arguments)
    out: Path | None = arguments.out
    page = None
    if out is not None:
        with waiting(arguments, "writing the page"):
            page = write(result, arguments, out)
    if arguments.json:
        print(json.dumps(to_plain(result.values) | ({} if out is None else {"folder": str(out)}), allow_nan=False))
    elif arguments.quiet:
        print("" if page is None else page, end="" if page is None else "\n")
    else:
        show(result, page)
