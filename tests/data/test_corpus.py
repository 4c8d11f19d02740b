"""Some three hundred nasty tables: each gives the very matrix that was meant, or an error with column and remedy."""

from __future__ import annotations

import csv
import io
import itertools
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gossamer.data import Reading, load, read_features
from gossamer.errors import InputError

ROWS = 42
COUNT = 216

ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "latin-1")
SEPARATORS = (",", ";", "\t", "|", " ", "^")
DECIMALS = (".", ",")
QUOTING = (csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC)
MARKS = ("", "?", "NA", "N/A", "null", "-", "nan", "None", "missing", "#N/A", "  ")
ENDS = ("\n", "\r\n", "\r")
STARTS = ("", "\n", "\n\n")

LABELS: dict[str, tuple[list[str], tuple[str, ...]]] = {  # three spellings in turn, and the classes in order
    "words": (["no", "yes", "maybe"], ("maybe", "no", "yes")),
    "blanks and case": (["yes", "yes ", "YES", "no", " no", "No"], ("no", "yes")),
    "leading zeros": (["01", "02", "10"], ("01", "02", "10")),
    "None and NA": (["None", "NA", "null"], ("NA", "None", "null")),
    "whole numbers": (["3", "20", "100"], ("3", "20", "100")),
    "negative": (["-1", "1"], ("-1", "1")),
    "booleans": (["true", "False", "TRUE"], ("False", "True")),
    "letters": (["a", "A", "b"], ("A", "a", "b")),
    "dates": (["2024-01-01", "2025-01-01"], ("2024-01-01", "2025-01-01")),
    "accents": (["été", "hiver"], ("hiver", "été")),
}
INDEXES = ("none", "nameless", "nameless with gaps", "Unnamed: 0", "id", "text id", "nameless last", "constant")
EXTRAS = ("thousands", "blank thousands", "percent", "currency", "dates", "times", "booleans", "scientific", "empty")
CATEGORIES = (
    ["Müller", "naïve", "Zoë"],
    ["a b", "c, d; e", 'say "hi"'],
    ["NA", "None", "x"],
    ["two\nlines", "one", "é"],
)


@dataclass(frozen=True)
class Case:
    encoding: str
    separator: str
    decimal: str
    quoting: int
    mark: str
    end: str
    start: str
    label: str
    index: str
    extra: str
    category: int
    seed: int


def cases() -> list[Case]:
    """Drawn so that every value of every dimension meets every one of the next in some table."""
    rng = random.Random(0)
    dimensions: list[Any] = [
        ENCODINGS, SEPARATORS, DECIMALS, QUOTING, MARKS, ENDS, STARTS, tuple(LABELS), INDEXES, EXTRAS,
        range(len(CATEGORIES)),
    ]  # fmt: skip
    columns = []
    for values in dimensions:
        deck: list[Any] = []
        while len(deck) < COUNT:
            deck += rng.sample(list(values), len(values))
        columns.append(deck[:COUNT])
    drawn: list[list[Any]] = [[*values, seed] for seed, values in enumerate(zip(*columns, strict=True))]
    return [Case(*values) for values in drawn]


@dataclass
class Made:
    content: bytes
    x: NDArray[np.float64]
    y: list[int]
    classes: tuple[str, ...]
    features: list[str]


def standardised(values: Any) -> NDArray[np.float64]:
    x = np.array(values, dtype=np.float64)
    x[np.isnan(x)] = np.nanmedian(x)
    std = x.std()
    return (x - x.mean()) / std if np.ptp(x) else np.zeros_like(x)


def one_hot(values: list[str]) -> dict[str, NDArray[np.float64]]:
    return {f"={value}": np.array([v == value for v in values], dtype=np.float64) for value in sorted(set(values))}


def extra_column(kind: str, decimal: str, rng: random.Random) -> tuple[list[str], dict[str, NDArray[np.float64]]]:
    """Fields, and by the suffix of a feature's name what they mean."""
    group = "," if decimal == "." else "."
    whole = [rng.randrange(1, 3_000_000) for _ in range(ROWS)]
    if kind in ("thousands", "blank thousands"):
        by = group if kind == "thousands" else "\u00a0"
        return [f"{v:,}".replace(",", by) for v in whole], {"": standardised(whole)}
    if kind == "percent":
        return [f"{v % 100} %" for v in whole], {"": standardised([v % 100 for v in whole])}
    if kind == "currency":
        return [f"${v % 900}" for v in whole], {"": standardised([v % 900 for v in whole])}
    if kind == "scientific":
        values = [float(f"{v / 7:.3e}") for v in whole]
        return [f"{v / 7:.3e}".replace(".", decimal) for v in whole], {"": standardised(values)}
    if kind == "dates":
        days = [v % 9000 + 4000 for v in whole]
        texts = [str(np.datetime64(day, "D")) for day in days]
        return texts, {" day": standardised(days), " weekday": standardised([(d + 3) % 7 for d in days])}
    if kind == "times":
        minutes = [v % 1440 for v in whole]
        return [f"{m // 60:02}:{m % 60:02}" for m in minutes], {" time": standardised([m / 60 for m in minutes])}
    if kind == "booleans":
        truth = [bool(v % 2) for v in whole]
        return [str(v).lower() for v in truth], one_hot([str(v) for v in truth])
    return [""] * ROWS, {}


