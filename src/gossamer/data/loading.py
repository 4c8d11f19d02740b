"""Loading data sets by name or file, and new rows through the same preprocessing."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.data.catalogue import CORPORA, names, read_named
from gossamer.data.columns import listed
from gossamer.data.dataset import Dataset, Split, rare_classes, split_rows
from gossamer.data.labels import class_indices, match_classes
from gossamer.data.preprocess import Preprocessing
from gossamer.data.reading import Reading
from gossamer.data.source import STDIN
from gossamer.data.table import SUFFIXES, Table, image_shape, read_table
from gossamer.errors import InputError
from gossamer.extras import needs

__all__ = ["NewRows", "load", "read_features", "read_rows"]


@needs("data", "gossamer.data")
def load(
    name_or_path: str | os.PathLike[str],
    *,
    target: str | None = None,
    seed: int = 0,
    test_size: float = 0.2,
    validation_size: float = 0.1,
    reading: Reading | None = None,
) -> Dataset:
    """Load a data set by name or from a file, divided into training, validation and test rows.

    A test split that comes with the data set is kept, and validation is cut from its training rows. Preprocessing is
    fitted on training rows alone. `split_rows` has the rules for small classes, `Preprocessing` those for the columns.

    Args:
        name_or_path: one of `names`, or a file (see `read_table`).
        target: the column of labels of a file (see `read_table`).
        seed: of the division; the same seed gives the same rows.
        test_size: fraction of the rows, in [0, 1).
        validation_size: fraction of the rows, in [0, 1).
        reading: how to read a file and which of its columns to leave out, as far as it is known.

    Returns:
        The data set.

    Raises:
        InputError: a name, file, target or column that can't be used.

    Example:
        >>> digits = gs.data.load("digits", seed=0)
        >>> digits.train.x.shape, digits.image
        ((1258, 64), (8, 8, 1))
    """
    name = _known(name_or_path)
    if name is None:
        table = read_table(name_or_path, target=target, reading=reading)
    elif reading is not None and reading.to_dict():
        raise InputError(f"reading must be None for the data set {name!r}, got {reading.to_dict()}")
    elif target is not None:
        raise InputError(f"target must be None for the data set {name!r}, which has its own, got {target!r}")
    else:
        table = read_named(name)
    y, classes = _labels(table)
    train, validation, test = split_rows(
        y, test_size=test_size, validation_size=validation_size, seed=seed, train_rows=table.train_rows
    )
    preprocessing = Preprocessing.fit(
        table.x,
        rows=train,
        kind=table.kind,
        divisor=table.divisor,
        columns=table.columns,
        target=table.target,
        classes=classes,
        reading=table.reading,
    )

    def split(rows: NDArray[np.int64]) -> Split:
        return Split(preprocessing.transform(table.x, rows), y[rows])

    return Dataset(
        name=table.name,
        train=split(train),
        validation=split(validation),
        test=split(test),
        classes=classes,
        features=preprocessing.features,
        image=table.image,
        preprocessing=preprocessing,
        notices=_notices(table, preprocessing, rare_classes(y, classes, train, validation, test)),
    )


def _notices(table: Table, preprocessing: Preprocessing, rare: str) -> tuple[str, ...]:
    """Notices on the reading of the file, on columns that are left out and on others that were changed."""
    notices = [f"read as {table.reading}"] if str(table.reading) else []
    notices += table.notices
    if preprocessing.dropped:
        notices.append(f"left out, since no row to train on has a value there: {listed(list(preprocessing.dropped))}")
    return (*notices, *preprocessing.notices, *([rare] if rare else []))


@dataclass(frozen=True, eq=False)
class NewRows:
    """Rows to predict.

    Attributes:
        x: (n, features) preprocessed, dense or sparse.
        y: (n) int64 class indices, negative where a row has no label or a new one; None if no row has a known label.
        index: (n) names of the rows, if a column of the file identifies them.

    Example:
        >>> wine = gs.data.load("wine")
        >>> gs.data.read_rows("wine", wine.preprocessing).x.shape
        (178, 13)
    """

    x: Any
    y: NDArray[np.int64] | None
    index: tuple[str, ...] | None


@needs("data", "gossamer.data")
def read_rows(
    path_or_name: str | os.PathLike[str], preprocessing: Preprocessing, reading: Reading | None = None
) -> NewRows:
    """Read every row of a file or a named data set, preprocessed, with its label and its name where it has them.

    The file is read as that of training was, unless ``reading`` overrides it: its encoding, separator and decimal
    mark, and the column that identifies a row. A file needs no labels, and its labels may be empty or new. Pixels have
    to be of the range that they had in training: floats from 0 to 1 are refused where bytes from 0 to 255 were trained
    on.

    Args:
        path_or_name: the file, or one of `names`.
        preprocessing: of the data set that was trained on.
        reading: how to read the file, where it differs from that of training.

    Returns:
        The rows.

    Raises:
        InputError: the file does not fit the training data; the message names column, row and value.

    Example:
        >>> wine = gs.data.load("wine")
        >>> rows = gs.data.read_rows("wine", wine.preprocessing)
        >>> rows.x.shape, rows.y.shape
        ((178, 13), (178,))
    """
    name = _known(path_or_name)
    table = read_table(path_or_name, reading=reading, like=preprocessing) if name is None else read_named(name)
    trained = image_shape(preprocessing.columns)
    if trained is not None and table.image is not None and table.image != trained:  # of as many pixels, maybe
        raise InputError(f"images in {table.name} must be {_size(trained)} as in training, got {_size(table.image)}")
    x = preprocessing.transform(table.x)
    if not hasattr(x, "tocsr"):
        _check_range(table, preprocessing, x)
    if table.labels is None:
        return NewRows(x, None, table.index)
    labels = table.labels if table.classes is None else np.array(table.classes, dtype=object)[table.labels]
    return NewRows(x, match_classes(labels, preprocessing.classes), table.index)


@needs("data", "gossamer.data")
def read_features(
    path_or_name: str | os.PathLike[str], preprocessing: Preprocessing, *, reading: Reading | None = None
) -> tuple[Any, NDArray[np.int64] | None]:
    """Read every row of a file or a named data set, preprocessed, and its class indices.

    For a name these are all rows, those trained on included: to score a network on one, take
    ``load(name, seed=…).test``. `read_rows` documents how a file is read.

    Args:
        path_or_name: the file, or one of `names`.
        preprocessing: of the data set that was trained on.
        reading: how to read the file, where it differs from that of training.

    Returns:
        The rows (n, features) float32, a `scipy.sparse.csr_array` for .svmlight, and class indices (n) int64. The
        labels are None where no row has a known one; where only some do, that of the others is negative.

    Raises:
        InputError: the file does not fit the training data; the message names column, row and value.

    Example:
        >>> wine = gs.data.load("wine")
        >>> x, y = gs.data.read_features("wine", wine.preprocessing)
        >>> x.shape, y.max()
        ((178, 13), np.int64(2))
    """
    rows = read_rows(path_or_name, preprocessing, reading)
    return rows.x, rows.y


def _check_range(table: Table, fitted: Preprocessing, x: NDArray[np.float32]) -> None:
    """`InputError` if pixels, ``x`` of the table, are plainly of another range than in training.

    Pixels may be brighter than any in training, as noise makes them, or darker, but not tenfold; only bytes are from 0
    to 255 however dark they are. Where training had no bytes, its range isn't known, but its means are.
    """
    raw: Any = table.x
    bytewise = isinstance(raw, np.ndarray) and raw.dtype == np.uint8
    if fitted.kind == "scale":
        white = fitted.divisor
        low, high = (white * float(end) for end in (x.min(), x.max()))
        top = max(-low, high)
        if top > 10 * white or (0 < top < white / 10 and white > 1 and not bytewise):
            raise InputError(
                f"pixels in {table.name} must be from 0 to {white:g} as in training, got {low:.3g} to {high:.3g}: "
                "bring them to that range"
            )
    elif bytewise and table.image is not None and fitted.mean.max(initial=0) <= 1 < raw.max():
        raise InputError(
            f"pixels in {table.name} must be as in training, with means from {fitted.mean.min(initial=1):.3g} to "
            f"{fitted.mean.max(initial=0):.3g}, got bytes from {raw.min()} to {raw.max()}: "
            "bring them to that range"
        )


def _size(image: tuple[int, int, int]) -> str:
    height, width, channels = image
    return f"{height} × {width}" + (f" of {channels} channels" if channels > 1 else "")


def _labels(table: Table) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    if table.classes is None:
        return class_indices(table.labels, table.target)
    return table.labels, table.classes


def _known(name_or_path: str | os.PathLike[str]) -> str | None:
    """The data set's name, or None for a path; `InputError` for a string that is neither."""
    if not isinstance(name_or_path, str) or name_or_path == STDIN:
        return None
    name = name_or_path.lower().replace("-", "_")
    if name in CORPORA:
        raise InputError(f"{name_or_path!r} has no classes: load it with gossamer.data.{CORPORA[name]}({name!r})")
    if name in names():
        return name
    path = Path(name_or_path)
    if name and (path.suffix or len(path.parts) > 1 or path.expanduser().exists()):
        return None
    close = difflib.get_close_matches(name, names(), n=3)
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"names: {', '.join(names())}"
    raise InputError(f"{name_or_path!r} must be a data set's name or a file ending in {', '.join(SUFFIXES)}; {hint}")
