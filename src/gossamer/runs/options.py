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
    """All options that decide the results of a run: a `Recipe`, the data, and how many networks.

    The networks of a run share one division into training, validation and test rows, that of ``seed``. The dense twin
    has the same hidden layers, seeds, epochs, optimizer, learning rate and augmentation; its units are ReLU and its
    blocks standard ones, as in the network that one would train without this package, with dropout in the place of
    Sparseout and no noise on weights.

    Attributes:
        data: a data set's name or a file.
        target: its label column.
        encoding: how to read a file, as are the next six; see `gossamer.data.Reading`.
        separator: between the fields of a line.
        decimal: the decimal mark.
        drop: columns that are not used.
        index: the column that identifies a row.
        categorical: columns whose values are categories.
        numeric: columns that hold numbers.
        twin: train the dense twin too.
        seed: of the first network and of the division.
        seeds: number of networks of each kind, with the seeds ``seed``, ``seed + 1``, … (pattern, weights, order of
            samples, dropout).
        device: ``"cpu"``, ``"cuda"``, …
        threads: number of threads.

    Raises:
        InputError: an option is outside its range.

    Example:
        >>> options = gs.runs.Options(data="wine", hidden=(20,), epochs=3, batch_size=10, threads=1)
        >>> gs.runs.Options.from_toml(options.to_toml()) == options
        True
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
        """Return the options that concern the reading of a file.

        Returns:
            The options for `gossamer.data`.
        """
        return Reading(**{field.name: getattr(self, field.name) for field in fields(Reading)})

    def to_toml(self) -> str:
        """Write one ``key = value`` line for each option that is set, the data's first.

        None is left out, and so are options of HaH blocks where there are none.

        Returns:
            The text of ``config.toml``.
        """
        lines = []
        for field in sorted(fields(self), key=lambda field: field.name not in ("data", "target")):
            value = getattr(self, field.name)
            if field.name.startswith("hebbian_") and not self.hebbian_blocks:
                continue
            if value is not None and not (value == () and field.name in Reading.__dataclass_fields__):
                # Numbers, lists, booleans and strings of JSON are those of TOML, except for one character; a package
                # that writes TOML would be a dependency for these three lines.
                shown = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
                lines.append(f"{field.name} = {shown}\n")
        return "".join(lines)

    @classmethod
    def from_toml(cls, text: str, where: str = "config.toml") -> Options:
        """Read the text that `to_toml` wrote.

        Args:
            text: of ``config.toml``.
            where: the name of the file, for errors.

        Returns:
            The options.

        Raises:
            InputError: the text is damaged, incomplete, or has unknown options.
        """
        try:
            values = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise InputError(f"{where} is damaged: {error}") from None
        return cls.from_values(values, where)

    @classmethod
    def from_values(cls, values: Mapping[str, Any], where: str) -> Options:
        """Make options from plain values.

        Args:
            values: by name.
            where: the source of the values, for errors.

        Returns:
            The options.

        Raises:
            InputError: an option is missing, unknown or outside its range.
        """
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
