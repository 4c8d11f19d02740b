from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import dump_svmlight_file

from gossamer.data import Preprocessing, Reading, load, read_features, read_table
from gossamer.data.table import image_shape, pixel_names
from gossamer.errors import InputError

RNG = np.random.default_rng(0)
PEOPLE = "age,colour,label\n" + "".join(f"{20 + i},{'red' if i % 3 else 'blue'},{'ab'[i % 2]}\n" for i in range(40))


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


@pytest.fixture
def people(tmp_path: Path) -> Path:
    return write(tmp_path / "people.csv", PEOPLE)


def test_csv(people: Path) -> None:
    data = load(people, target="label")
    assert data.name == "people.csv"
    assert data.features == ("age", "colour=blue", "colour=red")
    assert data.classes == ("a", "b")
    assert data.image is None
    assert (len(data.train), len(data.validation), len(data.test)) == (28, 4, 8)
    np.testing.assert_allclose(data.train.x[:, 0].mean(), 0, atol=1e-6)


def test_parquet_gives_what_csv_gives(people: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    pd.read_csv(people).to_parquet(tmp_path / "people.parquet")
    a, b = load(people, target="label"), load(tmp_path / "people.parquet", target="label")
    np.testing.assert_array_equal(a.train.x, b.train.x)
    differs = {"reading"}
    first, second = (
        {key: value for key, value in each.preprocessing.to_dict().items() if key not in differs} for each in (a, b)
    )
    assert first == second


@pytest.mark.parametrize("separator", [";", "\t"])
def test_csv_with_another_separator(people: Path, tmp_path: Path, separator: str) -> None:
    path = write(tmp_path / "other.csv", PEOPLE.replace(",", separator))
    np.testing.assert_array_equal(load(path, target="label").train.x, load(people, target="label").train.x)


def test_csv_with_a_byte_order_mark_and_spaces(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", PEOPLE.replace(",", ", "), "utf-8-sig")
    assert load(path, target="label").features == ("age", "colour=blue", "colour=red")


def test_nameless_row_numbers_are_no_feature(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": RNG.normal(size=20), "y": [0, 1] * 10})
    frame.to_csv(tmp_path / "a.csv")
    assert load(tmp_path / "a.csv", target="y").features == ("a",)


def test_csv_target_missing_lists_columns(people: Path) -> None:
    with pytest.raises(InputError, match=r"got None \(columns: 'age', 'colour', 'label'\)"):
        load(people)
    with pytest.raises(InputError, match="got 'lable'; did you mean 'label'"):
        load(people, target="lable")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty file"),
        ("\n\n", "cut or damaged"),
        ("a,y\n", "must have rows, got 0 rows"),
        ("a,b,y\n1,2,0\n3,4,1\n5,6", "row 3 has 2 of 3 fields"),
        ("a,b,y\n1,2,0\n3,1\n5,6,1\n", "row 2 has 2 of 3 fields"),
        ("a,y\n1,0\n2,1,7\n", r"cut or damaged: row 2 has 3 of 2 fields\Z"),
        ("a,y\n1,2,0\n2,3,1\n", "its rows have 3 fields and its header has 2"),
        ('a,y\n1,0\n2,"1', "cut or damaged"),
        ("y\n1\n0\n", "must have a column beside the target"),
    ],
)
def test_csv_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(write(tmp_path / "a.csv", text), target="y")


def test_csv_in_another_encoding(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "grösse,y\n" + "1,0\n2,1\n" * 10, "latin-1")
    assert load(path, target="y").features == ("grösse",)
    with pytest.raises(InputError, match="must be text in utf-16, as --encoding says"):
        load(write(tmp_path / "b.csv", "a,y\n1,02\n", "latin-1"), target="y", reading=Reading(encoding="utf-16"))


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (["a"] * 20, "two or more classes"),
        ([1.5, 2.5] * 10, "only classification"),
        (["a", None] * 10, "none in 10 of 20 rows"),
        (range(20), "20 distinct values"),
    ],
)
def test_targets_that_cannot_be_used(tmp_path: Path, column: Any, message: str) -> None:
    pd.DataFrame({"x": range(20), "y": column}).to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(InputError, match=message):
        load(tmp_path / "a.csv", target="y")


