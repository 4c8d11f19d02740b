"""The options of a training run: checked once, written to ``config.toml``, read back the same."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from gossamer.data import Reading
from gossamer.errors import InputError, check_count
from gossamer.training.recipe import Recipe

__all__ = ["MOST_THREADS", "Options"]

MOST_THREADS = 1024
"""More than any processor has; OpenMP ends the process where it can't start as many as it is asked for."""


@dataclass(frozen=True, kw_only=True)
class Options(Recipe):
    """Everything that decides what a run computes: a `Recipe`, the data, and how many networks.

    ``data`` is a data set's name or a file, ``target`` its label column; ``encoding`` to ``numeric`` say how to read a
    file (see `gossamer.data.Reading`). ``seeds`` networks of each kind are trained, with the seeds ``seed``,
    ``seed + 1``, … (pattern, weights, order of samples, dropout); all of them share one division into training,
    validation and test rows, that of ``seed``.

    The dense ``twin`` has the same hidden layers, seeds, epochs, optimizer and learning rate; its units are ReLU, as in
    the network that one would train without this package.
    """

    data: str
    target: str | None = None
    encoding: str | None = None
    separator: str | None = None
    decimal: str | None = None
    drop: tuple[str, ...] = ()
    index: str | None = None
    categorical: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()
    twin: bool = True
    seed: int = 0
    seeds: int = 1
    device: str = "cpu"
    threads: int

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("seed", self.seed, high=2**31)
        check_count("seeds", self.seeds, low=1, high=1000)
        check_count("threads", self.threads, low=1, high=MOST_THREADS)
        self.reading()  # checks

    def reading(self) -> Reading:
        """The options that say how to read the file."""
        return Reading(**{field.name: getattr(self, field.name) for field in fields(Reading)})

    def to_toml(self) -> str:
        """One ``key = value`` line for each option that is set, the data's first; None is left out."""
        lines = []
        for field in sorted(fields(self), key=lambda field: field.name not in ("data", "target")):
            value = getattr(self, field.name)
            if value is not None and not (value == () and field.name in Reading.__dataclass_fields__):
                # JSON's numbers, lists, booleans and texts are TOML's too, but for one character.
                shown = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
                lines.append(f"{field.name} = {shown}\n")
        return "".join(lines)

    @classmethod
    def from_toml(cls, text: str, where: str = "config.toml") -> Options:
        """What `to_toml` wrote; `InputError` that names ``where`` for anything else."""
        try:
            values = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise InputError(f"{where} is damaged: {error}") from None
        return cls.from_values(values, where)

    @classmethod
    def from_values(cls, values: Mapping[str, Any], where: str) -> Options:
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(values) - known):
            raise InputError(f"{where} has options that this gossamer doesn't know: {', '.join(unknown)}")
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        try:
            return cls(**given)
        except TypeError as error:  # a required option is missing
            raise InputError(f"{where} is incomplete: {str(error).partition('__() ')[2]}") from None
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