def index_column(kind: str, rng: random.Random) -> tuple[str, list[str]] | None:
    if kind == "none":
        return None
    numbers = list(range(ROWS))
    if kind == "nameless with gaps":
        numbers = rng.sample(range(1000), ROWS)
    if kind == "text id":
        return "person_id", [f"p{v:04}" for v in numbers]
    if kind == "constant":  # of no use, and no index
        return "always", ["7"] * ROWS
    return (kind if kind in ("Unnamed: 0", "id") else ""), [str(v) for v in numbers]


def make(case: Case) -> Made:
    rng = random.Random(case.seed)
    missing = [i % 13 == 4 for i in range(ROWS)]
    numbers = [round(rng.uniform(-50, 50), 2) for _ in range(ROWS)]
    texts = [CATEGORIES[case.category][rng.randrange(3)] for _ in range(ROWS)]
    spelled, classes = LABELS[case.label]
    labels = [spelled[i % len(spelled)] for i in range(ROWS)]
    extra, meaning = extra_column(case.extra, case.decimal, rng)
    columns: list[tuple[str, list[str]]] = [
        (
            "größe",
            [case.mark if m else f"{v:.2f}".replace(".", case.decimal) for v, m in zip(numbers, missing, strict=True)],
        ),
        (" kind", texts),
        ("extra ", extra),
    ]
    place = rng.randrange(len(columns) + 1)
    columns.insert(place, (" target ", labels))
    x = {"größe": standardised([np.nan if m else v for v, m in zip(numbers, missing, strict=True)])}
    x |= {f"kind{suffix}": values for suffix, values in one_hot(texts).items()}
    x |= {f"extra{suffix}": values for suffix, values in meaning.items()}
    if (index := index_column(case.index, rng)) is not None:
        columns.insert(len(columns) if case.index == "nameless last" else 0, index)
        if case.index == "constant":
            x = {"always": np.zeros(ROWS)} | x
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=case.separator, quoting=case.quoting, lineterminator=case.end)  # type: ignore[arg-type]
    if case.separator == " " or case.end == "\r":  # Python would not quote an empty field, nor one that holds "\n"
        writer = csv.writer(text, delimiter=case.separator, quoting=csv.QUOTE_ALL, lineterminator=case.end)
    writer.writerow([name for name, _ in columns])
    writer.writerows(zip(*(fields for _, fields in columns), strict=True))
    content = (case.start.replace("\n", case.end) + text.getvalue()).encode(case.encoding)
    y = []
    for label in labels:
        name = label.strip()
        name = name.capitalize() if case.label == "booleans" else name
        name = name.lower() if case.label == "blanks and case" else name
        y.append(classes.index(name))
    return Made(content, np.stack(list(x.values()), axis=1), y, classes, list(x))


@pytest.mark.parametrize("case", cases(), ids=lambda case: f"{case.seed}")
def test_a_table_is_what_was_meant(case: Case, tmp_path: Path) -> None:
    made = make(case)
    path = tmp_path / "a.csv"
    path.write_bytes(made.content)
    data = load(path, target="target", test_size=0, validation_size=0)
    x, y = read_features(path, data.preprocessing)  # in the order of the file
    assert data.classes == made.classes
    assert y is not None
    assert y.tolist() == made.y
    assert list(data.features) == made.features, case
    np.testing.assert_allclose(x, made.x, atol=2e-5)
    missing = [notice for notice in data.notices if "read as missing" in notice]
    assert len(missing) == bool(case.mark.strip()), data.notices


def table(header: str, *columns: Any, rows: int = 40) -> str:
    """Lines of a table, each column given by its values in turn."""
    lines = [
        ",".join(str(next(column)) for column in turns) for turns in [[itertools.cycle(c) for c in columns]] * rows
    ]
    return "\n".join([header, *lines]) + "\n"


MANY = [round(0.37 * i % 7, 3) for i in range(40)]

REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "words among numbers": (
        table("a,y", [*MANY[:38], "soon", "later"], "01"),
        {}, r"'a' .*38 numbers and 2 .*--numeric a.*--drop a",
    ),
    "two units": (table("a,y", [f"{v}%" for v in MANY[:20]] + MANY[20:], "01"), {}, r"'a' .*one unit.*--numeric a"),
    "free text": (
        table("a,y", [f"t {i}" for i in range(40)], "01"),
        {}, r"'a' has 28 different strings in 28 rows.*--drop a",
    ),
    "several": (
        table("a,b c,y", [f"t {i}" for i in range(40)], [f"u {i}" for i in range(40)], "01"),
        {}, r"--drop 'a,b c'",
    ),
    "decimal commas among points": (
        table("a;b;y", [";".join((f"{v:.2f}", f"{v:.2f}".replace(".", ","), str(i % 2))) for i, v in enumerate(MANY)]),
        {}, r"'b' .*another notation.*--decimal ,",
    ),
    "groups or decimals": (
        table("a;b;y", [f"{i * 37 % 11 + 1},{500 + i};x;{i % 2}" for i in range(40)]),
        {},
        r"'a' .*two ways: give --decimal",
    ),
    "day or month": (
        table("a,y", [f"{i % 12 + 1}/{i % 11 + 1}/2024" for i in range(40)], "01"),
        {}, r"'a' .*--categorical a",
    ),
    "twice the label": (table("a,y,y", MANY, "01", "01"), {}, r"'y' as columns 2, 3: rename .*--drop"),
    "twice a name after trimming": (table("a,a ,y", MANY, MANY, "01"), {}, r"'a' as columns 1, 2"),
    "no such target": (table("a,Y", MANY, "01"), {}, r"--target COLUMN.*got 'y'.*'a', 'Y'"),
    "no header": (table("1,0", MANY, "01"), {}, r"the first line must hold names"),
    "infinite": (
        table("a,y", [*MANY, "inf"], "01", rows=41),
        {}, r"column 'a' has a value in row 41 that is infinite",
    ),
    "an index alone": (table(",y", range(40), "01"), {}, r"beside the target 'y'.*'Unnamed: 0'"),
    "fractions to predict": (table("a,y", MANY, MANY), {}, r"'y' must hold classes"),
    "an empty label": (table("a,y", MANY, ["x", "z", ""]), {}, r"'y' .*none in 13 of 40 rows.*remove these rows"),
    "a row too long": (table("a,y", MANY, "01") + "1,0,5\n", {}, r"row 41 has 3 of 2 fields"),
    "a row too short": (table("a,b,y", MANY, MANY, "01") + "1,0\n", {}, r"row 41 has 2 of 3 fields"),
    "a name for a row": (
        table("a,y", [f"r{i},{v}" for i, v in enumerate(MANY)], "01"),
        {}, r"give every column a name",
    ),
    "drop what isn't there": (
        table("ab,y", MANY, "01"),
        {"drop": ("abc",)}, r"drop \(--drop\).*'abc'; did you mean 'ab'",
    ),
    "numbers that aren't there": (table("a,y", MANY, "01"), {"numeric": ("b",)}, r"--numeric\).*'b'"),
    "the target dropped": (table("a,y", MANY, "01"), {"drop": ("y",)}, r"got 'y', which is dropped"),
    "the target as index": (
        table("a,y", MANY, "01"),
        {"index": "y"}, r"must name other columns than the target 'y'",
    ),
    "the wrong decimal mark": (
        table("a,y", [f"{v:.2f}" for v in MANY], "01"),
        {"decimal": ","}, r"'a' .*--decimal \.",
    ),
    "the wrong encoding": (table("a,y", ["é", "b"], "01"), {"encoding": "ascii"}, r"as --encoding says"),
    "the wrong separator": (table("a,y", MANY, "01"), {"separator": ";"}, r"give --separator"),
    "control characters": ("a,y\n\0\0\1,1\n", {}, r"zero bytes"),
    "two rows": ("a,y\n1,0\n2,1\n", {}, r"too few rows"),
    "four rows": ("a,y\n1,0\n2,1\n3,0\n4,1\n", {}, r"each class needs three rows"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_table_is_refused_with_a_remedy(name: str, tmp_path: Path) -> None:
    content, said, message = REFUSED[name]
    path = tmp_path / "a.csv"
    path.write_text(content, "utf-8", newline="")
    with pytest.raises(InputError) as refused:
        load(path, target="y", reading=Reading(**said))
    assert re.search(message, str(refused.value)), str(refused.value)


OVERRIDDEN: dict[str, tuple[dict[str, Any], tuple[str, ...] | None]] = {
    "words among numbers": ({"numeric": ("a",)}, ("a",)),
    "two units": ({"numeric": ("a",)}, ("a",)),
    "free text": ({"categorical": ("a",)}, None),
    "twice a name after trimming": ({"drop": ("a",)}, None),
    "groups or decimals": ({"decimal": ","}, ("a", "b=x")),
    "day or month": ({"drop": ("a",)}, None),
    "an index alone": ({"numeric": ("Unnamed: 0",)}, ("Unnamed: 0",)),
}


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_the_remedy_works(name: str, tmp_path: Path) -> None:
    said, features = OVERRIDDEN[name]
    path = tmp_path / "a.csv"
    path.write_text(REFUSED[name][0], "utf-8", newline="")
    if features is None and "drop" in said:
        with pytest.raises(InputError, match="beside the target"):  # nothing else is in these files
            load(path, target="y", reading=Reading(**said))
        return
    data = load(path, target="y", reading=Reading(**said))
    assert features is None or tuple(data.features) == features
    assert read_features(path, data.preprocessing)[0].shape == (40, len(data.features))
