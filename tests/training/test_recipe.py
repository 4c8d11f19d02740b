"""The choices of a recipe for networks of images."""

from __future__ import annotations

from typing import Any

import pytest

from gossamer.errors import InputError
from gossamer.training.recipe import Recipe, completed

IMAGES: dict[str, Any] = {"hidden": (), "activation": "relu"}


@pytest.mark.parametrize(
    ("given", "samples", "expected"),
    [
        ({"model": "vgg"}, 1258, IMAGES | {"density": 0.2, "epochs": 25, "batch_size": 32}),
        ({"model": "wide-residual", "rewire": "set"}, 54000, IMAGES | {"density": 0.2, "epochs": 5, "rewire": "SET"}),
        ({"model": "vgg", "hebbian_blocks": 3}, 12000, IMAGES | {"density": 1.0, "rewire": "none", "epochs": 11}),
        ({"model": "vgg", "hebbian_blocks": 3, "density": 0.4}, 1258, IMAGES | {"density": 0.4}),
        ({"model": "vgg", "density": 1.0, "activation": "topk:5"}, 1258, {"rewire": "none", "activation": "topk:5"}),
        ({"model": "vgg", "prune": "gap:0.1"}, 1258, {"rewire": "none", "density": 0.5, "allocate": "uniform"}),
        ({"model": "vgg", "epochs": 3, "batch_size": 50}, 1258, {"epochs": 3, "batch_size": 50}),
    ],
)
def test_choices(given: dict[str, Any], samples: int, expected: dict[str, Any]) -> None:
    found = completed(given, samples, 64)
    assert {name: found.get(name) for name in expected} == expected
    assert "rewire" in expected or "rewire" not in found
    Recipe(**found)


def test_a_multilayer_perceptron_has_the_choices_that_it_had() -> None:
    assert completed({"model": "mlp"}, 1258, 64) == {"model": "mlp"} | completed({}, 1258, 64)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hebbian_blocks": -1}, "hebbian_blocks must be a whole number of at least 0"),
        ({"hebbian_blocks": 1.0}, "hebbian_blocks must be of type int"),
        ({"hebbian_blocks": 1, "hebbian_anti": -0.1}, "hebbian_anti must be a finite number of at least 0"),
        ({"hebbian_anti": 0.2}, r"hebbian_anti must be 0.1 without hebbian_blocks, got 0.2"),
        ({"model": 3}, "model must be of type str"),
        ({"augment": "shift"}, "augment must be shift:PIXELS"),
    ],
)
def test_mistakes_are_named(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"model": "vgg", "hidden": (), "epochs": 1, "batch_size": 5}
    with pytest.raises(InputError, match=message):
        Recipe(**(arguments | change))
