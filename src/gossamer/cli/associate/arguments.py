"""``gossamer associate``: theory, exact solutions and online learning of associations, and fits to measured weights."""

from __future__ import annotations

import argparse
import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gossamer.errors import InputError

__all__ = ["add_parser"]

_DESCRIPTION = """\
Associative learning under constraints on connectivity: a threshold unit with N
inputs stores m associations with a robustness K, with weights of a given mean
magnitude, and optionally with fixed signs, few connections (--density) or no
weak ones (--gap). Robustness, threshold and gap are in scaled units: K / (w
sqrt N), h / (N w) and gap / w, w being the mean magnitude of the weights.
"""

_EXAMPLES = """\
examples:
  gossamer associate theory --robustness 0.05:1:40 --gap 2 --out theory
  gossamer associate solve --random 200,80 --inhibitory 0.2 --out solution
  gossamer associate learn patterns.csv --robustness 0.3 --gap 1.5 --out learned
  gossamer associate fit weights.csv --signs 1 --inhibitory 0.2 --out fit
"""

_THEORY = """\
Capacity, sparsity and the fraction of associations at the margin for many
inputs (replica theory). One option may be a range, START:STOP:POINTS, or numbers
with commas between.
"""

_PATTERNS = """\
DATA is a .csv file with one association per row: inputs of 0 and 1, and the
target, 0 or 1 (or -1 and 1), in the last column or in that of --target. Or an
.npz file with the arrays X (m, N) and y (m,) or, for learn, (m, units).
"""

_FIT = """\
Fit the constraints of the theory to measured weights. WEIGHTS is a .csv file
with one row per cell and one column per potential input; 0 or an empty field
means unconnected. Without --signs any input may have weights of either sign.
"""


def add_parser(commands: Any) -> None:
    """Add ``associate`` to the subparsers of the command line."""
    raw = argparse.RawDescriptionHelpFormatter
    parser: argparse.ArgumentParser = commands.add_parser(
        "associate",
        help="associative learning under constraints: theory, solve, learn, fit",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=raw,
        allow_abbrev=False,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    theory = verbs.add_parser(
        "theory", help="capacity and sparsity for many inputs, as curves", formatter_class=raw, allow_abbrev=False,
        description=_THEORY,
    )  # fmt: skip
    theory.add_argument("--robustness", type=numbers, metavar="K", help="0 or more (0.05:1:40)")
    theory.add_argument("--load", type=numbers, metavar="M/N", help="instead: the largest robustness at this load")
    theory.add_argument("--density", type=numbers, metavar="P", help="connection probability in (0, 1] (l0)")
    theory.add_argument("--gap", type=numbers, metavar="G", help="smallest size of a weight, 0 or more")
    theory.add_argument("--inhibitory", type=numbers, metavar="F", help="fraction of inhibitory inputs (free signs)")
    _add_circuit(theory)
    _add_output(theory)

    solve = verbs.add_parser(
        "solve", help="the most robust weights for given associations", description=_PATTERNS,
        formatter_class=raw, allow_abbrev=False,
    )  # fmt: skip
    _add_patterns(solve)
    solve.add_argument("--density", type=float, metavar="P", help="largest connection probability, in (0, 1] (l0)")
    solve.add_argument(
        "--method", metavar="HOW", help="exact, or greedy for many inputs with --density or --gap (exact)"
    )
    solve.add_argument("--time-limit", type=float, metavar="S", help="seconds, of --density and --gap (no limit)")
    _add_output(solve)

    learn = verbs.add_parser(
        "learn", help="store associations by the online rule", description=_PATTERNS,
        formatter_class=raw, allow_abbrev=False,
    )  # fmt: skip
    _add_patterns(learn)
    learn.add_argument("--robustness", type=float, default=0.1, metavar="K", help="0 or more (0.1)")
    learn.add_argument("--units", type=int, metavar="U", help="with --random: units, each with targets of its own (1)")
    learn.add_argument("--steps", type=int, default=100_000, metavar="N", help="after which a unit gives up (100000)")
    learn.add_argument("--time-limit", type=float, default=math.inf, metavar="S", help="seconds (no limit)")
    _add_output(learn)

    fit = verbs.add_parser(
        "fit", help="the constraint that explains measured weights best", description=_FIT,
        formatter_class=raw, allow_abbrev=False,
    )  # fmt: skip
    fit.add_argument("weights", type=Path, metavar="WEIGHTS", help="a .csv file")
    fit.add_argument("--signs", type=numbers, metavar="S,S", help="1 excitatory, -1 inhibitory: for all, or per column")
    fit.add_argument("--inhibitory", type=float, metavar="F", help="fraction of inhibitory inputs in the circuit")
    fit.add_argument(
        "--scale", default="all", metavar="HOW", help="one mean weight for all cells, or for each cell (all)"
    )
    fit.add_argument("--noise", type=float, metavar="T", help="measurement error / mean strength (fitted)")
    fit.add_argument("--bootstrap", type=int, default=200, metavar="N", help="samples for intervals; 0 for none (200)")
    fit.add_argument("--seed", type=int, default=0, metavar="S", help="of the samples (0)")
    _add_circuit(fit)
    _add_output(fit)


def _add_circuit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threshold", type=float, default=0.0, metavar="H", help="(0)")
    parser.add_argument("--f-in", type=float, default=0.5, metavar="P", help="probability that an input is 1 (0.5)")
    parser.add_argument("--f-out", type=float, default=0.5, metavar="P", help="probability that a target is 1 (0.5)")


def _add_patterns(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", nargs="?", type=Path, metavar="DATA", help="a .csv or .npz file of associations")
    parser.add_argument("--target", metavar="COLUMN", help="the column of targets, in a .csv file (the last)")
    parser.add_argument("--random", type=_sizes, metavar="N,M", help="instead: M random associations of N inputs")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of all that is random (0)")
    _add_circuit(parser)
    parser.add_argument("--inhibitory", type=float, metavar="F", help="fraction of inhibitory inputs (free signs)")
    parser.add_argument("--gap", type=float, metavar="G", help="smallest size of a weight, 0 or more")


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, metavar="DIR", help="write a page, tables and results here")
    parser.add_argument("--quiet", action="store_true", help="print nothing but the page's path")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def numbers(text: str) -> tuple[float, ...]:
    """Numbers with commas between, or START:STOP:POINTS."""
    try:
        if ":" in text:
            start, stop, count = text.split(":")
            points = int(count)
            if not 2 <= points <= 10_000:
                raise argparse.ArgumentTypeError(f"must have from 2 to 10000 points, got {points} in {text!r}")
            first, last = float(start), float(stop)
            return tuple(first + (last - first) * i / (points - 1) for i in range(points))
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be numbers with commas between, or START:STOP:POINTS such as 0.1:1:10, got {text!r}"
        ) from None


def _sizes(text: str) -> tuple[int, int]:
    try:
        n, m = (int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be two whole numbers, N,M such as 200,150, got {text!r}") from None
    return n, m


def check_paths(arguments: argparse.Namespace) -> None:
    """Refuse what can't be written before anything is computed."""
    out: Path | None = arguments.out
    if out is not None and out.exists() and not out.is_dir():
        raise InputError(f"out must be a folder, got {str(out)!r}, which is a file")
    if out is not None and find_spec("matplotlib") is None:
        raise InputError("out needs matplotlib for the page's pictures: pip install 'gossamer[plot]'")
