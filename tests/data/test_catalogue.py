from __future__ import annotations

import gzip
import os
import struct
import urllib.error
import warnings
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import sklearn.datasets
from PIL import Image
from scipy.io import savemat

from gossamer.data import load, load_images, load_text, names, read_features
from gossamer.data.formats import read_idx, read_matlab, read_sheet
from gossamer.errors import InputError

STORE = os.environ.get("GOSSAMER_DATA")
stored = pytest.mark.skipif(STORE is None, reason="GOSSAMER_DATA names no folder")

SHAPES: dict[str, tuple[int, int, int, int, tuple[int, int, int] | None]] = {
    # name: training and validation rows, test rows, features, classes, image
    "mnist": (60000, 10000, 784, 10, (28, 28, 1)),
    "fashion_mnist": (60000, 10000, 784, 10, (28, 28, 1)),
    "cifar10": (50000, 10000, 3072, 10, (32, 32, 3)),
    "madelon": (2000, 600, 500, 2, None),
    "isolet": (1248, 312, 617, 26, None),
    "coil20": (1152, 288, 1024, 20, (32, 32, 1)),
    "allaml": (58, 14, 7129, 2, None),
    "glioma": (40, 10, 4434, 4, None),
    "arcene": (160, 40, 10000, 2, None),
    "basehock": (1594, 399, 4862, 2, None),
    "pcmac": (1554, 389, 3289, 2, None),
}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in place of the real one, and no network."""

    def unreachable(**_: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setenv("GOSSAMER_DATA", str(tmp_path))
    monkeypatch.setattr(sklearn.datasets, "fetch_openml", unreachable)
    return tmp_path


def idx(array: np.ndarray[Any, Any], kind: int = 8) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, kind, array.ndim, *array.shape) + array.tobytes()


def write_mnist(folder: Path, name: str = "mnist") -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (60, 28, 28), dtype=np.uint8), np.arange(60, dtype=np.uint8) % 10
    (folder / name).mkdir()
    for part, rows in (("train", slice(0, 40)), ("t10k", slice(40, 60))):
        (folder / name / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(x[rows])))
        (folder / name / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(y[rows])))
    return x, y


@pytest.mark.parametrize(
    ("name", "rows", "features", "classes", "image"),
    [("digits", 1797, 64, 10, (8, 8, 1)), ("breast_cancer", 569, 30, 2, None), ("wine", 178, 13, 3, None)],
)
def test_bundled(name: str, rows: int, features: int, classes: int, image: tuple[int, int, int] | None) -> None:
    data = load(name)
    assert len(data.train) + len(data.validation) + len(data.test) == rows
    assert (len(data.features), len(data.classes), data.image) == (features, classes, image)
    for split in (data.train, data.validation, data.test):
        assert split.x.shape == (len(split.y), features)
        assert (split.x.dtype.name, split.y.dtype.name) == ("float32", "int64")
        assert split.x.flags.c_contiguous
        assert np.isfinite(split.x).all()


def test_digits_are_images_between_0_and_1() -> None:
    data = load("digits")
    assert (data.train.x.min(), data.train.x.max()) == (0, 1)
    assert data.features[:9] == (*(f"pixel_0_{j}" for j in range(8)), "pixel_1_0")
    assert data.preprocessing.kind == "scale"


def test_all_rows_of_a_name() -> None:
    data = load("wine")
    x, y = read_features("wine", data.preprocessing)
    assert y is not None
    np.testing.assert_array_equal(y, sklearn.datasets.load_wine().target)
    assert x.shape == (178, 13)
    with pytest.raises(InputError, match="64 columns"):
        read_features("wine", load("digits").preprocessing)


def test_labels_that_another_data_set_has() -> None:
    fitted = load("digits").preprocessing
    renamed = type(fitted).from_dict({**fitted.to_dict(), "classes": ["zero", "one"]})
    assert read_features("digits", renamed)[1] is None


def test_names_ignore_case_and_dashes() -> None:
    assert load("Breast-Cancer").name == "breast_cancer"
    assert len(names()) == len(set(names())) == 16


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("minst", "did you mean 'mnist'"),
        ("cifar", "did you mean 'cifar10'"),
        ("xyzzy", "names: digits, breast_cancer"),
        ("", "names: digits"),
        ("wikitext2", r"load_text\('wikitext2'\)"),
        ("natural_images", r"load_images\('natural_images'\)"),
    ],
)
def test_names_that_load_nothing(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(name)


def test_a_name_has_its_own_target() -> None:
    with pytest.raises(InputError, match="target must be None for the data set 'wine'"):
        load("wine", target="class_0")


def test_mnist_files(store: Path) -> None:
    x, y = write_mnist(store)
    data = load("mnist", validation_size=0.25)
    np.testing.assert_array_equal(data.test.y, y[40:])
    np.testing.assert_array_equal(data.test.x, x[40:].reshape(20, 784) / np.float32(255))
    assert (len(data.train), len(data.validation)) == (30, 10)


def test_fashion_classes_are_in_the_order_of_their_numbers(store: Path) -> None:
    write_mnist(store, "fashion_mnist")
    data = load("fashion_mnist")
    assert data.classes[:2] == ("T-shirt/top", "Trouser")
    assert data.test.y.tolist() == [i % 10 for i in range(20)]
    _, y = read_features("fashion_mnist", data.preprocessing)
    assert y is not None
    assert y.tolist() == [i % 10 for i in range(60)]


def test_mnist_files_that_do_not_fit(store: Path) -> None:
    write_mnist(store)
    path = store / "mnist" / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(idx(np.zeros(3, np.uint8))))
    with pytest.raises(InputError, match="mnist must have 43 images"):
        load("mnist")
    path.write_bytes(gzip.compress(idx(np.full(20, 10, np.uint8))))
    with pytest.raises(InputError, match="labels from 0 to 9, got 0 to 10"):
        load("mnist")


def test_idx_that_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    array = np.random.default_rng(0).integers(0, 256, (3, 4, 5), dtype=np.uint8)
    whole = gzip.compress(idx(array))
    path.write_bytes(whole)
    np.testing.assert_array_equal(read_idx(path), array)
    contents = [whole[:5], whole[: len(whole) // 2], whole[:-1], b"not gzip", gzip.compress(b"\0\0")]
    contents += [gzip.compress(idx(array)[:-1]), gzip.compress(idx(array) + b"\0"), gzip.compress(idx(array, 9))]
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(InputError, match="whole gzipped IDX file"):
            read_idx(path)


def test_sheet(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), dtype=np.uint8)
    sheet = images.reshape(2, 3, 4, 4, 3).swapaxes(1, 2).reshape(8, 12, 3)
    path = tmp_path / "a.webp"
    Image.fromarray(sheet).save(path, lossless=True)
    np.testing.assert_array_equal(read_sheet(path, 4), images)
    with pytest.raises(InputError, match="which 5 doesn't divide"):
        read_sheet(path, 5)
    whole = path.read_bytes()
    for size in (3, len(whole) // 2):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match="whole WebP file"):
            read_sheet(path, 4)


def test_matlab(store: Path) -> None:
    (store / "features").mkdir()
    path = store / "features" / "PCMAC.mat"
    x, y = np.random.default_rng(0).integers(0, 3, (20, 5), dtype=np.uint8), np.array([[1], [2]] * 10)
    savemat(path, {"X": x, "Y": y}, do_compression=True)
    data = load("pcmac", test_size=0, validation_size=0)
    assert (data.preprocessing.kind, data.classes) == ("counts", ("1", "2"))
    got, _ = read_features("pcmac", data.preprocessing)
    np.testing.assert_allclose(got, np.log1p(x, dtype=np.float64), rtol=1e-6)
    whole = path.read_bytes()
    for size in (50, 130, len(whole) // 2):
        path.write_bytes(whole[:size])
        with pytest.raises(InputError, match="whole MATLAB file"):
            read_matlab(path)
    savemat(path, {"X": x, "Y": y[:3]})
    with pytest.raises(InputError, match="3 labels"):
        read_matlab(path)


def test_coil_images_stand_upright(store: Path) -> None:
    (store / "features").mkdir()
    images = np.random.default_rng(0).random((20, 32, 32))
    flat = images.swapaxes(1, 2).reshape(20, 1024)
    savemat(store / "features" / "COIL20.mat", {"X": flat, "Y": np.array([[1], [2]] * 10)})
    data = load("coil20")
    got, _ = read_features("coil20", data.preprocessing)
    np.testing.assert_allclose(got.reshape(20, 32, 32), images, rtol=1e-6)


def test_madelon_keeps_its_split(store: Path) -> None:
    (store / "madelon").mkdir()
    for part, rows in (("train", 20), ("valid", 10)):
        (store / "madelon" / f"madelon_{part}.data").write_text("481 477 \n490 470 \n" * (rows // 2))
        (store / "madelon" / f"madelon_{part}.labels").write_text("-1\n1\n" * (rows // 2))
    data = load("madelon")
    assert (len(data.train), len(data.validation), len(data.test)) == (18, 2, 10)
    assert data.classes == ("-1", "1")
    (store / "madelon" / "madelon_train.data").write_text("481 477\n490")
    with pytest.raises(InputError, match="whole text file"):
        load("madelon")


@pytest.mark.parametrize("name", [*SHAPES, *("wikitext2", "natural_images")])
def test_nowhere_to_be_found(store: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    reader: Any = {"wikitext2": load_text, "natural_images": load_images}.get(name, load)
    with pytest.raises(InputError, match=rf"{name} needs the file .*{store.name}.* GOSSAMER_DATA"):
        reader(name)
    monkeypatch.delenv("GOSSAMER_DATA")
    with pytest.raises(InputError, match=rf"{name} needs the file .* GOSSAMER_DATA names, which is not set"):
        reader(name)


def test_openml_failure_is_told(store: Path) -> None:
    with pytest.raises(InputError, match=r"OpenML, the other source, failed: .*no network"):
        load("mnist")


def test_openml_serves_what_the_folder_lacks(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = np.random.default_rng(0).random((40, 5)), np.array(["1", "2"] * 20, dtype=object)
    asked: list[int] = []

    def fetch(*, data_id: int, as_frame: bool, parser: str) -> SimpleNamespace:
        asked.append(data_id)
        return SimpleNamespace(data=x, target=y, feature_names=list("abcde"))

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch)
    data = load("madelon")
    assert asked == [1485]
    assert (data.features, data.classes, len(data.test)) == (tuple("abcde"), ("1", "2"), 8)
    with pytest.raises(InputError, match="mnist must have 40 images"):
        load("mnist")


@pytest.mark.parametrize("succeeds", [True, False])
def test_attempts_at_openml_are_told_once(
    succeeds: bool, store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fetch(**_: object) -> SimpleNamespace:  # as scikit-learn does
        for _attempt in range(3):
            url = "https://api.openml.org/data/v1/download/1"
            warnings.warn(f"A network error occurred while downloading {url}. Retrying...", stacklevel=2)
        warnings.warn("Invalid cache, redownloading file to madelon.gz", RuntimeWarning, stacklevel=2)
        if not succeeds:
            raise urllib.error.URLError("no route to host")
        return SimpleNamespace(
            data=np.eye(40, 5), target=np.array(["1", "2"] * 20, dtype=object), feature_names=list("abcde")
        )

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch)
    if succeeds:
        load("madelon")
    else:
        with pytest.raises(InputError, match=r"OpenML, the other source, failed: .*no route to host"):
            load("madelon")
    assert [record.getMessage() for record in caplog.records] == ["OpenML did not send madelon whole: trying again"]


def test_other_warnings_of_scikit_learn_come_through(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(**_: object) -> None:
        warnings.warn("OpenML registered a problem with the dataset", stacklevel=2)

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch)
    with pytest.raises(UserWarning, match="registered a problem"):
        load("madelon")


def write_text(folder: Path, **parts: str) -> None:
    (folder / "wikitext2").mkdir(exist_ok=True)
    for part, text in parts.items():
        with zipfile.ZipFile(folder / "wikitext2" / f"wiki.{part}.tokens.zip", "w") as archive:
            archive.writestr(f"wiki.{part}.tokens", text)


def test_text(store: Path) -> None:
    write_text(store, train=" \n the cat <unk> \n the dog \n", valid="dog bird\n", test="the")
    text = load_text("wikitext2")
    assert text.vocabulary == ("<eos>", "the", "cat", "<unk>", "dog")
    assert text.train.tolist() == [0, 1, 2, 3, 0, 1, 4, 0]
    assert (text.validation.tolist(), text.test.tolist()) == ([4, 3, 0], [1, 0])
    assert text.train.dtype == np.int64


def test_text_that_is_cut(store: Path) -> None:
    write_text(store, train="a b\n" * 100, valid="a\n", test="a\n")
    path = store / "wikitext2" / "wiki.train.tokens.zip"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="whole zip file"):
        load_text("wikitext2")
    with pytest.raises(InputError, match="name must be one of 'wikitext2'"):
        load_text("digits")


def test_images(store: Path) -> None:
    folder = store / "natural_images" / "Train400"
    folder.mkdir(parents=True)
    with pytest.raises(InputError, match="pictures of one size, got 0"):
        load_images("natural_images")
    pictures = np.random.default_rng(0).integers(0, 256, (2, 9, 7), dtype=np.uint8)
    for i in (1, 0):
        Image.fromarray(pictures[i]).save(folder / f"test_{i}.png")
    np.testing.assert_array_equal(load_images("natural_images"), pictures)
    whole = (folder / "test_0.png").read_bytes()
    (folder / "test_0.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="whole PNG file"):
        load_images("natural_images")
    Image.fromarray(pictures[0, :3]).save(folder / "test_0.png")
    with pytest.raises(InputError, match="pictures of one size, got 2"):
        load_images("natural_images")


@stored
@pytest.mark.parametrize("name", SHAPES)
def test_real_files(name: str) -> None:
    rows, test_rows, features, classes, image = SHAPES[name]
    data = load(name)
    assert len(data.train) + len(data.validation) == rows
    assert data.test.x.shape == (test_rows, features)
    assert (len(data.classes), data.image) == (classes, image)
    assert set(data.train.y) == set(range(classes))
    for split in (data.train, data.validation, data.test):
        assert (split.x.dtype.name, split.x.flags.c_contiguous) == ("float32", True)
    if data.image:
        assert (data.train.x.min(), data.train.x.max()) == (0, 1)


@stored
def test_real_text_and_images() -> None:
    text = load_text("wikitext2")
    assert (len(text.train), len(text.validation), len(text.test)) == (2_088_628, 217_646, 245_569)
    assert len(text.vocabulary) == 33_278
    assert load_images("natural_images").shape == (400, 180, 180)
