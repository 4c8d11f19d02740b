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
import csv
import os
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import gossamer
from gossamer.bench import command as bench
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

_TRAIN = """\
Train a sparse network and its dense twin on the same rows, with the same seeds
and epochs, and compare them on a page. DATA is a .csv, .tsv, .xlsx,
.parquet, .npz or .svmlight file, which may be compressed, - for a table on
standard input, or the name of a public data set: digits, wine and breast_cancer
are built in; mnist, fashion_mnist, cifar10, isolet and others are read from the
folder that GOSSAMER_DATA names, or fetched from OpenML.

Options that are not given are chosen by the size of the data, and shown.
"""

_TRAIN_EXAMPLES = """\
examples:
  gossamer train digits
  gossamer train digits --seeds 3 --density 0.05
  gossamer train people.csv --target income --activation topk:60
  gossamer train fashion_mnist --hidden 1000,1000,1000 --density 0.05
  gossamer train digits --prune gap:0.1
  gossamer train --resume runs/digits-1

A run can be stopped at any moment, by Ctrl-C or otherwise, and loses at most
the epoch under way.
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

    train = commands.add_parser(
        "train",
        help="train a sparse network beside its dense twin",
        description=_TRAIN,
        epilog=_TRAIN_EXAMPLES,
        formatter_class=raw,
        allow_abbrev=False,
    )
    train.add_argument("data", nargs="?", type=_name, metavar="DATA", help="a file, or the name of a public data set")
    train.add_argument("--target", metavar="COLUMN", help="the column of labels, in a file")
    table = train.add_argument_group("table")
    _add_format(table)
    table.add_argument("--drop", type=_names, metavar="COLUMN,...", help="columns that are not used")
    table.add_argument("--categorical", type=_names, metavar="COLUMN,...", help="columns whose values are categories")
    table.add_argument(
        "--numeric", type=_names, metavar="COLUMN,...", help="columns of numbers; other values in them are missing"
    )
    network = train.add_argument_group("network")
    network.add_argument("--hidden", type=_sizes, metavar="N,N", help="units of the hidden layers, such as 1000,1000")
    network.add_argument(
        "--density", type=float, metavar="D", help="fraction of the hidden layers' connections that exist (0.1)"
    )
    network.add_argument(
        "--epsilon", type=float, metavar="E", help="instead: each hidden layer has E (inputs + outputs) connections"
    )
    network.add_argument("--output-density", type=float, metavar="D", help="that of the output layer (it is dense)")
    network.add_argument("--allocate", metavar="HOW", help="share connections among layers: uniform, er or erk (er)")
    network.add_argument(
        "--activation",
        metavar="WHAT",
        help="activation: relu, hoyer:SPARSENESS, topk:UNITS, srelu, allrelu:SLOPE, sigmoid or none (hoyer:0.7); "
        "with noise in training: relu+sparseout:q=Q,p=P",
    )
    network.add_argument("--dropout", type=float, metavar="P", help="probability of dropping a hidden unit (0)")
    network.add_argument("--weight-noise", metavar="WHAT", help="noise on weights in training: bridgeout:q=Q,p=P")
    network.add_argument(
        "--rewire",
        metavar="RULE",
        help="move connections after each epoch: SET, CoDACoRSET, CTRE, RigL, ... or none (SET)",
    )
    network.add_argument(
        "--fraction", type=float, metavar="F", help="share of the connections that moves (the rule's own)"
    )
    network.add_argument(
        "--constraint",
        metavar="SET",
        help="keep hidden weights in a set: gap:WIDTH, sign[:SHARE], hoyer:SPARSENESS, l0:K, l1:RADIUS, l1norm:MEAN, "
        "or several joined by + (free)",
    )
    network.add_argument(
        "--prune",
        metavar="RULE",
        help="remove connections while training: gap:WIDTH, gradual:DENSITY or magnitude:DENSITY; starts at density "
        "0.5 and rewires nothing, if nothing else is said (no pruning)",
    )
    network.add_argument("--no-twin", action="store_true", default=None, help="train no dense twin")
    fit = train.add_argument_group("training")
    fit.add_argument("--epochs", type=int, metavar="N", help="passes through the training rows (by their number)")
    fit.add_argument("--batch-size", type=int, metavar="N", help="rows in a step (by their number)")
    fit.add_argument("--optimizer", metavar="NAME", help="adam, adamw or sgd (adam)")
    fit.add_argument("--learning-rate", type=float, metavar="R", help="(0.001, with sgd 0.1)")
    fit.add_argument("--schedule", metavar="NAME", help="of the learning rate: cosine or constant (cosine)")
    fit.add_argument("--momentum", type=float, metavar="M", help="of sgd (0.9)")
    fit.add_argument("--weight-decay", type=float, metavar="W", help="(0)")
    fit.add_argument("--max-grad-norm", type=float, metavar="NORM", help="bound the gradient's norm (unbounded)")
    fit.add_argument("--step", metavar="NAME", help="compiled, where it applies, or autograd always (compiled)")
    fit.add_argument("--patience", type=int, metavar="N", help="stop after N epochs without a better validation loss")
    fit.add_argument("--seeds", type=int, metavar="N", help="networks of each kind, for the spread (1)")
    fit.add_argument("--seed", type=int, metavar="S", help="the first seed (0)")
    machine = train.add_argument_group("machine")
    machine.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1, mps (cuda where there is one, else cpu)")
    machine.add_argument("--amp", action="store_true", default=None, help="compute in bfloat16")
    machine.add_argument("--threads", type=int, metavar="N", help="of the CPU (as many as PyTorch takes)")
    output = train.add_argument_group("output")
    output.add_argument("--out", type=_path, metavar="DIR", help="the run's folder (runs/DATA-1, -2, ...)")
    output.add_argument("--overwrite", action="store_true", default=None, help="remove the run that is in DIR")
    output.add_argument("--resume", type=_path, metavar="RUN", help="continue a run that was stopped")
    output.add_argument("--no-report", action="store_true", help="write no report.html")
    _add_output(output, "print nothing but the run's folder")

    predict = commands.add_parser(
        "predict",
        help="label new rows with a trained network",
        description="Labels and probabilities from the first sparse network of a run, as CSV.",
        epilog=_PREDICT_EXAMPLES,
        formatter_class=raw,
        allow_abbrev=False,
    )
    predict.add_argument("run", type=_path, metavar="RUN", help="a run's folder, or its model.safetensors")
    predict.add_argument(
        "data", type=_name, metavar="DATA", help="a file, - for standard input, or the name of a data set"
    )
    predict.add_argument("--out", type=_path, metavar="FILE", help="write the CSV here instead of printing it")
    _add_format(predict)
    _add_output(predict, "print no accuracy")

    report = commands.add_parser(
        "report",
        help="write the page of a run, or of several side by side",
        description="Write report.html into the folder of a run, or compare several runs on one page.",
        allow_abbrev=False,
    )
    report.add_argument("runs", nargs="+", type=_path, metavar="RUN", help="the folder of a finished run")
    report.add_argument(
        "--out", type=_path, metavar="FILE", help="the page (report.html or comparison.html in the run)"
    )

    summary = commands.add_parser(
        "summary",
        help="show the comparison and the layers of a run in the terminal",
        description="Show the comparison and the layers of a finished run.",
        allow_abbrev=False,
    )
    summary.add_argument("run", type=_path, metavar="RUN", help="the folder of a finished run")
    summary.add_argument("--json", action="store_true", help="print results.json instead")

    evaluate.add_parser(commands)
    associate.add_parser(commands)
    study.add_parser(commands)
    bench.add_parser(commands)
    return top


def _add_output(group: argparse._ActionsContainer, quiet: str) -> None:
    group.add_argument("--quiet", action="store_true", help=quiet)
    group.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def _versions() -> str:
    try:
        torch = version("torch")
    except PackageNotFoundError:
        torch = "not installed"
    return f"gossamer {gossamer.__version__} (torch {torch})"


def _name(text: str) -> str:
    """The name of a file or of a data set; an error if no file can have it."""
    if "\0" in text:
        raise argparse.ArgumentTypeError(f"must be a name without null characters: {text!r}")
    longest = max(len(os.fsencode(part)) for part in text.split(os.sep))
    if longest > 255:
        raise argparse.ArgumentTypeError(f"must have at most 255 bytes in a file's name, got {longest}: {text[:40]!r}…")
    if text.startswith("~"):
        try:
            Path(text).expanduser()
        except RuntimeError as error:
            raise argparse.ArgumentTypeError(f"must name a home folder that exists: {text!r} ({error})") from None
    return text


def _path(text: str) -> Path:
    return Path(_name(text))


def _add_format(group: argparse._ActionsContainer) -> None:
    group.add_argument("--encoding", metavar="NAME", help="of a text file, such as utf-8, cp1252 or utf-16 (detected)")
    group.add_argument("--separator", metavar="CHAR", help="between fields: a character, tab or space (detected)")
    group.add_argument("--decimal", metavar="CHAR", help="the decimal mark, . or , (detected)")
    group.add_argument("--index", metavar="COLUMN", help="the column that identifies a row; it is no feature")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in next(csv.reader([text], skipinitialspace=True), []))


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be whole numbers with commas between, such as 1000,500: {text!r}"
        ) from None


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
