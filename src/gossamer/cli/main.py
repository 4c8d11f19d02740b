"""The command line: arguments to commands, and outcomes to exit codes.

======  ============================================================
0       done
1       an error of ours, with its traceback
2       invalid input
130     Ctrl-C
143     SIGTERM
======  ============================================================

PyTorch and other packages are imported by the command that needs them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import gossamer
from gossamer.bench import command as bench
from gossamer.cli import train_arguments
from gossamer.cli.argument_types import add_format, add_output, as_name, as_path
from gossamer.cli.associate import arguments as associate
from gossamer.cli.evaluate import arguments as evaluate
from gossamer.errors import InputError
from gossamer.extras import OPTIONAL
from gossamer.studies import command as study

__all__ = ["main", "parser"]

_TOP = """\
Sparse neural networks that are actually sparse: sparse activations and sparse
connectivity, stored and computed sparsely.

  gossamer train digits          a sparse network beside its dense twin,
                                 and a page that compares them
  gossamer train people.csv --target income
  gossamer predict runs/people-1 new.csv
"""

_PREDICT_EXAMPLES = """\
examples:
  gossamer predict runs/people-1 new.csv --out answers.csv
  gossamer predict runs/digits-1 digits    (the rows kept for testing)

The columns of new.csv are found by name, in any order. Where it has the target
column too, the accuracy is printed.
"""


class _Parser(argparse.ArgumentParser):
    """argparse ignores the errors of writing help and version; ours reach `main`, as on a full disk."""

    def _print_message(self, message: str, file: Any = None) -> None:
        if file is sys.stdout:
            file.write(message)
        else:
            super()._print_message(message, file)


def parser() -> argparse.ArgumentParser:
    """Make the parser of all commands; options that weren't given are None, so that defaults can depend on data."""
    raw = argparse.RawDescriptionHelpFormatter
    top = _Parser("gossamer", description=_TOP, formatter_class=raw, allow_abbrev=False)
    top.add_argument("--version", action="version", version=_versions())
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    train_arguments.add_parser(commands)
    predict = commands.add_parser(
        "predict",
        help="label new rows with a trained network",
        description="Labels and probabilities from the first sparse network of a run, as CSV.",
        epilog=_PREDICT_EXAMPLES,
        formatter_class=raw,
        allow_abbrev=False,
    )
    predict.add_argument("run", type=as_path, metavar="RUN", help="a run's folder, or its model.safetensors")
    predict.add_argument(
        "data", type=as_name, metavar="DATA", help="a file, - for standard input, or the name of a data set"
    )
    predict.add_argument("--out", type=as_path, metavar="FILE", help="write the CSV here instead of printing it")
    add_format(predict)
    add_output(predict, "print no accuracy")

    report = commands.add_parser(
        "report",
        help="write the page of a run, or of several side by side",
        description="Write report.html into the folder of a run, or compare several runs on one page.",
        allow_abbrev=False,
    )
    report.add_argument("runs", nargs="+", type=as_path, metavar="RUN", help="the folder of a finished run")
    report.add_argument(
        "--out", type=as_path, metavar="FILE", help="the page (report.html or comparison.html in the run)"
    )

    summary = commands.add_parser(
        "summary",
        help="show the comparison and the layers of a run in the terminal",
        description="Show the comparison and the layers of a finished run.",
        allow_abbrev=False,
    )
    summary.add_argument("run", type=as_path, metavar="RUN", help="the folder of a finished run")
    summary.add_argument("--json", action="store_true", help="print results.json instead")

    evaluate.add_parser(commands)
    associate.add_parser(commands)
    study.add_parser(commands)
    bench.add_parser(commands)
    return top


def _versions() -> str:
    try:
        torch = version("torch")
    except PackageNotFoundError:
        torch = "not installed"
    return f"gossamer {gossamer.__version__} (torch {torch})"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command in ``argv`` (default: the arguments of the process) and return the exit code."""
    closed = [name for name in ("stdin", "stdout", "stderr") if getattr(sys, name) is None]
    for _ in closed:  # so that no file that we open is taken for one of these streams
        os.open(os.devnull, os.O_RDWR)
    if "stderr" in closed:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - open until the process ends
    if "stdout" in closed:
        return _fail("standard output is closed: redirect it to a file, or to /dev/null")
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # an old terminal's encoding may lack a character that we print
            stream.reconfigure(errors="replace")
    try:
        signal.signal(signal.SIGTERM, _terminate)
    except ValueError:  # not in the main thread
        return _guarded(argv)
    try:
        return _guarded(argv)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _terminate(*_: Any) -> None:
    """Exit as Ctrl-C does, so that files are closed and the terminal is restored."""
    raise SystemExit(128 + signal.SIGTERM)


def _guarded(argv: Sequence[str] | None) -> int:
    try:
        try:
            code = _run(parser().parse_args(argv))
        except SystemExit as stop:  # how argparse leaves, and SIGTERM
            code = stop.code if isinstance(stop.code, int) else 2
        sys.stdout.flush()
    except KeyboardInterrupt as stop:
        return _fail(str(stop) or "stopped", 130)
    except OSError as error:
        if error.filename is not None:
            return _fail(f"{error.filename}: {error.strerror}")
        _discard_output()
        if isinstance(error, BrokenPipeError):  # the reader of our output has closed it, as head does
            return 1
        return _fail(f"standard output can't be written: {error.strerror or error}")
    return code


def _discard_output() -> None:
    """Discard what is still buffered for standard output; Python would try to write it again when it exits."""
    with contextlib.suppress(OSError, ValueError):  # no file may lie under it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(arguments: argparse.Namespace) -> int:
    try:
        from gossamer.cli import commands

        getattr(commands, arguments.command)(arguments)
    except InputError as error:
        return _fail(str(error))
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name not in OPTIONAL:
            raise
        return _fail(f"the command line needs {name}, which isn't installed: pip install 'gossamer[cli]'")
    except (MemoryError, RuntimeError) as error:
        torch = sys.modules.get("torch")
        full = isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError))
        if full or "allocate memory" in str(error):
            return _fail("there isn't enough memory: try a smaller --hidden, --density or --batch-size, or --no-twin")
        raise
    return 0


def _fail(message: str, code: int = 2) -> int:
    with contextlib.suppress(OSError):  # its reader may have closed it
        print(f"gossamer: {message}", file=sys.stderr)
    return code
