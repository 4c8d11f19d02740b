"""The arguments of ``gossamer evaluate``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

__all__ = ["add_parser"]

_DESCRIPTION = """\
Measure how robust the networks of a finished run are, sparse ones beside their
dense twins, on the run's test rows: under noise, corruptions and adversarial
attacks, which are checked themselves. Without options: Gaussian noise, and
APGD-CE at two radii. Images have pixels from 0 to 1; columns of tables are in
units of their standard deviation.
"""

_EXAMPLES = """\
examples:
  gossamer evaluate runs/digits-1
  gossamer evaluate runs/digits-1 --noise 0.1,0.2,0.3 --corruptions
  gossamer evaluate runs/digits-1 --attack apgd-ce square --norm l2 --radius 0.5,1
  gossamer evaluate runs/people-1 --corruptions missing_values --rows 500

Results are collected in the run's robustness.json. An evaluation that was
stopped continues where it was, and the page of the run shows all of them.
"""


def add_parser(commands: Any) -> None:
    """Add ``evaluate`` to the subparsers of the command line."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "evaluate",
        help="measure robustness to noise, corruptions and attacks",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a finished run")
    under = parser.add_argument_group("conditions")
    under.add_argument("--noise", type=_numbers, metavar="S,S", help="standard deviations of Gaussian noise")
    under.add_argument("--uniform-noise", type=_numbers, metavar="S,S", help="standard deviations of uniform noise")
    under.add_argument(
        "--corruptions",
        nargs="*",
        metavar="NAME",
        help="each in five severities: gaussian_noise, shot_noise, impulse_noise, defocus_blur, motion_blur, "
        "brightness, contrast, pixelate, jpeg, elastic, occlusion; of tables missing_values, zeroed_features (all)",
    )
    under.add_argument(
        "--attack",
        nargs="+",
        metavar="NAME",
        help="fgsm, pgd, apgd-ce, apgd-dlr, apgd-t or square, with settings after a colon: pgd:steps=40,restarts=2",
    )
    under.add_argument("--norm", metavar="NORM", help="of the attacks, linf or l2 (linf)")
    under.add_argument("--radius", type=_numbers, metavar="R,R", help="of the attacks (two that suit the data)")
    under.add_argument("--sanity", metavar="HOW", help="checks of the attacks: quick, full or none (quick)")
    sample = parser.add_argument_group("sample")
    sample.add_argument("--rows", type=int, metavar="N", help="test rows that are used (all, 1000 at most)")
    sample.add_argument("--draws", type=int, metavar="N", help="of noise, for each row (3)")
    sample.add_argument("--seed", type=int, metavar="S", help="of rows, noise, corruptions and attacks (0)")
    sample.add_argument("--overwrite", action="store_true", help="measure everything anew")
    machine = parser.add_argument_group("machine")
    machine.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1, mps (cuda where there is one, else cpu)")
    machine.add_argument("--threads", type=int, metavar="N", help="of the CPU (as many as PyTorch takes)")
    output = parser.add_argument_group("output")
    output.add_argument("--no-report", action="store_true", help="write no report.html")
    output.add_argument("--quiet", action="store_true", help="print nothing but the run's folder")
    output.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be numbers with commas between, such as 0.1,0.2: {text!r}") from None
