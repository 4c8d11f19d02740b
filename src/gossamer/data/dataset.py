"""Data sets as `load` returns them, and the split into training, validation and test rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gossamer.errors import InputError, check_count, check_fraction

if TYPE_CHECKING:
    from gossamer.data.preprocess import Preprocessing

__all__ = ["Dataset", "Split", "rare_classes", "split_rows"]


@dataclass(frozen=True, eq=False)
class Split:
    """Some rows of a data set.

    Attributes:
        x: (n, features) float32, preprocessed, C-contiguous; a `scipy.sparse.csr_array` for rows of a .svmlight file.
        y: (n) int64, class indices.

    Example:
        >>> split = gs.data.load("wine").test
        >>> split.x.shape, split.y.shape
        ((36, 13), (36,))
    """

    x: Any
    y: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.y)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Three splits of one data set and the meaning of their columns.

    Attributes:
        name: of the data set or file.
        train: the training rows.
        validation: the validation rows.
        test: the test rows.
        classes: ``classes[i]`` is the label of class index ``i``.
        features: names of the columns of ``x`` after preprocessing, in order.
        image: (height, width, channels) where the columns are pixels, else None; the columns are then ordered row-major
            over exactly these axes: ``x.reshape(n, height, width, channels)`` is the images, and PyTorch's order is one
            ``transpose(0, 3, 1, 2)`` away.
        preprocessing: fitted on the training rows, for new rows.
        notices: how a file was read, which columns were changed or left out, and which classes are rare.

    Example:
        >>> wine = gs.data.load("wine")
        >>> wine.classes, len(wine.features)
        (('class_0', 'class_1', 'class_2'), 13)
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    features: Sequence[str]
    image: tuple[int, int, int] | None
    preprocessing: Preprocessing
    notices: tuple[str, ...] = ()


Rows = NDArray[np.int64]

_SMALL = 20  # rows up to which a split grows so that each class is in it
_DEFAULT = (0.2, 0.1)


def split_rows(
    y: NDArray[np.int64], *, test_size: float, validation_size: float, seed: int, train_rows: int | None = None
) -> tuple[Rows, Rows, Rows]:
    """Draw row numbers of training, validation and test by ``seed``, with the classes in proportion.

    ``y`` (n,) holds class indices. Both sizes are fractions of the rows that are divided: of all n, or, where a test
    split is given (the rows from ``train_rows`` on), of the training rows; ``test_size`` is then unused. A size of 0
    gives an empty split. The test rows don't depend on ``validation_size``.

    Small data: a split that is not empty has at least as many rows as there are classes, up to `_SMALL` rows; where
    there are more classes than rows in it, they are drawn without regard to classes. Every class has a training row,
    and one with a single row left to divide keeps it for training; where the sizes leave none, `InputError`.
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
        wanted = round(size * total)
        if kinds > max(wanted, _SMALL):
            return _cut_anyhow(y, rows, max(wanted, 1), seed)
        count = max(wanted, kinds)
        if kinds == 0 or len(divided) - count < kinds:
            raise InputError(_too_few(y, total, test_size, validation_size))
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


def _cut_anyhow(y: NDArray[np.int64], rows: Rows, count: int, seed: int) -> tuple[Rows, Rows]:
    """``count`` of the ``rows`` drawn at random, but for one of each class; the others, and these."""
    shuffled = np.random.default_rng(seed).permutation(rows)
    _, first = np.unique(y[shuffled], return_index=True)
    free = np.delete(np.arange(len(shuffled)), first)[:count]
    return np.delete(shuffled, free), shuffled[free]


def _too_few(y: NDArray[np.int64], total: int, test_size: float, validation_size: float) -> str:
    classes = len(np.unique(y))
    message = f"{total} rows of {classes} classes are too few to divide into rows to train on, to validate and to test"
    if (test_size, validation_size) != _DEFAULT:
        return f"{message} with test_size={test_size!r} and validation_size={validation_size!r}"
    return f"{message}: each class needs three rows at least, and many more to learn from"


def rare_classes(y: NDArray[np.int64], classes: Sequence[str], train: Rows, validation: Rows, test: Rows) -> str:
    """A notice about classes without a row to validate or to test, "" if all have one."""
    missing = [np.bincount(y[rows], minlength=len(classes)) == 0 for rows in (validation, test) if len(rows)]
    absent = np.flatnonzero(np.logical_or.reduce(missing)) if missing else np.zeros(0, np.int64)
    if not len(absent):
        return ""
    most = int(np.bincount(y, minlength=len(classes))[absent].max())
    shown = ", ".join(repr(classes[int(i)]) for i in absent[:5]) + (", …" if len(absent) > 5 else "")
    return (
        f"{len(absent):,} of {len(classes):,} classes ({shown}), of {most} row{'s' * (most > 1)} at most, are not "
        "among both the rows to validate and those to test: their accuracy is not reliable"
    )
