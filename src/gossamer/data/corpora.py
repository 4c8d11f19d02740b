"""Data without classes: running text, and images to cut patches from."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gossamer.data.catalogue import find
from gossamer.data.formats import check_file, reading
from gossamer.errors import InputError, check_choice
from gossamer.extras import needs

__all__ = ["Text", "load_images", "load_text"]

END = "<eos>"
RARE = "<unk>"


@dataclass(frozen=True, eq=False)
class Text:
    """Token ids of three texts.

    Attributes:
        train: (n) int64, in reading order.
        validation: (n) int64.
        test: (n) int64.
        vocabulary: ``vocabulary[i]`` is the word of id ``i``.

    Example:
        >>> tokens = np.array([0, 1, 0])
        >>> text = gs.data.Text(tokens, tokens[:0], tokens[:0], ("the", "<eos>"))
        >>> " ".join(text.vocabulary[i] for i in text.train)
        'the <eos> the'
    """

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    test: NDArray[np.int64]
    vocabulary: tuple[str, ...]


def load_text(name: str) -> Text:
    """Load a text from the folder ``GOSSAMER_DATA``.

    Words are separated by spaces, and every line ends with a separate token, ``<eos>``. The vocabulary is that
    of the training text in order of appearance; a word found only in the others reads as ``<unk>``.

    Args:
        name: ``"wikitext2"``.

    Returns:
        The text.

    Raises:
        InputError: the name is unknown or its files are missing.

    Example:
        >>> text = gs.data.load_text("wikitext2")  # doctest: +SKIP
    """
    check_choice("name", name, ("wikitext2",))
    train, valid, test = find(tuple(f"wikitext2/wiki.{part}.tokens.zip" for part in ("train", "valid", "test")), name)
    words = _words(train)
    place = {word: i for i, word in enumerate(dict.fromkeys([*words, RARE]))}

    def ids(words: list[str]) -> NDArray[np.int64]:
        return np.array([place.get(word, place[RARE]) for word in words], dtype=np.int64)

    return Text(ids(words), ids(_words(valid)), ids(_words(test)), tuple(place))


def _words(path: Path) -> list[str]:
    check_file(path)
    with reading(path, "zip"), zipfile.ZipFile(path) as archive:
        members = archive.namelist()
        if len(members) != 1:
            raise ValueError(f"it holds {len(members)} files, not one")
        lines = archive.read(members[0]).decode("utf-8").split("\n")
    if not lines[-1]:
        lines.pop()  # the rest after the last line's end
    return [word for line in lines for word in (*line.split(), END)]


@needs("data", "gossamer.data")
def load_images(name: str) -> NDArray[np.uint8]:
    """Load grey images from the folder ``GOSSAMER_DATA``, ordered by file name.

    Args:
        name: ``"natural_images"``, of shape (400, 180, 180).

    Returns:
        The images (n, height, width) uint8.

    Raises:
        InputError: the name is unknown or its files are missing.

    Example:
        >>> images = gs.data.load_images("natural_images")  # doctest: +SKIP
    """
    from PIL import Image

    check_choice("name", name, ("natural_images",))
    (folder,) = find(("natural_images/Train400",), name)
    pictures = []
    for path in sorted(folder.glob("*.png")):
        check_file(path)
        with reading(path, "PNG"), path.open("rb") as file, Image.open(file) as picture:
            pictures.append(np.asarray(picture.convert("L")))
    if not pictures or len({picture.shape for picture in pictures}) > 1:
        raise InputError(f"{folder} must hold .png pictures of one size, got {len(pictures)} pictures")
    return np.stack(pictures)