def test_empty_and_infinite_columns(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": RNG.normal(size=20), "gone": [np.nan] * 20, "y": [0, 1] * 10})
    frame.to_csv(tmp_path / "a.csv", index=False)
    assert dict(load(tmp_path / "a.csv", target="y").preprocessing.dropped) == {"gone": "no value in the training rows"}
    frame.assign(a=[np.inf] * 20).to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(InputError, match=r"column 'a' has a value in row .* infinite"):
        load(tmp_path / "b.csv", target="y")


def test_parquet_that_is_cut(people: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    pd.read_csv(people).to_parquet(tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    for size in (2, len(whole) // 2, len(whole) - 1):
        (tmp_path / "a.parquet").write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"whole \.parquet file"):
            load(tmp_path / "a.parquet", target="label")


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object, **__: object) -> None:
        raise ImportError("no engine")

    monkeypatch.setattr(pd, "read_parquet", absent)
    with pytest.raises(InputError, match=r"gossamer\[parquet\]"):
        load(write(tmp_path / "a.parquet", "x"), target="y")


def test_parquet_with_dates_and_lists(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    dates = pd.DataFrame({"when": pd.date_range("2020-01-01", periods=20), "y": [0, 1] * 10})
    dates.to_parquet(tmp_path / "a.parquet")
    assert load(tmp_path / "a.parquet", target="y").features == ("when day", "when weekday")
    pd.DataFrame({"many": [[1, 2]] * 20, "y": [0, 1] * 10}).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(InputError, match=r"column 'many'.*lists"):
        load(tmp_path / "b.parquet", target="y")


@pytest.mark.parametrize(("x_name", "y_name"), [("x", "y"), ("X", "Y"), ("X", "y")])
def test_npz(tmp_path: Path, x_name: str, y_name: str) -> None:
    arrays: dict[str, Any] = {x_name: RNG.normal(size=(20, 3)), y_name: np.array([["a"], ["b"]] * 10)}
    np.savez(tmp_path / "a.npz", **arrays)
    data = load(tmp_path / "a.npz")
    assert (data.features, data.classes, data.image) == (("x0", "x1", "x2"), ("a", "b"), None)


@pytest.mark.parametrize(("shape", "image"), [((20, 2, 3), (2, 3, 1)), ((20, 2, 3, 4), (2, 3, 4))])
def test_npz_images(tmp_path: Path, shape: tuple[int, ...], image: tuple[int, int, int]) -> None:
    pixels = RNG.integers(0, 256, shape, dtype=np.uint8)
    np.savez(tmp_path / "a.npz", x=pixels, label=[0, 1] * 10)
    data = load(tmp_path / "a.npz", target="label", test_size=0, validation_size=0)
    assert data.image == image
    assert (data.features[0], data.features[-1]) == (
        ("pixel_0_0", "pixel_1_2") if image[2] == 1 else ("pixel_0_0_0", "pixel_1_2_3")
    )
    x, y = read_features(tmp_path / "a.npz", data.preprocessing)
    np.testing.assert_allclose(x.reshape(shape), pixels / 255, rtol=1e-6)
    assert y is not None
    assert y.tolist() == [0, 1] * 10


@pytest.mark.parametrize(
    ("trained", "given", "message"),
    [
        ((2, 6), (3, 4), "images in b.npz must be 2 × 6 as in training, got 3 × 4"),  # of as many pixels
        ((2, 6), (2, 2, 3), "must be 2 × 6 as in training, got 2 × 2 of 3 channels"),
        ((2, 2, 3), (3, 2, 2), "must be 2 × 2 of 3 channels as in training, got 3 × 2 of 2 channels"),
        ((2, 6), (5, 5), "must be 2 × 6 as in training, got 5 × 5"),
    ],
)
def test_images_of_another_shape_than_in_training(
    tmp_path: Path, trained: tuple[int, ...], given: tuple[int, ...], message: str
) -> None:
    for name, shape in (("a", trained), ("b", given)):
        np.savez(tmp_path / f"{name}.npz", x=RNG.integers(0, 256, (20, *shape), dtype=np.uint8), y=[0, 1] * 10)
    fitted = Preprocessing.from_dict(load(tmp_path / "a.npz").preprocessing.to_dict())
    with pytest.raises(InputError, match=message):
        read_features(tmp_path / "b.npz", fitted)


def test_images_and_rows_of_as_many_pixels_are_the_same(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 256, (20, 2, 3), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", x=pixels, y=[0, 1] * 10)
    np.savez(tmp_path / "b.npz", x=pixels.reshape(20, 6), y=[0, 1] * 10)
    fitted = load(tmp_path / "a.npz").preprocessing
    first, second = (read_features(tmp_path / f"{name}.npz", fitted)[0] for name in "ab")
    np.testing.assert_array_equal(first, second)
    read_features(tmp_path / "a.npz", load(tmp_path / "b.npz").preprocessing)


def save_images(path: Path, pixels: Any) -> Path:
    np.savez(path, x=pixels, y=[0, 1] * 10)
    return path


BYTES = RNG.integers(0, 256, (20, 3, 4), dtype=np.uint8)


@pytest.mark.parametrize(
    ("given", "got"),
    [
        (BYTES / 255, "0 to 1"),
        ((BYTES / 255).astype(np.float32), "0 to 1"),
        ((BYTES / 255).astype(np.float16), "0 to 1"),
        (BYTES / 255 * 0.4 + 0.1, "0.1 to 0.5"),
        (BYTES / 127.5 - 1, "-1 to 1"),
        ((BYTES - BYTES.mean()) / BYTES.std(), "-1."),
        (BYTES > 127, "0 to 1"),
        ((BYTES > 127).astype(np.int64), "0 to 1"),
        ((BYTES / 255).reshape(20, 12), "0 to 1"),
        (BYTES.astype(np.uint16) * 257, "0 to 6.55e+04"),
    ],
)
def test_pixels_of_another_range_than_in_training(tmp_path: Path, given: Any, got: str) -> None:
    fitted = load(save_images(tmp_path / "a.npz", BYTES)).preprocessing
    fitted = Preprocessing.from_dict(fitted.to_dict())
    message = f"pixels in b.npz must be from 0 to 255 as in training, got {re.escape(got)}"
    with pytest.raises(InputError, match=message):
        read_features(save_images(tmp_path / "b.npz", given), fitted)


@pytest.mark.parametrize(
    "given",
    [
        BYTES,
        BYTES.astype(np.int64),
        BYTES.astype(np.float16),
        BYTES.astype(np.float64).reshape(20, 12),
        BYTES + RNG.normal(0, 255, BYTES.shape),  # noise
        BYTES // 8 + 0.5,  # dark
        BYTES // 200,  # bytes, however dark
        np.zeros((20, 3, 4)),
    ],
)
def test_pixels_of_the_range_of_training_in_whatever_type(tmp_path: Path, given: Any) -> None:
    fitted = load(save_images(tmp_path / "a.npz", BYTES)).preprocessing
    x, _ = read_features(save_images(tmp_path / "b.npz", given), fitted)
    np.testing.assert_allclose(x, given.reshape(20, 12) / 255, rtol=1e-3, atol=1e-6)


def test_pixels_of_another_range_in_a_csv(tmp_path: Path) -> None:
    fitted = load(save_images(tmp_path / "a.npz", BYTES)).preprocessing
    for divisor in (1, 255):
        pd.DataFrame(BYTES.reshape(20, 12) / divisor, columns=list(fitted.columns)).to_csv(
            tmp_path / "b.csv", index=False
        )
        if divisor == 1:
            np.testing.assert_allclose(read_features(tmp_path / "b.csv", fitted)[0], BYTES.reshape(20, 12) / 255)
        else:
            with pytest.raises(InputError, match=r"pixels in b.csv must be from 0 to 255 as in training, got 0 to 1:"):
                read_features(tmp_path / "b.csv", fitted)


def test_bytes_for_a_network_trained_on_pixels_from_0_to_1(tmp_path: Path) -> None:
    fitted = load(save_images(tmp_path / "a.npz", BYTES / 255)).preprocessing
    with pytest.raises(InputError, match=r"with means from 0\.\d+ to 0\.\d+, got bytes from 0 to 255"):
        read_features(save_images(tmp_path / "b.npz", BYTES), fitted)
    read_features(save_images(tmp_path / "c.npz", BYTES // 200), fitted)
    scaled = load(save_images(tmp_path / "d.npz", BYTES.astype(np.int64))).preprocessing
    np.testing.assert_array_equal(
        read_features(save_images(tmp_path / "b.npz", BYTES), scaled)[0],
        read_features(save_images(tmp_path / "e.npz", BYTES.astype(np.float64)), scaled)[0],
    )


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 12, 1), (3, 4, 1), (2, 11, 3)])
def test_the_names_of_pixels_tell_the_shape(shape: tuple[int, int, int]) -> None:
    columns = pixel_names(*shape)
    assert image_shape(columns) == shape
    assert image_shape(columns[::-1]) is None or len(columns) == 1
    assert image_shape(("x0", *columns)) is None
    assert image_shape(()) is None


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"data": np.eye(4), "y": [0, 1, 0, 1]}, "must hold the array 'x' or 'X', got 'data', 'y'"),
        ({"x": np.eye(4)}, r"target \(--target\) must be an array .* got 'y'"),
        ({"x": np.eye(4), "y": [0, 1]}, r"must have the shape \(4,\)"),
        ({"x": np.eye(4), "y": np.eye(4)}, r"must have the shape \(4,\)"),
        ({"x": np.zeros(4), "y": [0, 1, 0, 1]}, "must be rows"),
        ({"x": np.zeros((0, 3)), "y": []}, "must be rows"),
        ({"x": np.array([["a"]] * 4), "y": [0, 1, 0, 1]}, "must hold numbers"),
        ({"x": np.array([[None]] * 4), "y": [0, 1, 0, 1]}, "Python objects .* never unpickled .* x.astype"),
        ({"x": np.eye(4) * 1j, "y": [0, 1, 0, 1]}, "must hold numbers"),
    ],
)
def test_npz_that_cannot_be_used(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=message):
        load(tmp_path / "a.npz")


