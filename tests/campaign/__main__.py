"""``python -m tests.campaign``: all parts, in the repository's root; see `tests.campaign`."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.campaign import PARTS


def main() -> int:
    """Run the parts that are named and print their figures; 1 if anything failed."""
    parser = argparse.ArgumentParser("python -m tests.campaign", description=__doc__)
    parser.add_argument("parts", nargs="*", default=[*PARTS], metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--scale", type=float, default=1.0, help="how many trials, as a multiple of the usual number")
    parser.add_argument("--seed", type=int, default=0, help="of all random choices")
    arguments = parser.parse_args()
    failed = False
    print("| part | trials | failures | seconds |\n| --- | ---: | ---: | ---: |", flush=True)
    for name in arguments.parts:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            for figure in PARTS[name](Path(folder), arguments.scale, arguments.seed):
                seconds = time.perf_counter() - start
                print(f"| {figure.name} | {figure.trials} | {len(figure.failures)} | {seconds:.0f} |", flush=True)
                for failure in figure.failures[:20]:
                    print(f"  FAILED {failure}", file=sys.stderr)
                failed = failed or bool(figure.failures)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
