"""Measured weights of cells: which connections there are among the potential ones, and how strong they are."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gossamer.errors import InputError, check_choice, check_fraction

__all__ = ["MeasuredWeights", "read_weights"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MeasuredWeights:
    """Strengths of connections, and the number of potential inputs that are unconnected, for each cell.

    `from_matrix` and `from_strengths` make one. A *class* is 0 for excitatory and 1 for inhibitory inputs; where signs
    are free, there is only class 0.

    Args:
        values: the weights other than zero, (n,), signed.
        cell: which cell each belongs to, (n,), from 0. Cells are what the bootstrap draws.
        zeros: unconnected potential inputs, (cells, classes).
        signed: whether inputs are known to be excitatory or inhibitory.
    """

    values: Floats
    cell: NDArray[np.int64]
    zeros: NDArray[np.float64]
    signed: bool

    @property
    def n_cells(self) -> int:
        """How many cells there are."""
        return len(self.zeros)

    @property
    def sides(self) -> NDArray[np.int64]:
        """0 for positive and 1 for negative ``values``, (n,)."""
        return (self.values < 0).astype(np.int64)

    @property
    def potential(self) -> float:
        """The number of potential inputs of all cells."""
        return float(self.zeros.sum() + len(self.values))

    @property
    def connection_probability(self) -> float:
        """Connected potential inputs over all potential inputs."""
        return len(self.values) / self.potential

    @classmethod
    def from_matrix(cls, weights: ArrayLike, signs: ArrayLike | None = None, *, scale: str = "all") -> Self:
        """Weights with one row per cell and one column per potential input; 0 is unconnected.

        Args:
            weights: (cells, inputs), finite, in any unit.
            signs: ±1, one for all columns or (inputs,); None for inputs that may have weights of either sign.
            scale: "all" if cells share one mean |J|; "cell" divides each row by its own mean |J| first, for cells whose
                total weights differ and whose potential inputs were all measured.

        Raises:
            InputError: weights that are not a finite matrix, fewer than 2 cells, fewer than 10 connections, a weight of
                the wrong sign; with "cell" a cell without connections.

        Example:
            >>> from gossamer.associative.fit import MeasuredWeights
            >>> matrix = np.zeros((4, 5))
            >>> matrix[:, 1:4] = [1.0, -2.0, 0.5]
            >>> MeasuredWeights.from_matrix(matrix).connection_probability
            0.6
        """
        try:
            matrix = np.array(weights, np.float64)
        except (TypeError, ValueError):
            raise InputError("weights must be a matrix of numbers, (cells, inputs), with 0 for unconnected") from None
        if matrix.ndim != 2 or len(matrix) < 2 or matrix.shape[1] == 0:
            raise InputError(
                f"weights must have shape (cells, inputs) with at least 2 cells, got {matrix.shape}; for a list of "
                "strengths use MeasuredWeights.from_strengths"
            )
        if not np.isfinite(matrix).all():
            row, column = np.argwhere(~np.isfinite(matrix))[0]
            raise InputError(
                f"weights must be finite, got {matrix[row, column]} in row {row}, column {column}; "
                "use 0 for unconnected"
            )
        if check_choice("scale", scale, ("all", "cell")) == "cell":
            mean = np.abs(matrix).mean(1, keepdims=True)
            if not mean.all():
                raise InputError(f"scale must be 'all' where a cell has no connections, as row {int(mean.argmin())}")
            matrix = matrix / mean
        column_class = _classes(signs, matrix.shape[1])
        wrong = np.zeros(matrix.shape, bool) if signs is None else matrix * (1 - 2 * column_class) < 0
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            kind = "inhibitory, ≤ 0" if column_class[column] else "excitatory, ≥ 0"
            raise InputError(
                f"weights must have the signs of their inputs: column {column} is {kind}, got "
                f"{matrix[row, column]:g} in row {row}; multiply inhibitory strengths by −1"
            )
        cell, column = np.nonzero(matrix)
        empty = matrix == 0
        zeros = np.stack([(empty & (column_class == k)).sum(1) for k in range(1 if signs is None else 2)], 1)
        return cls._checked(matrix[cell, column], cell, zeros.astype(np.float64), signs is not None)

    @classmethod
    def from_strengths(
        cls,
        strengths: ArrayLike,
        connection_probability: float,
        inhibitory_strengths: ArrayLike | None = None,
        inhibitory_connection_probability: float | None = None,
        *,
        signed: bool = True,
    ) -> Self:
        """Lists of strengths of connections, and the probabilities that potential connections exist.

        Every connection counts as a cell of its own in the bootstrap, since it is not known which share a cell.

        Args:
            strengths: (n,), other than zero; of excitatory connections and positive if ``signed``.
            connection_probability: connections over pairs that were tested, in (0, 1].
            inhibitory_strengths: (k,), of inhibitory connections, as negative numbers; None if there are none.
            inhibitory_connection_probability: theirs.
            signed: whether the inputs are known to be excitatory or inhibitory; False for weights of either sign.

        Raises:
            InputError: strengths that are not finite and other than zero, or of the wrong sign, probabilities out of
                range, fewer than 10 connections.

        Example:
            >>> from gossamer.associative.fit import MeasuredWeights
            >>> MeasuredWeights.from_strengths([1.0, 2.0] * 10, 0.1).potential
            200.0
        """
        groups = [_strengths("strengths", strengths, 1 if signed else 0)]
        probabilities = [check_fraction("connection_probability", connection_probability, open_low=True)]
        if (inhibitory_strengths is None) != (inhibitory_connection_probability is None):
            raise InputError("inhibitory_strengths and inhibitory_connection_probability must be given together")
        if inhibitory_strengths is not None and inhibitory_connection_probability is not None:
            if not signed:
                raise InputError("inhibitory_strengths must be None where signed is False, got a list")
            groups.append(_strengths("inhibitory_strengths", inhibitory_strengths, -1))
            name = "inhibitory_connection_probability"
            probabilities.append(check_fraction(name, inhibitory_connection_probability, open_low=True))
        values = np.concatenate(groups)
        zeros = []
        for k, (group, p) in enumerate(zip(groups, probabilities, strict=True)):
            missing = np.zeros((round(len(group) * (1 - p) / p), 2 if signed else 1))
            missing[:, k] = 1
            zeros.append(missing)
        columns = 2 if signed else 1
        none = np.zeros((len(values), columns))
        return cls._checked(values, np.arange(len(values)), np.concatenate([none, *zeros]), signed)

    @classmethod
    def _checked(cls, values: Floats, cell: NDArray[np.int64], zeros: Floats, signed: bool) -> Self:
        if len(values) < 10:
            raise InputError(f"weights must have at least 10 connections (weights other than zero), got {len(values)}")
        if not signed and (values > 0).all() | (values < 0).all():
            side, sign = ("positive", 1) if values[0] > 0 else ("negative", -1)
            raise InputError(
                f"weights must be of both signs where signs are free, got {side} ones only; if all inputs are of one "
                f"kind, give signs={sign} and inhibitory, the fraction of inhibitory inputs in the circuit"
            )
        return cls(values, cell.astype(np.int64), zeros, signed)


def read_weights(path: Path | str) -> Floats:
    r"""The matrix in a CSV file: one row per cell, one column per potential input, 0 or nothing for unconnected.

    A first row and a first column without any number are taken for names. Fields are separated by commas, semicolons
    or tabs.

    Args:
        path: the file, UTF-8.

    Returns:
        (cells, inputs).

    Raises:
        InputError: a file that can't be read, rows of unequal length, a field that is not a number.

    Example:
        >>> import pathlib, tempfile
        >>> from gossamer.associative.fit import read_weights
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = pathlib.Path(folder) / "weights.csv"
        ...     _ = file.write_text("\n".join(["cell,a,b", "c1,0.5,", "c2,,1.5"]))
        ...     read_weights(file).tolist()
        [[0.5, 0.0], [0.0, 1.5]]
    """
    try:
        text = Path(path).expanduser().read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path} must be a text file in UTF-8, such as a spreadsheet's CSV") from None
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise InputError(f"{path} can't be read: {reason}") from None
    first = text.partition("\n")[0]
    separator = max(",;\t", key=first.count)
    rows = [[field.strip() for field in row] for row in csv.reader(text.splitlines(), delimiter=separator)]
    rows = [row for row in rows if len(row) > 1 or any(row)]
    top = 1 if rows and not any(map(_is_number, rows[0])) and any(rows[0]) else 0
    body = rows[top:]
    if not body:
        raise InputError(f"{path} must have a row of weights for each cell, got none")
    names = all(row and not _is_number(row[0]) for row in body) and any(row[0] for row in body)
    left = 1 if names else 0
    width = len(body[0])
    for number, row in enumerate(body, start=top + 1):
        if len(row) != width:
            raise InputError(f"{path} must have rows of one length, got {width} fields and {len(row)} in row {number}")
        for column, field in enumerate(row[left:], start=left + 1):
            if field and not (_is_number(field) and math.isfinite(float(field))):
                raise InputError(
                    f"{path} must hold finite numbers, got {field!r} in row {number}, column {column}; "
                    "leave the field empty, or 0, for unconnected"
                )
    return np.array([[float(field or 0) for field in row[left:]] for row in body], np.float64)


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _classes(signs: ArrayLike | None, n: int) -> NDArray[np.int64]:
    if signs is None:
        return np.zeros(n, np.int64)
    g = np.asarray(signs)
    if g.shape not in ((), (n,)) or g.dtype.kind not in "iuf" or not np.isin(g, (-1, 1)).all():
        raise InputError(
            f"signs must be 1 (excitatory) or −1 (inhibitory), one for all inputs or of shape ({n},), got "
            f"{signs if g.ndim == 0 else f'{g.dtype} {g.shape}'}"
        )
    return np.broadcast_to((g < 0).astype(np.int64), (n,))


def _strengths(name: str, values: ArrayLike, sign: int) -> Floats:
    try:
        array = np.array(values, np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be a list of numbers, got {values!r}") from None
    if array.ndim != 1 or len(array) == 0:
        raise InputError(f"{name} must be a list of at least one number, got shape {array.shape}")
    bad = ~np.isfinite(array) | (array == 0) | (array * sign < 0)
    if bad.any():
        allowed = {0: "finite and not 0", 1: "finite and > 0", -1: "finite and < 0"}[sign]
        raise InputError(f"{name} must be {allowed}, got {array[bad][0]:g} at index {int(bad.argmax())}")
    return array
