from __future__ import annotations

import bz2
import datetime
import gzip
import io
import lzma
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gossamer.data import Reading, load, read_features, read_rows
from gossamer.errors import InputError

TEXT = "a,kind,y\n" + "".join(f"{0.5 * (i * 7 % 11)},{'uv'[i % 2]},{i % 3}\n" for i in range(60))
FRAME = pd.read_csv(io.StringIO(TEXT))


def loaded(path: Path | str) -> Any:
    data = load(path, target="y")
    return data.train.x, data.features, data.classes


def same(first: Any, second: Any) -> None:
    np.testing.assert_array_equal(first[0], second[0])
    assert first[1:] == second[1:]


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    path = tmp_path / "a.csv"
    path.write_text(TEXT)
    return path


def archive(name: str, content: bytes, *more: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        for each in (name, *more):
            zipped.writestr(each, content)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("b.csv.gz", gzip.compress),
        ("b.tsv.bz2", lambda content: bz2.compress(content.replace(b",", b"\t"))),
        ("b.txt.xz", lambda content: lzma.compress(content.replace(b",", b"|"))),
        ("b.zip", lambda content: archive("inside.csv", content)),
        ("b.csv.zip", lambda content: archive("inside.csv", content)),
        ("B.CSV.GZ", gzip.compress),
    ],
)
def test_compressed(name: str, pack: Any, plain: Path, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(pack(TEXT.encode()))
    same(loaded(tmp_path / name), loaded(plain))
    (tmp_path / name).write_bytes(pack(TEXT.encode())[:-20])
    with pytest.raises(InputError, match="cut or damaged"):
        loaded(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.zip", archive("a.csv", b"x", "b.csv"), "must hold one file, got 2"),
        ("a.zip", archive("a.docx", b"x"), "must hold a file ending in one of"),
        ("a.csv.gz", gzip.compress(b"", mtime=0), "got an empty file"),
        ("a.docx.gz", b"x", "must end in one of"),
    ],
)
def test_archives_that_cannot_be_used(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        loaded(tmp_path / name)


def as_parquet() -> bytes:
    pytest.importorskip("pyarrow")
    file = io.BytesIO()
    FRAME.to_parquet(file)
    return file.getvalue()


def as_excel(frame: pd.DataFrame = FRAME, **options: Any) -> bytes:
    pytest.importorskip("openpyxl")
    file = io.BytesIO()
    frame.to_excel(file, **{"index": False, **options})
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        lambda: TEXT.encode(),
        lambda: TEXT.replace(",", ";").encode("utf-16"),
        lambda: gzip.compress(TEXT.encode()),
        lambda: archive("a.csv", TEXT.encode()),
        as_parquet,
        as_excel,
    ],
)
def test_standard_input(content: Any, plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content())))
    same(loaded("-"), loaded(plain))


def test_standard_input_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    with pytest.raises(InputError, match="standard input must have rows, got nothing"):
        loaded("-")


