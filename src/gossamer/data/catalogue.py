"""Public data sets by name: bundled with scikit-learn, in the folder that ``GOSSAMER_DATA`` names, or on OpenML."""

from __future__ import annotations

import http.client
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.data.formats import numeric, read_idx, read_matlab, read_npz, read_numbers, read_sheet
from gossamer.data.table import Table, pixel_names
from gossamer.errors import InputError

__all__ = ["CORPORA", "MADELON_INFORMATIVE", "find", "names", "read_named"]

CORPORA = {"wikitext2": "load_text", "natural_images": "load_images"}
"""Data sets without classes, and the function that loads each."""

MADELON_INFORMATIVE = (28, 48, 64, 105, 128, 153, 241, 281, 318, 336, 338, 378, 433, 442, 451, 453, 455, 472, 475, 493)
"""Madelon's informative columns; the other 480 are noise."""

_FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_DIGITS = tuple(map(str, range(10)))


def names() -> tuple[str, ...]:
    """List the names that `load`, `load_text` or `load_images` accept.

    Returns:
        The names.

    Example:
        >>> "digits" in gs.data.names()
        True
    """
    return (*_BUNDLED, *_STORED, *CORPORA)


def read_named(name: str) -> Table:
    """Read the data set ``name``; `InputError` names ``GOSSAMER_DATA`` and the file if it is missing.

    OpenML serves those that it has where the folder doesn't. Two of them are not the same rows there: its isolet is the
    complete one (7797 rows) and its madelon comes without the given test split.
    """
    if name in _BUNDLED:
        return _BUNDLED[name]()
    stored = _STORED[name]
    try:
        paths = find(stored.files, name)
    except InputError as missing:
        if stored.openml is None:
            raise
        try:
            return stored.openml.fetch(name)
        except (OSError, ValueError, KeyError, EOFError, http.client.HTTPException) as error:
            raise InputError(f"{missing}; OpenML, the other source, failed: {error}") from error
    return stored.read(name, *paths)


def find(files: tuple[str, ...], name: str) -> tuple[Path, ...]:
    """Return the paths of ``files`` in the folder ``GOSSAMER_DATA``; `InputError` for the first that is missing."""
    folder = os.environ.get("GOSSAMER_DATA")
    if not folder:
        raise InputError(f"{name} needs the file {files[0]} in a folder that GOSSAMER_DATA names, which is not set")
    paths = tuple(Path(folder).expanduser() / file for file in files)
    for path in paths:
        if not path.exists():
            raise InputError(f"{name} needs the file {path} in the folder that GOSSAMER_DATA names, got none there")
    return paths


@dataclass(frozen=True)
class _OpenML:
    """A data set on OpenML by its number, and the meaning of its columns."""

    number: int
    image: tuple[int, int, int] | None = None
    classes: tuple[str, ...] | None = None
    train_rows: int | None = None

    def fetch(self, name: str) -> Table:
        """Download the data set."""
        from sklearn.datasets import fetch_openml

        with _one_word_about_retries(name):
            found = fetch_openml(data_id=self.number, as_frame=False, parser="auto")
        x = found.data.toarray() if hasattr(found.data, "toarray") else np.asarray(found.data)
        if self.image is not None:
            return _image_table(name, x.astype(np.uint8), found.target, self.image, self.classes, self.train_rows)
        x = numeric(x, name).astype(np.float32)
        return Table(name, x, tuple(map(str, found.feature_names)), found.target, "class")


_RETRY = re.compile("A network error occurred|Invalid cache|Downloaded file could have been corrupted")


@contextmanager
def _one_word_about_retries(name: str) -> Iterator[None]:
    """scikit-learn warns at each attempt, with a line of its source; instead, one line is logged at the first."""
    said = False
    with warnings.catch_warnings():
        show = warnings.showwarning

        def say(message: Warning | str, *rest: Any, **others: Any) -> None:
            nonlocal said
            if not _RETRY.match(str(message)):
                show(message, *rest, **others)
            elif not said:
                said = True
                logging.getLogger(__name__).warning("OpenML did not send %s whole: trying again", name)

        warnings.showwarning = say
        for category in (UserWarning, RuntimeWarning):
            warnings.filterwarnings("always", _RETRY.pattern, category)
        yield


@dataclass(frozen=True)
class _Stored:
    """A data set in files of the folder ``GOSSAMER_DATA``, or on OpenML."""

    files: tuple[str, ...]
    read: Callable[..., Table]
    openml: _OpenML | None = None


