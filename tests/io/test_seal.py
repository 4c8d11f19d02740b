from __future__ import annotations

import hashlib

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gossamer.io.seal import EMPTY_SEAL, BrokenSealError, seal, unseal


def test_the_digest_is_that_of_the_bytes_with_zeros_in_its_place() -> None:
    content = b"before " + EMPTY_SEAL.encode() + b" after"
    digest = hashlib.sha256(content).hexdigest()
    assert seal(content) == f"before gossamer-sha256:{digest} after".encode()


@given(st.binary(max_size=60), st.binary(max_size=60), st.booleans(), st.data())
def test_every_flip_is_found(before: bytes, after: bytes, inside: bool, data: st.DataObject) -> None:
    assume(b"gossamer-sha256:" not in before + after)
    content = seal(before + EMPTY_SEAL.encode() + after if inside else before + after)
    assert unseal(content) == content
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    flipped = bytearray(content)
    flipped[bit // 8] ^= 1 << bit % 8
    for wrong in (bytes(flipped), content[: bit // 8], content + b"x"):
        with pytest.raises(BrokenSealError):
            unseal(wrong)


def test_content_that_pretends_to_be_sealed_is_not_sealed() -> None:
    with pytest.raises(ValueError, match="must not contain"):
        seal(b"gossamer-sha256:me")
