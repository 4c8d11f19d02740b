from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gossamer.associative import theory
from gossamer.cli import main
from gossamer.cli.associate.arguments import numbers
from gossamer.cli.associate.associations import read_associations
from gossamer.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")

Capture = pytest.CaptureFixture[str]


def outcome(capsys: Capture, *words: str | Path) -> dict[str, Any]:
    assert main(["associate", *map(str, words), "--json"]) == 0
    out, error = capsys.readouterr()
    assert error == ""
    found: dict[str, Any] = json.loads(out)
    return found


def mistake(capsys: Capture, *words: str | Path) -> str:
    code = main(["associate", *map(str, words)])
    out, error = capsys.readouterr()
    assert (code, out) == (2, "")
    assert "Traceback" not in error
    return error


def patterns(path: Path, n: int = 20, m: int = 12) -> Path:
    rows = np.random.default_rng(0).integers(0, 2, (m, n + 1))
    names = ",".join([*(f"i{k}" for k in range(n)), "answer"])
    path.write_text(names + "\n" + "\n".join(",".join(map(str, row)) for row in rows))
    return path


def whole(folder: Path, verb: str) -> str:
    """The page, which has everything inside, and nothing else was left behind."""
    page = (folder / f"{verb}.html").read_text("utf-8")
    assert "data:image/svg+xml;base64," in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")
    assert not [path for path in folder.iterdir() if "partial" in path.name]
    json.loads((folder / f"{verb}.json").read_text("utf-8"))
    return page


def test_theory(capsys: Capture, tmp_path: Path) -> None:
    found = outcome(capsys, "theory", "--robustness", "0.1:0.5:5", "--gap", "1.5", "--out", tmp_path / "th")
    wanted = theory.capacity(np.linspace(0.1, 0.5, 5), gap=1.5)
    np.testing.assert_allclose(found["load"], wanted.load)
    rows = list(csv.DictReader((tmp_path / "th" / "curve.csv").read_text().splitlines()))
    np.testing.assert_allclose([float(row["density"]) for row in rows], wanted.density)
    whole(tmp_path / "th", "theory")
    inverse = outcome(capsys, "theory", "--load", "0.5", "--inhibitory", "0.1,0.2")
    np.testing.assert_allclose(inverse["robustness"], theory.max_robustness(0.5, inhibitory=[0.1, 0.2]).robustness)


def test_solve(capsys: Capture, tmp_path: Path) -> None:
    folder = tmp_path / "so"
    found = outcome(capsys, "solve", "--random", "60,30", "--inhibitory", "0.2", "--out", folder)
    assert found["status"] == "optimal"
    assert found["tight"] == found["connections"]
    assert "associations at the margin" in whole(folder, "solve")
    weights = np.loadtxt(folder / "weights.csv", delimiter=",", skiprows=1)
    assert np.abs(weights).mean() == pytest.approx(1)
    impossible = outcome(capsys, "solve", "--random", "20,60", "--out", tmp_path / "no")
    assert impossible["status"] == "infeasible"
    assert impossible["robustness"] is None
    assert not (tmp_path / "no" / "weights.csv").exists()


def test_solve_a_file(capsys: Capture, tmp_path: Path) -> None:
    file = patterns(tmp_path / "patterns.csv")
    found = outcome(capsys, "solve", file, "--density", "0.5", "--time-limit", "60")
    assert found["n_inputs"] == 20
    assert found["connections"] <= 10
    last = outcome(capsys, "solve", file, "--target", "answer", "--density", "0.5", "--time-limit", "60")
    assert found["robustness"] == last["robustness"]
    other = outcome(capsys, "solve", file, "--target", "1", "--method", "greedy", "--gap", "1.5")
    assert other["robustness"] != found["robustness"]


def test_learn_and_fit(capsys: Capture, tmp_path: Path) -> None:
    folder = tmp_path / "le"
    words: list[str | Path] = [
        "--random",
        "100,30",
        "--units",
        "6",
        "--robustness",
        "0.3",
        "--gap",
        "1.5",
        "--out",
        folder,
    ]
    found = outcome(capsys, "learn", *words)
    assert found["success"] == 6
    assert found["sparsity"] > 1 - 1 / 1.5 - 0.01
    assert "violated associations" in whole(folder, "learn")
    fitted = outcome(capsys, "fit", folder / "weights.csv", "--bootstrap", "0", "--out", tmp_path / "fi")
    assert fitted["n_cells"] == 6
    assert fitted["connection_probability"] == pytest.approx(1 - found["sparsity"])
    assert fitted["fits"]["l1"]["bic"] > fitted["fits"][fitted["best"]]["bic"]
    whole(tmp_path / "fi", "fit")


