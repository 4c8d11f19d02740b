"""Networks are found by name, and architectures are plain data that build them again."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from gossamer.errors import InputError
from gossamer.models.mlp import MLP
from gossamer.models.named import ModelName, from_architecture, title
from gossamer.models.vgg import SMALL, VGG, VGG16
from gossamer.models.wide_residual import WideResidual

pytestmark = pytest.mark.usefixtures("one_thread")

IMAGE: dict[str, Any] = {"in_channels": 1, "classes": 3, "image_size": [8, 8]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mlp", ModelName("mlp")),
        ("VGG", ModelName("vgg")),
        ("vgg16", ModelName("vgg", VGG16)),
        ("vgg:8-8-M-16-m", ModelName("vgg", (8, 8, "M", 16, "M"))),
        (" wide_residual ", ModelName("wide-residual")),
        ("wide-residual:22-8", ModelName("wide-residual", depth=22, width=8)),
    ],
)
def test_names(text: str, expected: ModelName) -> None:
    assert ModelName.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cnn",
        "vgg:",
        "vgg:M",
        "vgg:8-x",
        "vgg:8--8",
        "vgg:0",
        "vgg16:8",
        "mlp:8",
        "wide-residual:16",
        "wide-residual:a-b",
    ],
)
def test_other_names_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"model must be mlp, vgg, vgg16, .* got"):
        ModelName.parse(text)


def test_the_size_of_the_images_decides_where_the_name_does_not() -> None:
    vgg, residual = ModelName.parse("vgg"), ModelName.parse("wide-residual")
    assert vgg.sized(8, 8) == vgg.sized(28, 28) == vgg.sized(31, 64) == {"layers": list(SMALL)}
    assert vgg.sized(32, 32) == {"layers": list(VGG16)}
    assert residual.sized(28, 28) == {"depth": 10, "width": 2}
    assert residual.sized(32, 40) == {"depth": 16, "width": 4}
    assert ModelName.parse("vgg:8-M").sized(64, 64) == {"layers": [8, "M"]}
    assert ModelName.parse("wide-residual:10-1").sized(64, 64) == {"depth": 10, "width": 1}


@pytest.mark.parametrize(
    ("architecture", "kind", "name"),
    [
        ({"in_features": 4, "hidden": [5, 6], "out_features": 3, "density": 0.5}, MLP, "MLP 4-5-6-3"),
        ({"model": "vgg", "layers": [4, "M", 8], "hebbian_blocks": 2} | IMAGE, VGG, "VGG 4-M-8, 2 HaH blocks"),
        ({"model": "vgg", "layers": [4], "hebbian_blocks": 0, "density": 0.4} | IMAGE, VGG, "VGG 4"),
        ({"model": "wide-residual", "depth": 10, "width": 1} | IMAGE, WideResidual, "WRN-10-1"),
    ],
)
def test_an_architecture_builds_its_network_again(architecture: dict[str, Any], kind: type, name: str) -> None:
    stored = json.loads(json.dumps(architecture))
    nets = [from_architecture(stored, torch.Generator().manual_seed(0)) for _ in range(2)]
    assert type(nets[0]) is kind
    states = [net.state_dict() for net in nets]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert title(stored) == name
    assert stored == json.loads(json.dumps(architecture))


def test_the_title_of_vgg16() -> None:
    assert title({"model": "vgg", "layers": list(VGG16), "hebbian_blocks": 6}) == "VGG16, 6 HaH blocks"


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(InputError, match="model must be one of 'mlp', 'vgg', 'wide-residual', got 'x'"):
        from_architecture({"model": "x"})
