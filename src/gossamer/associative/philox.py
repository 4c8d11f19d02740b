"""Random numbers that follow from a seed and a counter alone: Philox4x32-10.

There is no state to keep or to share, so units that learn in any order, on any number of threads and with any number of
pauses draw the same numbers.

References:
    Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["philox", "random_bytes", "random_words"]

_WORD = np.uint64(0xFFFFFFFF)
_FIRST, _SECOND = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_HALF = np.uint64(32)


def philox(counter: NDArray[np.uint64], seed: NDArray[np.uint64] | np.uint64) -> NDArray[np.uint64]:
    """Four random words of 32 bits for each counter.

    Args:
        counter: (…, 4), words of 32 bits.
        seed: (…), 64 bits, of the same shape or one that broadcasts to it.

    Returns:
        (…, 4), words of 32 bits.

    Example:
        >>> from gossamer.associative.philox import philox
        >>> [hex(word) for word in philox(np.zeros(4, np.uint64), np.uint64(0))]
        ['0x6627e8d5', '0xe169c58d', '0xbc57ac4c', '0x9b00dbd8']
    """
    c0, c1, c2, c3 = np.moveaxis(counter, -1, 0)
    seed = np.asarray(seed, np.uint64)
    key = [seed & _WORD, seed >> _HALF]
    for _ in range(10):
        first, second = c0 * _FIRST, c2 * _SECOND
        c0, c2 = (second >> _HALF) ^ c1 ^ key[0], (first >> _HALF) ^ c3 ^ key[1]
        c1, c3 = second & _WORD, first & _WORD
        key = [(word + np.uint64(weyl)) & _WORD for word, weyl in zip(key, _WEYL, strict=True)]
    return np.stack(np.broadcast_arrays(c0, c1, c2, c3), -1)


def random_words(seed: int | np.uint64, step: int, use: int, count: int) -> NDArray[np.uint64]:
    """``count`` random words of 32 bits for one ``use`` in one ``step``: word r is word r mod 4 of block ⌊r / 4⌋."""
    blocks = np.arange((count + 3) // 4, dtype=np.uint64)
    counter = np.empty((len(blocks), 4), np.uint64)
    counter[:, 0], counter[:, 1], counter[:, 2], counter[:, 3] = blocks, step & 0xFFFFFFFF, step >> 32, use
    return philox(counter, np.uint64(seed)).reshape(-1)[:count]


def random_bytes(seed: int | np.uint64, step: int, use: int, count: int) -> NDArray[np.uint64]:
    """``count`` random bytes: byte r is bits 8 (r mod 4) and up of word ⌊r / 4⌋ of `random_words`."""
    words = random_words(seed, step, use, (count + 3) // 4)
    shifts = np.arange(0, 32, 8, dtype=np.uint64)
    return np.asarray((words[:, None] >> shifts) & np.uint64(0xFF)).reshape(-1)[:count]
