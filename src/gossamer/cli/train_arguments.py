"""The arguments of ``gossamer train``."""

from __future__ import annotations

import argparse
from typing import Any

from gossamer.cli.argument_types import add_format, add_output, as_name, as_names, as_path, as_sizes

__all__ = ["add_parser"]

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
  gossamer train digits --model vgg --hebbian-blocks 3
  gossamer train fashion_mnist --model wide-residual --density 0.2 --rewire SET
  gossamer train --resume runs/digits-1

A run can be stopped at any moment, by Ctrl-C or otherwise, and loses at most
the epoch under way.
"""


def add_parser(commands: Any) -> None:
    """Add the command; options that aren't given are None, so that defaults can depend on the data."""
    train = commands.add_parser(
        "train",
        help="train a sparse network beside its dense twin",
        description=_TRAIN,
        epilog=_TRAIN_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    train.add_argument("data", nargs="?", type=as_name, metavar="DATA", help="a file, or the name of a public data set")
    train.add_argument("--target", metavar="COLUMN", help="the column of labels, in a file")
    table = train.add_argument_group("table")
    add_format(table)
    table.add_argument("--drop", type=as_names, metavar="COLUMN,...", help="columns that are not used")
    table.add_argument("--categorical", type=as_names, metavar="COLUMN,...", help="columns whose values are categories")
    table.add_argument(
        "--numeric", type=as_names, metavar="COLUMN,...", help="columns of numbers; other values in them are missing"
    )
    network = train.add_argument_group("network")
    network.add_argument(
        "--model",
        metavar="NAME",
        help="mlp, or for images vgg, vgg16, wide-residual, vgg:32-32-M-64-64-M, wide-residual:DEPTH-WIDTH (mlp)",
    )
    network.add_argument("--hidden", type=as_sizes, metavar="N,N", help="units of the hidden layers, such as 1000,1000")
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
    hebbian = train.add_argument_group("strong, sparse activations")
    hebbian.add_argument(
        "--hebbian-blocks", type=int, metavar="N", help="first blocks of vgg that are Hebbian/anti-Hebbian (0)"
    )
    hebbian.add_argument(
        "--hebbian-cost", type=float, metavar="C", help="factor on the published weights of their costs (1)"
    )
    hebbian.add_argument("--hebbian-anti", type=float, metavar="L", help="weight of the channels that do not win (0.1)")
    hebbian.add_argument("--hebbian-winners", type=float, metavar="W", help="share of the channels that win (0.1)")
    hebbian.add_argument(
        "--hebbian-gradient",
        metavar="HOW",
        help="local: a cost trains its own layer; joint: those before it too (local)",
    )
    network.add_argument("--no-twin", action="store_true", default=None, help="train no dense twin")
    fit = train.add_argument_group("training")
    fit.add_argument("--epochs", type=int, metavar="N", help="passes through the training rows (by their number)")
    fit.add_argument("--batch-size", type=int, metavar="N", help="rows in a step (by their number)")
    fit.add_argument(
        "--augment", metavar="WHAT", help="change images at random: shift:PIXELS, flip, or shift:4,flip (no change)"
    )
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
    output.add_argument("--out", type=as_path, metavar="DIR", help="the run's folder (runs/DATA-1, -2, ...)")
    output.add_argument("--overwrite", action="store_true", default=None, help="remove the run that is in DIR")
    output.add_argument("--resume", type=as_path, metavar="RUN", help="continue a run that was stopped")
    output.add_argument("--no-report", action="store_true", help="write no report.html")
    add_output(output, "print nothing but the run's folder")
