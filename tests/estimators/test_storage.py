from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save, save_file
from scipy.sparse import csr_array

import gossamer as gs
from gossamer import InputError
from gossamer.estimators import SparseClassifier, SparseRegressor
from gossamer.io.seal import EMPTY_SEAL, seal

pytestmark = pytest.mark.usefixtures("one_thread")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 6))
Y = np.arange(40) % 3


def small(**arguments: Any) -> SparseClassifier:
    defaults: dict[str, Any] = {"hidden": (8,), "max_epochs": 3, "random_state": 0}
    return SparseClassifier(**(defaults | arguments))


def opened(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["gossamer-estimator"])
        return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


@pytest.mark.parametrize(
    "classes",
    [
        np.array(["b", "c", "ü"]),
        np.array(["a", "b", "c"], dtype=object),
        np.array([1.0, 2.0, 3.0], dtype=np.float32),
        np.array([1, 2, 2**40]),
        np.array([0, 1, 255], dtype=np.uint8),
    ],
)
@pytest.mark.parametrize("sparse", [False, True])
def test_a_classifier_comes_back_and_says_the_same(tmp_path: Path, classes: NDArray[Any], sparse: bool) -> None:
    x = csr_array(X) if sparse else X
    weights = {classes[0].item() if hasattr(classes[0], "item") else classes[0]: 2.0}
    classifier = small(class_weight=weights, activation="srelu", rewire="CoDACoRSET").fit(x, classes[Y])
    classifier.save(tmp_path / "c.safetensors")
    before = torch.get_rng_state()
    back = SparseClassifier.load(str(tmp_path / "c.safetensors"))
    assert torch.equal(before, torch.get_rng_state())
    assert_array_equal(back.predict_proba(x), classifier.predict_proba(x))
    assert_array_equal(back.predict(X), classifier.predict(X))
    assert_array_equal(back.classes_, classes)
    assert back.classes_.dtype == classes.dtype
    assert_array_equal(back.feature_importances_, classifier.feature_importances_)
    assert_array_equal(back.input_degrees_, classifier.input_degrees_)
    assert back.get_params() == classifier.get_params()
    assert (back.n_iter_, back.loss_curve_) == (3, classifier.loss_curve_)
    assert_array_equal(back.partial_fit(X, classes[Y]).predict(X).shape, 40)


def test_names_labels_and_several_targets_come_back(tmp_path: Path) -> None:
    frame = pd.DataFrame(X, columns=list("uvwxyz"))
    labels = small(early_stopping=True).fit(frame, np.eye(3, dtype=int)[Y])
    labels.save(tmp_path / "l")
    back = SparseClassifier.load(tmp_path / "l")
    assert_array_equal(back.feature_names_in_, list("uvwxyz"))
    assert_array_equal(back.predict(frame), labels.predict(frame))
    assert back.validation_scores_ == labels.validation_scores_
    for y in (X[:, 0], X[:, :2]):
        numbers = SparseRegressor((8,), max_epochs=3, dtype="float32").fit(X, y)
        numbers.save(tmp_path / "n")
        assert_array_equal(SparseRegressor.load(tmp_path / "n").predict(X), numbers.predict(X))


def test_what_a_file_does_not_hold(tmp_path: Path) -> None:
    classifier = small(rewire=(gs.drop.magnitude(0.2), gs.grow.uniform()), random_state=np.random.RandomState(0))
    with pytest.warns(UserWarning, match=r"won't hold rewire=\(Drop"):
        classifier.fit(X, Y).save(tmp_path / "c")
    back = SparseClassifier.load(tmp_path / "c")
    assert (back.rewire, back.random_state) == ("none", None)
    assert_array_equal(back.predict_proba(X), classifier.predict_proba(X))
    classes = np.array([(1, 2), 1, 2], dtype=object)
    named = small(class_weight={0: 1.0}).fit(X, Y)
    named.classes_ = np.array([None, classes, {1}], dtype=object)
    with pytest.raises(InputError, match="a file can hold numbers, strings"):
        named.save(tmp_path / "d")
    assert not (tmp_path / "d").exists()


def test_a_file_that_can_not_be_written_or_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't be written"):
        small().fit(X, Y).save(tmp_path / "no" / "c")
    with pytest.raises(InputError, match="doesn't exist"):
        SparseClassifier.load(tmp_path / "c")


def test_a_file_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "c"
    small().fit(X, Y).save(path)
    with pytest.raises(InputError, match=r"holds a SparseClassifier: load it with SparseClassifier.load"):
        SparseRegressor.load(path)
    save_file({"w": torch.ones(2)}, path)
    with pytest.raises(InputError, match="holds no estimator of gossamer"):
        SparseClassifier.load(path)


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped"])
def test_damage_is_found(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "c"
    small().fit(X, Y).save(path)
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[-1] ^= 1
    path.write_bytes({"cut": content[:-9], "empty": bytearray(), "flipped": content}[damage])
    with pytest.raises(InputError, match="is damaged"):
        SparseClassifier.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2, "gossamer": "9.9"}, r"written by a newer gossamer \(9.9\)"),
        ({"parameters": {"layers": 3}}, "is damaged"),
        ({"fitted": {}}, "is damaged"),
    ],
)
def test_what_the_header_says_is_checked(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "c"
    small().fit(X, Y).save(path)
    header, tensors = opened(path)
    changed = json.dumps(header | change | {"digest": EMPTY_SEAL})  # a seal that is whole
    path.write_bytes(seal(save(tensors, {"gossamer-estimator": changed})))
    with pytest.raises(InputError, match=message):
        SparseClassifier.load(path)


def test_equal_estimators_are_equal_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        small().fit(X, Y).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_noise_in_training_comes_back_as_strings(tmp_path: Path) -> None:
    noise = {"activation": "relu+sparseout:q=1.5,p=0.3", "weight_noise": "bridgeout:q=1,p=0.2"}
    fitted, plain = small(**noise).fit(X, Y), small(activation="relu").fit(X, Y)
    assert not np.array_equal(fitted.predict_proba(X), plain.predict_proba(X))
    assert_array_equal(fitted.predict_proba(X), small(**noise).fit(X, Y).predict_proba(X))  # seeds decide
    fitted.save(tmp_path / "c")
    loaded = SparseClassifier.load(tmp_path / "c")
    assert loaded.get_params()["weight_noise"] == noise["weight_noise"]
    assert_array_equal(loaded.predict_proba(X), fitted.predict_proba(X))
    for wrong in ({"activation": "relu+sparseout:p=0.3"}, {"weight_noise": "bridgeout:q=-1"}):
        with pytest.raises(InputError, match="q"):
            small(**wrong).fit(X, Y)
