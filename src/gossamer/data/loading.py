"""A name or a file to a data set, and new rows through its preprocessing."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gossamer.data.catalogue import CORPORA, names, read_named
from gossamer.data.dataset import Dataset, Split, split_rows
from gossamer.data.labels import class_indices, match_classes
from gossamer.data.preprocess import Preprocessing
from gossamer.data.table import SUFFIXES, Table, image_shape, read_table
from gossamer.errors import InputError
from gossamer.extras import needs

__all__ = ["load", "read_features"]


@needs("data", "gossamer.data")
def load(
    name_or_path: str | os.PathLike[str],
    *,
    target: str | None = None,
    seed: int = 0,
    test_size: float = 0.2,
    validation_size: float = 0.1,
) -> Dataset:
    """The data set that ``name_or_path`` says: one of `names`, or a file (see `read_table`, also for ``target``).

    ``test_size`` and ``validation_size`` in [0, 1) are fractions of the rows; a test split that comes with the data set
    stays as it is, and validation is cut from its training rows. The same ``seed`` gives the same rows. `split_rows`
    has the rules for small classes, `Preprocessing` what happens to the columns: fitted on training rows alone.

    `InputError` for a name, file, target or column that can't be used.
    """
    name = _known(name_or_path)
    if name is None:
        table = read_table(name_or_path, target=target)
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
    )


@needs("data", "gossamer.data")
def read_features(
    path_or_name: str | os.PathLike[str], preprocessing: Preprocessing
) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
    """Every row of a file or a named data set, preprocessed (n, features) float32, and its class indices (n,) int64.

    The labels are None where the file has no target column, or an empty one. For a name these are all rows, those
    trained on included: to score a network on one, take ``load(name, seed=…).test``.

    `InputError` names the column, row and value that don't fit what was trained on. Pixels have to be of the range that
    they had in training: floats from 0 to 1 are no bytes from 0 to 255, and are refused.
    """
    name = _known(path_or_name)
    table = read_table(path_or_name, like=preprocessing) if name is None else read_named(name)
    trained = image_shape(preprocessing.columns)
    if trained is not None and table.image is not None and table.image != trained:  # of as many pixels, maybe
        raise InputError(f"images in {table.name} must be {_size(trained)} as in training, got {_size(table.image)}")
    x = preprocessing.transform(table.x)
    _check_range(table, preprocessing, x)
    if table.labels is None:
        return x, None
    labels = table.labels if table.classes is None else np.array(table.classes, dtype=object)[table.labels]
    return x, match_classes(labels, preprocessing.classes, table.target)


def _check_range(table: Table, fitted: Preprocessing, x: NDArray[np.float32]) -> None:
    """`InputError` if pixels, ``x`` of the table, are plainly of another range than in training.

    Pixels may be brighter than any in training, as noise makes them, or darker, but not tenfold; only bytes are from 0
    to 255 however dark they are. Where training had no bytes, its range isn't known, but its means are.
    """
    bytewise = isinstance(table.x, np.ndarray) and table.x.dtype == np.uint8
    if fitted.kind == "scale":
        white = fitted.divisor
        low, high = (white * float(end) for end in (x.min(), x.max()))
        top = max(-low, high)
        if top > 10 * white or (0 < top < white / 10 and white > 1 and not bytewise):
            raise InputError(
                f"pixels in {table.name} must be from 0 to {white:g} as in training, got {low:.3g} to {high:.3g}: "
                "bring them to that range"
            )
    elif bytewise and table.image is not None and fitted.mean.max(initial=0) <= 1 < table.x.max():
        raise InputError(
            f"pixels in {table.name} must be as in training, with means from {fitted.mean.min(initial=1):.3g} to "
            f"{fitted.mean.max(initial=0):.3g}, got bytes from {table.x.min()} to {table.x.max()}: "
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
    """The data set's name, or None for a path; `InputError` for a text that is neither."""
    if not isinstance(name_or_path, str):
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
