"""What `load` returns, and how rows are divided into training, validation and test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gossamer.errors import InputError, check_count, check_fraction

if TYPE_CHECKING:
    from gossamer.data.preprocess import Preprocessing

__all__ = ["Dataset", "Split", "split_rows"]


@dataclass(frozen=True, eq=False)
class Split:
    """Some rows of a data set: ``x`` (n, features) float32, preprocessed, C-contiguous; ``y`` (n,) int64 classes."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Three splits of one data set and what their columns mean.

    ``classes[i]`` is the label that class index ``i`` stands for. ``features`` names the columns of ``x`` after
    preprocessing, in order. ``image`` is (height, width, channels) where the columns are pixels, and None otherwise;
    the columns are then ordered row-major over exactly these axes: ``x.reshape(n, height, width, channels)`` is the
    images, and PyTorch's order is one ``transpose(0, 3, 1, 2)`` away.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    features: tuple[str, ...]
    image: tuple[int, int, int] | None
    preprocessing: Preprocessing


Rows = NDArray[np.int64]


def split_rows(
    y: NDArray[np.int64], *, test_size: float, validation_size: float, seed: int, train_rows: int | None = None
) -> tuple[Rows, Rows, Rows]:
    """Row numbers of training, validation and test, drawn by ``seed`` with the classes in proportion.

    ``y`` (n,) holds class indices. Both sizes are fractions of the rows that are divided: of all n, or, where a test
    split is given (the rows from ``train_rows`` on), of the training rows; ``test_size`` is then unused. A size of 0
    gives an empty split. The test rows don't depend on ``validation_size``.

    Small data: a split that isn't empty has at least as many rows as there are classes, even where its fraction says
    fewer, and a class with a single row left to divide keeps it for training. Every class has a training row; where the
    sizes leave none, `InputError`.
    """
    from sklearn.model_selection import train_test_split

    check_fraction("test_size", test_size, open_high=True)
    check_fraction("validation_size", validation_size, open_high=True)
    check_count("seed", seed, high=2**32 - 1)
    if train_rows is None and test_size + validation_size >= 1:
        raise InputError(
            f"test_size + validation_size must be below 1, to leave training rows, got {test_size} + {validation_size}"
        )
    available = np.arange(len(y) if train_rows is None else train_rows, dtype=np.int64)
    total = len(available)

    def cut(rows: Rows, size: float) -> tuple[Rows, Rows]:
        if size == 0:
            return rows, rows[:0]
        lone = np.bincount(y[rows])[y[rows]] < 2
        divided = rows[~lone]
        kinds = len(np.unique(y[divided]))
        count = max(round(size * total), kinds)
        if kinds == 0 or len(divided) - count < kinds:
            raise InputError(
                f"{total} rows of {len(np.unique(y))} classes are too few for test_size={test_size!r} and "
                f"validation_size={validation_size!r}: each split needs a row for each class"
            )
        kept, taken = train_test_split(divided, test_size=count, random_state=seed, stratify=y[divided])
        return np.concatenate([kept, rows[lone]]), taken

    if train_rows is None:
        available, test = cut(available, test_size)
    else:
        test = np.arange(train_rows, len(y), dtype=np.int64)
    train, validation = cut(available, validation_size)
    if validation_size == 0 and (train_rows is not None or test_size == 0):
        # No cut has shuffled these rows, and files are often sorted by class.
        train = np.random.default_rng(seed).permutation(train)
    absent = np.setdiff1d(y, y[train])
    if len(absent):
        raise InputError(
            f"test_size={test_size!r} and validation_size={validation_size!r} leave no training row of "
            f"{len(absent)} of the {len(np.unique(y))} classes; make them smaller"
        )
    return train, validation, test
