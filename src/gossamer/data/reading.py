"""How a file is read: the user's options, and the results of detection."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from gossamer.errors import InputError

__all__ = ["SEPARATORS", "Reading"]

SEPARATORS = {"tab": "\t", "space": " ", "\\t": "\t"}
"""Names that a separator has on the command line, where it is awkward to type."""

_NAMED = {"\t": "tabs", " ": "spaces"}


@dataclass(frozen=True, kw_only=True)
class Reading:
    r"""How to read a file, and which of its columns to use; None and () leave it to detection.

    Args:
        encoding: of a text file, a codec of Python such as ``"utf-8"``, ``"cp1252"`` or ``"utf-16"``.
        separator: one character between the fields of a line; ``"tab"`` and ``"space"`` (any run of blanks) are names.
        decimal: the decimal mark, ``"."`` or ``","``. The other one then groups thousands.
        drop: names of columns that are not used.
        index: name of the column that identifies a row. It is no feature, and predictions are listed by it.
        categorical: names of columns whose values are categories, also where they look like numbers or dates.
        numeric: names of columns that hold numbers; other values in them are missing.

    Raises:
        InputError: for an unknown encoding, a separator or decimal mark that can't be one, or a column named twice.

    Example:
        >>> gs.data.Reading(separator="tab", decimal=",", drop=("name", "ticket")).separator
        '\t'
    """

    encoding: str | None = None
    separator: str | None = None
    decimal: str | None = None
    drop: tuple[str, ...] = ()
    index: str | None = None
    categorical: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.encoding is not None:
            try:
                "a".encode(self.encoding)
            except (LookupError, UnicodeError, TypeError, ValueError):  # hex and its like turn no string into bytes
                raise InputError(
                    f"encoding must be one that Python knows, such as 'utf-8', 'cp1252' or 'utf-16', "
                    f"got {self.encoding!r}"
                ) from None
        if self.separator is not None:
            separator = SEPARATORS.get(self.separator, self.separator)
            if len(separator) != 1 or separator.isalnum() or separator in "\"'.\r\n\0":
                raise InputError(
                    f"separator must be one character such as ',' or ';', 'tab' or 'space', got {self.separator!r}"
                )
            object.__setattr__(self, "separator", separator)  # frozen
        if self.decimal not in (None, ".", ","):
            raise InputError(f"decimal must be '.' or ',', got {self.decimal!r}")
        said: dict[str, str] = {}
        for role in ("drop", "index", "categorical", "numeric"):
            value = getattr(self, role)
            names = () if value is None else (value,) if isinstance(value, str) else tuple(value)
            trimmed = tuple(dict.fromkeys(name.strip() for name in names))
            for name in trimmed:
                if name in said:
                    raise InputError(f"column {name!r} must have one role, got {said[name]} and {role}")
                said[name] = role
            if role != "index":
                object.__setattr__(self, role, trimmed)
            elif value is not None:
                object.__setattr__(self, role, value.strip())

    def __str__(self) -> str:
        """The detected format, in words: "cp1252, fields between ';', decimal comma"."""
        words = []
        if self.encoding is not None:
            words.append(codecs.lookup(self.encoding).name.removesuffix("-sig").upper())
        if self.separator is not None:
            words.append(f"separated by {_NAMED.get(self.separator) or repr(self.separator)}")
        if self.decimal == ",":
            words.append("with decimal commas")
        return ", ".join(words)

    def to_dict(self) -> dict[str, Any]:
        """Return the options as plain data, without those that are unset.

        Returns:
            Strings and lists by name.
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values.items()
            if value not in (None, ())
        }

    @classmethod
    def from_dict(cls, d: Mapping[str, Any]) -> Reading:
        """Make the options that `to_dict` returned.

        Args:
            d: the result of `to_dict`.

        Returns:
            The options.

        Raises:
            InputError: ``d`` is anything else.
        """
        if not isinstance(d, Mapping):
            raise InputError(f"reading must be a dict, got {d!r:.200}")
        for name, value in d.items():
            plural = name in ("drop", "categorical", "numeric")
            good = isinstance(value, list) and all(isinstance(v, str) for v in value) if plural else type(value) is str
            if name not in {field.name for field in fields(cls)} or not good:
                raise InputError(f"reading must hold names and strings, got {name!r} = {value!r:.200}")
        given: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in d.items()}
        return cls(**given)
