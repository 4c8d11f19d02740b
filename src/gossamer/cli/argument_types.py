"""Arguments that several commands share, and the types of arguments."""

from __future__ import annotations

import argparse
import csv
import os
from pathlib import Path

__all__ = ["add_format", "add_output", "as_name", "as_names", "as_path", "as_sizes"]


def as_name(text: str) -> str:
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


def as_path(text: str) -> Path:
    """The path of a file or a folder."""
    return Path(as_name(text))


def add_format(group: argparse._ActionsContainer) -> None:
    """Add the options that say how a file is read."""
    group.add_argument("--encoding", metavar="NAME", help="of a text file, such as utf-8, cp1252 or utf-16 (detected)")
    group.add_argument("--separator", metavar="CHAR", help="between fields: a character, tab or space (detected)")
    group.add_argument("--decimal", metavar="CHAR", help="the decimal mark, . or , (detected)")
    group.add_argument("--index", metavar="COLUMN", help="the column that identifies a row; it is no feature")


def as_names(text: str) -> tuple[str, ...]:
    """Names with commas between, quoted where they contain one."""
    return tuple(each.strip() for each in next(csv.reader([text], skipinitialspace=True), []))


def as_sizes(text: str) -> tuple[int, ...]:
    """Whole numbers with commas between."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be whole numbers with commas between, such as 1000,500: {text!r}"
        ) from None


def add_output(group: argparse._ActionsContainer, quiet: str) -> None:
    """Add ``--quiet``, with this help, and ``--json``."""
    group.add_argument("--quiet", action="store_true", help=quiet)
    group.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
