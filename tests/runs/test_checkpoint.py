from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
import torch

from gossamer import InputError
from gossamer.io.seal import seal
from gossamer.runs.checkpoint import read_checkpoint, taking_apart, write_checkpoint


def write(path: Path, content: object) -> None:
    """A checkpoint with a seal that is whole."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    path.write_bytes(seal(buffer.getvalue()))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sparse-0.pt"


def test_a_checkpoint_comes_back(path: Path) -> None:
    assert read_checkpoint(path) is None
    state = {"model": {"w": torch.arange(3)}, "history": [], "connectivity": {0: [torch.ones(2)]}}
    write_checkpoint(path, state)
    back = read_checkpoint(path)
    assert back is not None
    assert torch.equal(back["model"]["w"], torch.arange(3))
    assert torch.equal(back["connectivity"][0][0], torch.ones(2))


@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "list", "stateless"])
def test_a_damaged_checkpoint_is_refused_with_a_remedy(path: Path, damage: str) -> None:
    write_checkpoint(path, {"model": {"w": torch.arange(1000)}})
    if damage in ("list", "stateless"):
        write(path, [1] if damage == "list" else {"format": 1})
    else:
        content = path.read_bytes()
        path.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "noise": b"\x00garbage" * 99}[damage])
    with pytest.raises(InputError, match=r"sparse-0.pt is damaged \([^.]+\)\. Remove it to train this network again"):
        read_checkpoint(path)


def test_a_checkpoint_never_runs_code(path: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "trapped"),)

    write(path, {"format": 1, "state": {"model": Trap()}})
    with pytest.raises(InputError, match="is damaged"):
        read_checkpoint(path)
    assert not (tmp_path / "trapped").exists()


def test_a_newer_checkpoint_is_refused(path: Path) -> None:
    write(path, {"format": 2, "gossamer": "9.9", "state": {}})
    with pytest.raises(InputError, match=r"written by a newer gossamer \(9.9\)"):
        read_checkpoint(path)


def test_a_state_that_cannot_be_taken_apart_is_damaged(path: Path) -> None:
    for error, reason in (
        (KeyError("model"), "it has no model"),
        (ValueError("one. Two"), "one"),
        (TypeError(), "Type"),
    ):
        with pytest.raises(InputError, match=rf"sparse-0.pt is damaged \({reason}"), taking_apart(path):
            raise error