def test_learn_an_npz_file_of_several_units(capsys: Capture, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "patterns.npz"
    np.savez(path, X=rng.integers(0, 2, (10, 50)), y=rng.choice([-1, 1], (10, 3)))
    found = outcome(capsys, "learn", path, "--robustness", "0.2")
    assert (found["units"], found["success"]) == (3, 3)


def test_tables_in_the_terminal(capsys: Capture, tmp_path: Path) -> None:
    assert main(["associate", "theory", "--robustness", "0.1,0.3"]) == 0
    out, error = capsys.readouterr()
    assert "1.574" in out
    assert error == ""
    assert main(["associate", "learn", "--random", "50,10", "--quiet", "--out", str(tmp_path / "le")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "le" / "learn.html")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["theory", "--robustness", "-1"], "robustness must be in"),
        (["theory", "--robustness", "0.1:1:3", "--gap", "1,2"], "only one option must have several numbers"),
        (["theory", "--robustness", "x"], "must be numbers with commas"),
        (["theory", "--robustness", "0.1:1:1"], "from 2 to 10000 points"),
        (["theory", "--robustness", "1", "--load", "1"], "must not both be given"),
        (["theory", "--load", "5"], "load must be below"),
        (["theory", "--density", "0.2", "--gap", "1"], "exclude each other"),
        (["theory", "--f-in", "1"], "f_in must be in"),
        (["solve"], "DATA, a file of associations, or --random"),
        (["solve", "--random", "20"], "two whole numbers"),
        (["solve", "--random", "20,0"], "at least one association"),
        (["solve", "--random", "0,5"], "n_inputs must be"),
        (["solve", "--random", "20,10", "--inhibitory", "2"], "inhibitory must be in"),
        (["solve", "--random", "20,10", "--method", "best"], "method must be one of"),
        (["solve", "--random", "20,10", "--gap", "-1"], "gap must be in"),
        (["solve", "--random", "20,10", "--seed", "-1"], "seed must be"),
        (["learn", "--random", "20,10", "--steps", "0"], "steps must be"),
        (["learn", "--random", "20,10", "--robustness", "nan"], "robustness must be"),
        (["learn", "--random", "20,10", "--units", "0"], "n_units must be"),
        (["solve", "none.csv"], "can't be read"),
        (["fit", "none.csv"], "can't be read"),
        (["fit"], "WEIGHTS"),
        (["none"], "invalid choice"),
    ],
)
def test_what_is_wrong_is_named(words: list[str], message: str, capsys: Capture) -> None:
    assert message in mistake(capsys, *words)


def test_nothing_is_computed_for_a_folder_that_is_a_file(capsys: Capture, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    assert "out must be a folder" in mistake(capsys, "theory", "--out", file)
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "got none"),
        ("a\n1\n", "at least one input and the target"),
        ("a,b\n1,2\n", "zeros and ones, got 2"),
        ("a,b\n1,x\n", "'x' in row 2"),
        ("1,0\n1\n", "1 fields instead of 2 in row 2"),
        ("-1,1\n1,1\n", "zeros and ones, got -1"),
    ],
)
def test_bad_files_of_associations(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "patterns.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_associations(path)


def test_other_bad_files(tmp_path: Path) -> None:
    path = patterns(tmp_path / "patterns.csv")
    with pytest.raises(InputError, match=r"target must be one of i0.*from 1 to 21, got 'none'"):
        read_associations(path, "none")
    broken = tmp_path / "broken.npz"
    broken.write_bytes(b"PK nothing")
    with pytest.raises(InputError, match=r"must be an \.npz file"):
        read_associations(broken)
    np.savez(tmp_path / "other.npz", a=np.ones(3))
    with pytest.raises(InputError, match="must have the arrays X and y, got a"):
        read_associations(tmp_path / "other.npz")
    with pytest.raises(InputError, match="target must be left out"):
        read_associations(tmp_path / "other.npz", "y")


def test_ranges() -> None:
    assert numbers("0:1:3") == (0.0, 0.5, 1.0)
    assert numbers("0.1,2") == (0.1, 2.0)
