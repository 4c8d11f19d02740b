"""A seal: the SHA-256 digest of all other bytes of a file, inside the file.

The same seal serves every format. Its place is the first ``gossamer-sha256:`` followed by 64 hexadecimal digits; the
digest is taken with zeros in their place. In a text file it is in a key or a comment that the writer chose
(`EMPTY_SEAL` marks the place), in a binary file at the end, where readers of zip archives ignore it.
"""

from __future__ import annotations

import hashlib

__all__ = ["EMPTY_SEAL", "BrokenSealError", "seal", "unseal"]

_MARK = b"gossamer-sha256:"
_DIGITS = 64

EMPTY_SEAL = (_MARK + b"0" * _DIGITS).decode()
"""Placeholder of the seal while it is computed."""


class BrokenSealError(ValueError):
    """The bytes carry no seal, or are not those that were sealed."""


def seal(content: bytes) -> bytes:
    """``content`` with its digest in the place of the first `EMPTY_SEAL`, or at the end if it has none.

    Example:
        >>> from gossamer.io.seal import seal, unseal
        >>> unseal(seal(b"three weights"))[:13]
        b'three weights'
    """
    if content.find(EMPTY_SEAL.encode()) != content.find(_MARK):
        raise ValueError(f"content to be sealed must not contain {_MARK.decode()!r}")
    if _MARK not in content:
        content += EMPTY_SEAL.encode()
    place = content.index(_MARK) + len(_MARK)
    return content[:place] + hashlib.sha256(content).hexdigest().encode() + content[place + _DIGITS :]


def unseal(content: bytes) -> bytes:
    """``content`` itself if its seal is whole.

    Raises:
        BrokenSealError: there is no seal, or the bytes are others than those that were sealed.
    """
    place = content.find(_MARK) + len(_MARK)
    if place < len(_MARK):
        raise BrokenSealError("it carries no checksum")
    digest = hashlib.sha256(content[:place])
    digest.update(b"0" * _DIGITS)
    digest.update(content[place + _DIGITS :])
    if digest.hexdigest().encode() != content[place : place + _DIGITS]:
        raise BrokenSealError("its bytes don't match their checksum")
    return content