def test_npz_that_is_cut(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=RNG.normal(size=(20, 3)), y=[0, 1] * 10)
    whole = (tmp_path / "a.npz").read_bytes()
    damaged = bytearray(whole)
    damaged[60:200] = bytes(140)
    for content in (whole[:1], whole[: len(whole) // 2], whole[:-1], bytes(damaged), b"no archive"):
        (tmp_path / "a.npz").write_bytes(content)
        with pytest.raises(InputError, match=r"whole \.npz file"):
            load(tmp_path / "a.npz")


@pytest.mark.parametrize("suffix", [".svmlight", ".libsvm"])
@pytest.mark.parametrize("zero_based", [True, False])
def test_svmlight(tmp_path: Path, suffix: str, zero_based: bool) -> None:
    x, y = RNG.normal(size=(20, 3)), np.array([-1, 1] * 10)
    path = tmp_path / f"a{suffix}"
    dump_svmlight_file(x, y, str(path), zero_based=zero_based)
    data = load(path)
    assert tuple(data.features) == tuple(f"x{i + 1 - zero_based}" for i in range(3))
    assert data.classes == ("-1", "1")
    got, labels = read_features(path, data.preprocessing)
    np.testing.assert_allclose(got.toarray(), data.preprocessing.transform(x), atol=1e-5)
    assert labels is not None
    # Rows whose first and last features are absent keep the columns that training had.
    dump_svmlight_file(np.array([[0, 2.0, 0]]), [0], str(path), zero_based=zero_based)
    got, labels = read_features(path, data.preprocessing)
    assert labels is None
    np.testing.assert_allclose(got.toarray(), data.preprocessing.transform(np.array([[0, 2.0, 0]])), atol=1e-5)


def test_svmlight_with_other_features(tmp_path: Path) -> None:
    write(tmp_path / "a.svmlight", "0 1:1 2:1\n1 1:2\n" * 10)
    fitted = load(tmp_path / "a.svmlight").preprocessing
    for line in ("0 3:1\n", "0 0:1\n"):
        with pytest.raises(InputError, match="must have features from 1 to 2 as in training"):
            read_features(write(tmp_path / "b.svmlight", line), fitted)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 1:1\n1 2", "whole svmlight file"),
        ("0 1:1\na 2:1\n", "whole svmlight file"),
        ("0\n1\n", "must have rows with features"),
        ("0.5 1:1\n1.5 1:2\n" * 5, "only classification"),
    ],
)
def test_svmlight_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(write(tmp_path / "a.svmlight", text))


