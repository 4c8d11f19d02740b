from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save, save_file

from gossamer import InputError
from gossamer.data import Dataset
from gossamer.io.seal import EMPTY_SEAL, seal
from gossamer.models import MLP
from gossamer.runs import ModelFile, load_model, save_model

ARCHITECTURE: dict[str, Any] = {
    "in_features": 6,
    "hidden": [8, 7],
    "out_features": 3,
    "density": 0.3,
    "output_density": 0.5,
    "allocate": "er",
    "activation": "topk:4",
    "dropout": 0.1,
}


def write(path: Path, tensors: dict[str, torch.Tensor], header: dict[str, Any]) -> None:
    """Tensors and header as they are, with a seal that is whole."""
    path.write_bytes(
        seal(save(tensors, {"gossamer": json.dumps({"digest": EMPTY_SEAL} | header | {"digest": EMPTY_SEAL})}))
    )


@pytest.fixture
def file(dataset: Dataset) -> ModelFile:
    model = MLP(**ARCHITECTURE, generator=torch.Generator().manual_seed(5))
    return ModelFile(model, ARCHITECTURE, dataset.classes, dataset.preprocessing, "blobs", 3)


def opened(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["gossamer"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def test_a_model_comes_back_and_says_the_same(tmp_path: Path, file: ModelFile) -> None:
    save_model(tmp_path / "m.safetensors", file)
    before = torch.get_rng_state()
    back = load_model(tmp_path / "m.safetensors")
    assert torch.equal(before, torch.get_rng_state())
    x = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(file.model.eval()(x), back.model(x))
    assert not back.model.training
    assert (back.classes, back.data, back.seed) == (("a", "b", "c"), "blobs", 3)
    assert back.preprocessing.to_dict() == file.preprocessing.to_dict()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="doesn't exist"):
        load_model(tmp_path / "m.safetensors")


@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "flipped"])
def test_damage_is_found(tmp_path: Path, file: ModelFile, damage: str) -> None:
    path = tmp_path / "m.safetensors"
    save_model(path, file)
    content = bytearray(path.read_bytes())
    if damage == "flipped":  # one bit of the last weight
        content[-1] ^= 1
    damaged = {"cut": content[:-9], "empty": bytearray(), "noise": bytearray(b"x" * 500), "flipped": content}
    path.write_bytes(damaged[damage])
    with pytest.raises(InputError, match=r"m.safetensors is damaged"):
        load_model(path)


@pytest.mark.parametrize("header", ["{", "[]", "{}", '{"format": "one"}', '{"format": 1}'])
def test_a_damaged_header_is_found(tmp_path: Path, file: ModelFile, header: str) -> None:
    path = tmp_path / "m.safetensors"
    save_model(path, file)
    save_file(opened(path)[1], path, {"gossamer": header})
    with pytest.raises(InputError, match=r"m.safetensors is damaged"):
        load_model(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2, "gossamer": "9.9"}, r"written by a newer gossamer \(9.9\)"),
        ({"architecture": ARCHITECTURE | {"hidden": [8, 8]}}, "is damaged"),
        ({"architecture": {"layers": 3}}, "is damaged"),
        ({"preprocessing": {"version": 1}}, "is damaged"),
    ],
)
def test_what_the_header_says_is_checked(tmp_path: Path, file: ModelFile, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "m.safetensors"
    save_model(path, file)
    header, tensors = opened(path)
    write(path, tensors, header | change)
    with pytest.raises(InputError, match=message):
        load_model(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.fill_(torch.nan), "must hold finite numbers"),
        (lambda weights: weights.fill_(torch.inf), "must hold finite numbers"),
        (lambda weights: weights.to(torch.int32), r"weight_values must be float32 \(\d+,\), got int32"),
        (lambda weights: weights.double(), "must be float32 .*, got float64"),
        (lambda weights: weights[:-1], "must be a vector of 15 numbers"),
        (lambda weights: weights[:, None], "must be float32"),
    ],
)
def test_weights_of_another_kind_are_refused(
    tmp_path: Path, file: ModelFile, change: Callable[[torch.Tensor], torch.Tensor], message: str
) -> None:
    path = tmp_path / "m.safetensors"
    save_model(path, file)
    header, tensors = opened(path)
    tensors["linear1.weight_values"] = change(tensors["linear1.weight_values"].clone())
    write(path, tensors, header)
    with pytest.raises(InputError, match=message):
        load_model(path)


def test_tensors_that_are_missing_or_foreign_are_named(tmp_path: Path, file: ModelFile) -> None:
    path = tmp_path / "m.safetensors"
    save_model(path, file)
    header, tensors = opened(path)
    write(path, tensors | {"more": torch.ones(1)}, header)
    with pytest.raises(InputError, match="more is not of this network"):
        load_model(path)
    del tensors["linear1.bias"]
    write(path, tensors, header)
    with pytest.raises(InputError, match=r"linear1.bias is missing"):
        load_model(path)


def test_no_bit_of_the_header_can_flip_in_silence(tmp_path: Path, file: ModelFile) -> None:
    path = tmp_path / "m.safetensors"
    save_model(path, file)
    content = path.read_bytes()
    for place in range(0, 8 * (8 + int.from_bytes(content[:8], "little")), 7):
        flipped = bytearray(content)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        with pytest.raises(InputError, match=r"m.safetensors (is damaged|holds no network)"):
            load_model(path)


def test_equal_networks_are_equal_files(tmp_path: Path, file: ModelFile) -> None:
    for name in ("a", "b"):
        save_model(tmp_path / name, file)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_foreign_safetensors_file_is_refused(tmp_path: Path) -> None:
    save_file({"w": torch.ones(2)}, tmp_path / "m.safetensors")
    with pytest.raises(InputError, match="holds no network of gossamer"):
        load_model(tmp_path / "m.safetensors")
