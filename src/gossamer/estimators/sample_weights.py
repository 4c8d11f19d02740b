"""Samples that count, their weights, and the samples that are held back."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.class_weight import compute_sample_weight

from gossamer.errors import InputError, check_fraction
from gossamer.estimators.scaling import Matrix, dense

__all__ = ["Targets", "class_numbers", "counting", "hold_out", "sample_weights"]

Targets = Any
"""(n) or (n, outputs): an array, or a sparse matrix in CSR form."""


def sample_weights(
    sample_weight: ArrayLike | None, rows: int, class_weight: Any = None, y: Targets = None
) -> NDArray[np.float64] | None:
    """Return how much each sample counts, its own weight times that of its class: (rows); None if all count the same.

    Args:
        sample_weight: (rows) finite numbers of at least 0, or None for ones.
        rows: the number of samples.
        class_weight: a weight for each class as a dict, "balanced", or None; for multilabel targets, a list of dicts.
        y: the targets that ``class_weight`` refers to.

    Raises:
        InputError: weights of another shape, below 0, infinite or NaN.
    """
    weight = None if sample_weight is None else _given(sample_weight, rows)
    if class_weight is None:
        return weight
    by_class: NDArray[np.float64] = compute_sample_weight(class_weight, dense(y))
    if not (by_class >= 0).all() or not np.isfinite(by_class).all():
        raise InputError(f"class_weight must hold finite numbers of at least 0, got {class_weight!r}")
    return by_class if weight is None else weight * by_class


def class_numbers(y: NDArray[Any], classes: NDArray[Any]) -> NDArray[np.int64]:
    """Return the place of each label in the sorted ``classes``, (n); `InputError` for a label that is none of them."""
    index = np.searchsorted(classes, y).clip(max=len(classes) - 1)
    if not np.array_equal(classes[index], y):
        unknown = np.setdiff1d(y, classes).tolist()
        raise InputError(f"y must hold the classes {classes.tolist()} only, got {unknown} too")
    return index.astype(np.int64)


def _given(sample_weight: ArrayLike, rows: int) -> NDArray[np.float64]:
    weight = np.asarray(sample_weight, dtype=np.float64)
    if weight.shape != (rows,):
        raise InputError(f"sample_weight must be {rows} numbers, got shape {weight.shape}")
    if not np.isfinite(weight).all() or weight.min() < 0:
        raise InputError("sample_weight must be finite numbers of at least 0, got NaN, infinite or negative ones")
    return weight


def counting(
    X: Matrix, y: Targets, weight: NDArray[np.float64] | None
) -> tuple[Matrix, Targets, NDArray[np.float64] | None]:
    """Return the samples with a ``weight`` above 0, and their weights, with mean 1; None if all count the same."""
    if weight is None:
        return X, y, None
    counts = weight > 0
    if not counts.any():
        raise InputError("sample_weight must have a weight above zero, got zero weights only")
    if not counts.all():
        X, y, weight = X[counts], y[counts], weight[counts]
    return X, y, weight / weight.mean()


def hold_out(
    targets: NDArray[Any], validation_fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide samples into numbers to train on and to validate on: classes in proportion, where each has two samples."""
    from sklearn.model_selection import ShuffleSplit, StratifiedShuffleSplit

    check_fraction("validation_fraction", validation_fraction, open_low=True, open_high=True)
    n = len(targets)
    count = max(1, round(validation_fraction * n))
    if count >= n:
        raise InputError(f"early_stopping needs samples to train on beside {count} to validate on, got {n} in all")
    sizes = np.unique(targets, return_counts=True)[1] if targets.ndim == 1 else np.zeros(1, np.int64)
    stratify = min(sizes) > 1 and len(sizes) <= min(count, n - count)
    splitter = (StratifiedShuffleSplit if stratify else ShuffleSplit)(1, test_size=count, random_state=seed)
    train, validation = next(splitter.split(targets, targets))
    return train, validation
