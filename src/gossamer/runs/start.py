"""The start of a run: its options and the fingerprint of its samples, in ``start.json``, and ``config.toml``.

``start.json`` is authoritative. ``config.toml`` shows the same options to people; a run does not continue if it was
edited, since the networks before and after the change would differ.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gossamer
from gossamer.errors import InputError
from gossamer.io.files import check_format, read_bytes, read_sealed, write_atomically
from gossamer.io.seal import EMPTY_SEAL, BrokenSealError, seal, unseal
from gossamer.runs.options import Options
from gossamer.runs.schema import dump, parse

__all__ = ["Start", "check_config", "read_start", "write_config", "write_start"]

_FORMAT = 1


@dataclass(frozen=True)
class Start:
    """The contents of ``start.json``."""

    format: int
    gossamer: str
    fingerprint: str
    options: dict[str, Any]


def write_start(path: Path, options: Options, fingerprint: str) -> None:
    """Write ``start.json``."""
    write_atomically(path, dump(Start(_FORMAT, gossamer.__version__, fingerprint, asdict(options)), indent=1))


def read_start(path: Path, remedy: str) -> Start:
    """Read ``start.json``; `InputError` if it is damaged, which ends with ``remedy``, or of a newer format."""
    start = parse(read_sealed(path, remedy), Start, str(path))
    check_format(path, start.format, _FORMAT, start.gossamer)
    return start


def write_config(path: Path, options: Options) -> None:
    """Write ``config.toml``."""
    head = f"# The options that the run began with. To change them, start another run. {EMPTY_SEAL}\n"
    write_atomically(path, seal(head.encode() + options.to_toml().encode()))


def check_config(path: Path, options: Options) -> None:
    """Raise `InputError` if ``config.toml`` is not the one that `write_config` wrote for ``options``."""
    content = read_bytes(path)
    remedy = (
        f"A run keeps the options that it began with: remove {path} and resume, which writes it anew, "
        "or train anew with other options"
    )
    try:
        found = Options.from_toml(content.decode(), str(path))
    except (InputError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is damaged or was edited: {error}. {remedy}") from None
    changes = [
        f"{name} is {value!r} and was {getattr(options, name)!r}"
        for name, value in asdict(found).items()
        if value != getattr(options, name)
    ]
    if changes:
        raise InputError(f"{path} was edited: {', '.join(changes)}. {remedy}")
    try:
        unseal(content)
    except BrokenSealError as error:
        raise InputError(f"{path} was edited, though no option changed: {error}. {remedy}") from None