def test_excel(plain: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    path.write_bytes(as_excel(startrow=2))
    same(loaded(path), loaded(plain))
    path.write_bytes(as_excel(FRAME.rename(columns={"a": "y"})))
    with pytest.raises(InputError, match="'y' as columns 1, 3"):
        loaded(path)
    with pytest.raises(InputError, match="leave out --encoding"):
        load(path, target="y", reading=Reading(encoding="utf-8"))
    path.write_bytes(as_excel(pd.DataFrame()))
    with pytest.raises(InputError, match="no sheet with anything"):
        loaded(path)


def test_excel_with_mixed_cells(tmp_path: Path) -> None:
    day = datetime.datetime(2024, 1, 1, 6)
    frame = pd.DataFrame(
        {
            "n": [1.0, "NA", 2.5, None] * 10,
            "when": [day, "n/a", day + datetime.timedelta(1), None] * 10,
            "flag": [True, False, None, True] * 10,
            "y": ["NA", "None", "NA", "None"] * 10,
        }
    )
    (tmp_path / "a.xlsx").write_bytes(as_excel(frame))
    data = load(tmp_path / "a.xlsx", target="y", test_size=0, validation_size=0)
    features = ("n", "when day", "when weekday", "when time", "flag=False", "flag=True", "flag is missing")
    assert (data.features, data.classes) == (features, ("NA", "None"))
    x, y = read_features(tmp_path / "a.xlsx", data.preprocessing)
    assert y is not None
    assert y.tolist() == [0, 1] * 20
    np.testing.assert_allclose(x[:4, 0], [-(2**0.5), 0, 2**0.5, 0], atol=1e-6)
    np.testing.assert_array_equal(x[:4, 4:], [[0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 1, 0]])


def test_a_wide_table_is_read_as_a_narrow_one(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    texts = rng.normal(size=(40, 600)).round(3).astype(str).astype(object)
    texts[rng.random(texts.shape) < 0.01] = "?"
    texts[:, 7] = [f"{i % 5}_0" for i in range(40)]  # no number, though Python would read one
    texts[:, 9] = ""
    texts[:, 11] = ["01", "2"] * 20
    frame = pd.DataFrame(texts, columns=[f"g{j}" for j in range(600)]).assign(y=["01", "1"] * 20)
    said = Reading(categorical=("g11",))
    wide, narrow = tmp_path / "wide.csv", tmp_path / "narrow.csv"
    for decimal in ".,":
        frame.replace(r"(\d)\.(\d)", rf"\1{decimal}\2", regex=True).to_csv(wide, index=False, sep=";")
        data = load(wide, target="y", reading=said, test_size=0, validation_size=0)
        x, y = read_features(wide, data.preprocessing)
        assert y is not None
        assert data.classes == ("01", "1")
        assert y.tolist() == [0, 1] * 20
        for part in (range(300), range(300, 600)):
            names = [f"g{j}" for j in part]
            frame[[*names, "y"]].to_csv(narrow, index=False)
            known = Reading(categorical=("g11",) if "g11" in names else ())
            half = load(narrow, target="y", reading=known, test_size=0, validation_size=0)
            here = [data.features.index(name) for name in half.features]
            np.testing.assert_allclose(read_features(narrow, half.preprocessing)[0], x[:, here], atol=1e-5)
    assert {"g7=0_0", "g11=01", "g11=2"} <= set(data.features)
    assert "g9" in data.preprocessing.dropped
    wide.write_text(wide.read_text() + "1;2\n")
    with pytest.raises(InputError, match="row 41 has 2 of 601 fields"):
        load(wide, target="y")


def test_prediction_reads_as_training_did(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("größe;n;y\n".encode("cp1252") + b"1,5;1;0\n2,5;3;1\n" * 10)
    fitted = load(tmp_path / "a.csv", target="y").preprocessing
    assert (fitted.reading.encoding, fitted.reading.separator, fitted.reading.decimal) == ("cp1252", ";", ",")
    expected = [[-1, -1], [1, 1]]
    for text, encoding in [
        ("größe;n\n1,5;1\n2,500;3\n", "cp1252"),  # 2,500 is no thousand here
        ("n;größe\n1;1,5\n3;2,5\n", "utf-8"),
        ("n,größe\n1,1.5\n3,2.5\n", "utf-8"),  # another separator: detected anew
        ('n,größe\n1,"1,5"\n3,"2,5"\n', "utf-16"),
    ]:
        (tmp_path / "b.csv").write_bytes(text.encode(encoding))
        assert read_features(tmp_path / "b.csv", fitted)[0].tolist() == expected
    (tmp_path / "b.csv").write_text("größe|n\n1,234|1\n")
    x, _ = read_features(tmp_path / "b.csv", fitted, reading=Reading(decimal="."))
    assert x[0, 0] == pytest.approx((1234 - 2) / 0.5)


def test_the_index_names_the_rows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("key,a,y\n" + "007,1,0\n010,2,1\n" * 10)
    fitted = load(tmp_path / "a.csv", target="y", reading=Reading(index="key")).preprocessing
    assert fitted.features == ("a",)
    assert read_rows(tmp_path / "a.csv", fitted).index == ("007", "010") * 10
    (tmp_path / "b.csv").write_text("a\n1\n")
    assert read_rows(tmp_path / "b.csv", fitted).index is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"encoding": "klingon"}, "encoding must be one that Python knows"),
        ({"encoding": "hex"}, "encoding must be"),
        ({"separator": ",,"}, "separator must be one character"),
        ({"separator": "a"}, "separator must be one character"),
        ({"separator": ""}, "separator must be one character"),
        ({"decimal": ";"}, r"decimal must be '\.' or ','"),
        ({"drop": ("a",), "numeric": ("a",)}, "'a' must have one role, got drop and numeric"),
    ],
)
def test_what_cannot_be_said(given: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Reading(**given)


def test_said_and_back() -> None:
    said = Reading(separator="tab", drop=(" a ", "b"), index="c", decimal=",", encoding="latin-1")
    assert (said.separator, said.drop) == ("\t", ("a", "b"))
    assert Reading.from_dict(said.to_dict()) == said
    assert str(said) == "ISO8859-1, separated by tabs, with decimal commas"
    for wrong in (None, {"drop": "a"}, {"speed": "a"}, {"encoding": 3}, {"drop": [1]}):
        with pytest.raises(InputError, match="reading must"):
            Reading.from_dict(wrong)  # type: ignore[arg-type]