def test_svmlight_has_no_target_to_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be None for"):
        load(write(tmp_path / "a.svmlight", "0 1:1\n"), target="y")


def test_files_that_are_none(tmp_path: Path, people: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path, message in [
        (tmp_path, "must be a file, got a directory"),
        (tmp_path / "none.csv", "must be a file that exists"),
        (write(tmp_path / "a.docx", "x"), r"must end in one of \.csv, .*, got '\.docx'"),
        (write(tmp_path / "a.xlsx", "x"), r"must be a whole \.xlsx file"),
        (write(tmp_path / "plain", "x"), "got 'no suffix'"),
    ]:
        with pytest.raises(InputError, match=message):
            load(str(path), target="y")

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(InputError, match="must be a file that may be read: Permission denied"):
        load(people, target="label")


def test_new_rows_with_and_without_labels(people: Path, tmp_path: Path) -> None:
    fitted = load(people, target="label").preprocessing
    x, y = read_features(write(tmp_path / "a.csv", "label,colour,age\nb,red,30\na,green,\n"), fitted)
    assert y is not None
    assert y.tolist() == [1, 0]
    np.testing.assert_array_equal(x[:, 1:], [[0, 1], [0, 0]])
    for text in ("colour,age\nred,30\n", "colour,age,label\nred,30,\n"):
        again, labels = read_features(write(tmp_path / "b.csv", text), fitted)
        np.testing.assert_array_equal(again, x[:1])
        assert labels is None
    with pytest.raises(InputError, match="column 'age' must hold numbers, got 'old' in row 2"):
        read_features(write(tmp_path / "c.csv", "age,colour\n3,red\nold,red\n"), fitted)
    with pytest.raises(InputError, match="columns 'colour' were there in training"):
        read_features(write(tmp_path / "d.csv", "age\n3\n"), fitted)
    path = write(tmp_path / "e.csv", "age,colour,label\n3,red,z\n3,red,\n3,red,b\n")
    labels = read_features(path, fitted)[1]
    assert labels is not None
    assert (labels < 0).tolist() == [True, True, False]
    assert read_features(write(tmp_path / "f.csv", "age,colour,label\n3,red,z\n"), fitted)[1] is None


def test_categories_stay_as_they_are_written(tmp_path: Path) -> None:
    """The code 01 is a text in training, where another has a letter, and must be one where none has."""
    path = write(tmp_path / "a.csv", "code,y\n" + "01,0\n1A,1\n" * 10)
    fitted = load(path, target="y").preprocessing
    assert fitted.features == ("code=01", "code=1A")
    assert read_features(write(tmp_path / "b.csv", "code\n01\n1\n"), fitted)[0].tolist() == [[1, 0], [0, 0]]


def test_booleans_in_any_spelling(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "flag,y\n" + "True,0\nFalse,1\n" * 10)
    fitted = load(path, target="y").preprocessing
    assert read_features(write(tmp_path / "b.csv", "flag\nTRUE\nfalse\n"), fitted)[0].tolist() == [[0, 1], [1, 0]]


def test_npz_for_a_network_trained_on_csv(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "a,y\n" + "0,0\n2,1\n" * 10)
    fitted = load(path, target="y").preprocessing
    np.savez(tmp_path / "b.npz", x=np.array([[0.0], [2.0]]))
    x, y = read_features(tmp_path / "b.npz", fitted)
    assert x.tolist() == [[-1], [1]]
    assert y is None


def test_stored_preprocessing_reads_the_same(people: Path) -> None:
    fitted = load(people, target="label").preprocessing
    again = Preprocessing.from_dict(fitted.to_dict())
    a, b = read_features(people, fitted), read_features(people, again)
    np.testing.assert_array_equal(a[0], b[0])
    np.testing.assert_array_equal(a[1], b[1])


def test_read_table_leaves_rows_as_they_are(people: Path) -> None:
    table = read_table(people, target="label")
    assert table.columns == ("age", "colour")
    assert list(table.labels[:3]) == ["a", "b", "a"]


def test_twice_the_same_column(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.Table.from_arrays([pa.array([1, 2])] * 3, names=["a", "a", "y"]), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"Multiple matches|distinct names"):
        load(tmp_path / "a.parquet", target="y")