def _image_table(
    name: str,
    x: NDArray[Any],
    labels: Any,
    image: tuple[int, int, int],
    classes: tuple[str, ...] | None,
    train_rows: int | None = None,
    divisor: float = 255.0,
) -> Table:
    """``x`` (n, …), pixels in the order (height, width, channels); labels are 0, 1, … where ``classes`` names them."""
    flat, codes = x.reshape(len(x), -1), labels if classes is None else np.asarray(labels).astype(np.int64)
    if flat.shape != (len(codes), int(np.prod(image))):
        raise InputError(f"{name} must have {len(codes)} images of {image}, got an array of shape {x.shape}")
    if classes is not None and (codes.min() < 0 or codes.max() >= len(classes)):
        raise InputError(f"{name} must have labels from 0 to {len(classes) - 1}, got {codes.min()} to {codes.max()}")
    return Table(name, flat, pixel_names(*image), codes, "class", classes, "scale", divisor, image, train_rows)


def _digits() -> Table:
    from sklearn.datasets import load_digits

    found = load_digits()
    return _image_table("digits", found.data.astype(np.uint8), found.target, (8, 8, 1), _DIGITS, divisor=16.0)


def _breast_cancer() -> Table:
    from sklearn.datasets import load_breast_cancer

    return _bundle_table("breast_cancer", load_breast_cancer())


def _wine() -> Table:
    from sklearn.datasets import load_wine

    return _bundle_table("wine", load_wine())


def _bundle_table(name: str, found: Any) -> Table:
    columns, classes = tuple(map(str, found.feature_names)), tuple(map(str, found.target_names))
    return Table(name, found.data, columns, found.target.astype(np.int64), "class", classes)


def _idx(classes: tuple[str, ...]) -> Callable[..., Table]:
    def read(name: str, *paths: Path) -> Table:
        x, y, x_test, y_test = map(read_idx, paths)
        return _image_table(
            name, np.concatenate([x, x_test]), np.concatenate([y, y_test]), (28, 28, 1), classes, train_rows=len(x)
        )

    return read


def _cifar10(name: str, *paths: Path) -> Table:
    *sheets, train_labels, test_labels = paths
    y, y_test = (read_npz(path)["y"] for path in (train_labels, test_labels))
    with ThreadPoolExecutor(len(sheets)) as pool:  # Pillow decodes outside the interpreter's lock
        x = np.concatenate(list(pool.map(lambda path: read_sheet(path, 32), sheets)))
    return _image_table(name, x, np.concatenate([y, y_test]), (32, 32, 3), _CIFAR10, train_rows=len(y))


def _madelon(name: str, *paths: Path) -> Table:
    x, y, x_test, y_test = map(read_numbers, paths)
    labels = np.concatenate([y, y_test])[:, 0]
    stacked = np.concatenate([x, x_test])
    return Table(name, stacked, tuple(f"x{i}" for i in range(x.shape[1])), labels, "class", train_rows=len(x))


def _matlab(kind: str) -> Callable[..., Table]:
    def read(name: str, path: Path) -> Table:
        x, y = read_matlab(path)
        return Table(name, x, tuple(f"x{i}" for i in range(x.shape[1])), y, "class", kind=kind)

    return read


def _coil20(name: str, path: Path) -> Table:
    x, y = read_matlab(path)
    # MATLAB flattens an image column by column: turn each so that rows come first.
    images = x.astype(np.float32).reshape(-1, 32, 32).swapaxes(1, 2)
    return _image_table(name, images, y, (32, 32, 1), None, divisor=1.0)


def _idx_files(folder: str) -> tuple[str, ...]:
    stems = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    return tuple(f"{folder}/{stem}-ubyte.gz" for stem in stems)


_BUNDLED: dict[str, Callable[[], Table]] = {"digits": _digits, "breast_cancer": _breast_cancer, "wine": _wine}

_STORED: dict[str, _Stored] = {
    "mnist": _Stored(_idx_files("mnist"), _idx(_DIGITS), _OpenML(554, (28, 28, 1), _DIGITS, 60000)),
    "fashion_mnist": _Stored(_idx_files("fashion_mnist"), _idx(_FASHION), _OpenML(40996, (28, 28, 1), _FASHION, 60000)),
    "cifar10": _Stored(
        (
            *(f"cifar10/train_{i}.webp" for i in range(5)),
            "cifar10/test_0.webp",
            "cifar10/train_labels.npz",
            "cifar10/test_labels.npz",
        ),
        _cifar10,
    ),
    "madelon": _Stored(
        tuple(f"madelon/madelon_{part}.{form}" for part in ("train", "valid") for form in ("data", "labels")),
        _madelon,
        _OpenML(1485),
    ),
    "isolet": _Stored(("features/Isolet.mat",), _matlab("table"), _OpenML(300)),
    "coil20": _Stored(("features/COIL20.mat",), _coil20),
    "allaml": _Stored(("features/ALLAML.mat",), _matlab("table")),
    "glioma": _Stored(("features/GLIOMA.mat",), _matlab("table")),
    "arcene": _Stored(("features/arcene.mat",), _matlab("table"), _OpenML(1458)),
    "basehock": _Stored(("features/BASEHOCK.mat",), _matlab("counts")),
    "pcmac": _Stored(("features/PCMAC.mat",), _matlab("counts")),
}
