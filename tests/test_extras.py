"""What is imported, what `pyproject.toml` says that extras install, and what a user without them is told."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import gossamer
from gossamer import data
from gossamer.extras import OPTIONAL, needs

ROOT = Path(__file__).parents[1]
PACKAGE = Path(gossamer.__file__).parent
PROJECT = ROOT / "pyproject.toml"
pytestmark = pytest.mark.skipif(not PROJECT.is_file(), reason="pyproject.toml isn't here")

ROOMS = {
    "associative": "associative",
    "bench": "bench",
    "cli": "cli",
    "data": "data",
    "estimators": "sklearn",
    "report": "report",
    "studies": "study",
    "io": "cli",
    "runs": "cli",
    "training": "sklearn",
}
"""The extra that each room needs."""

DISTRIBUTIONS = {
    "PIL": "pillow",
    "charset_normalizer": "charset-normalizer",
    "joblib": "scikit-learn",
    "markupsafe": "jinja2",
    "sklearn": "scikit-learn",
}
"""Where a package is installed by another name, or with another."""

IMPORTED = {name: DISTRIBUTIONS.get(name, name) for name in (*OPTIONAL, "matplotlib", "pyarrow")}


def extras() -> dict[str, list[str]]:
    found: dict[str, list[str]] = tomllib.loads(PROJECT.read_text("utf-8"))["project"]["optional-dependencies"]
    return found


def packages(extra: str) -> set[str]:
    """The distributions that ``extra`` installs, those of the extras that it is made of included."""
    found: set[str] = set()
    for requirement in extras()[extra]:
        parts = re.fullmatch(r"gossamer\[(.*)\]", requirement)
        found |= set().union(*map(packages, parts[1].split(","))) if parts else {re.split("[>=<]", requirement)[0]}
    return found


def imported(path: Path) -> set[str]:
    """The packages of others that a file imports, at its head or where it needs them."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(str(node.module).partition(".")[0])
    return names - {"gossamer", "numpy", "torch", "triton"} - sys.stdlib_module_names


ABSENT = """
import sys

class Present:
    finders = list(sys.meta_path)

    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in {names}:
            return None
        return next(filter(None, (finder.find_spec(name, path, target) for finder in Present.finders)), None)

sys.meta_path[:] = [Present]
"""


def with_extras(code: str, *names: str) -> str:
    """What ``code`` prints where no other extras are installed."""
    there = set().union(*map(packages, names))
    absent = [name for name, package in IMPORTED.items() if package not in there and name != "threadpoolctl"]
    start = ABSENT.format(names=absent)
    done = subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---- what extras install ---------------------------------------------------------------------------------------------


def test_each_import_comes_with_the_extra_of_its_room() -> None:
    seen = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        names = imported(path)
        if path == PACKAGE / "estimators" / "fit_context.py":
            names.remove("rich")  # progress is told in lines where it is missing
        if names:
            room = path.relative_to(PACKAGE).parts[0]
            assert {IMPORTED[name] for name in names} <= packages(ROOMS[room]), path
        seen |= names
    assert seen == IMPORTED.keys() - {"pyarrow"}  # which pandas imports


def test_all_is_all() -> None:
    assert packages("all") == set(IMPORTED.values()) | {"openpyxl"}  # pandas imports that one
    assert packages("all") < packages("dev")


def test_extras_that_are_named_exist_and_the_first_page_lists_every_one() -> None:
    page = (ROOT / "README.md").read_text("utf-8")
    paths = [*PACKAGE.rglob("*.py"), *(ROOT / "docs").rglob("*.md")]
    for text in [page, *(path.read_text("utf-8") for path in paths)]:
        for named in re.findall(r"pip install '(?:gossamer|\.)\[([\w,]+)\]", text):
            assert set(named.split(",")) <= extras().keys()
    table = page[page.index("| extra |") : page.index("## In five lines")]
    assert extras().keys() == set(re.findall(r"`([a-z]+)`", table))


def test_estimators_do_with_their_extra(tmp_path: Path) -> None:
    path = tmp_path / "fitted.safetensors"
    code = f"""
import numpy, gossamer
x, y = numpy.random.default_rng(0).normal(size=(30, 4)), numpy.arange(30) % 3
fitted = gossamer.SparseClassifier((8,), max_epochs=2, early_stopping=True, verbose=True).fit(x, y)
fitted.save({str(path)!r})
assert (gossamer.SparseClassifier.load({str(path)!r}).predict(x) == fitted.predict(x)).all()
gossamer.SparseFeatureSelector(k=2, hidden=(8,), max_epochs=2).fit(x, y)
gossamer.estimators.DictionaryLearner(4, random_state=0).fit(x)
"""
    assert "epoch 2 of 2" in with_extras(code, "sklearn")


def test_data_do_with_their_extra(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.eye(20), y=[0, 1] * 10)
    code = f"""
from gossamer import data
print(len(data.load("wine").classes), len(data.load({str(tmp_path / "a.npz")!r}).classes))
"""
    assert with_extras(code, "data") == "3 2\n"


# ---- what is said without them ---------------------------------------------------------------------------------------


MISSING = [
    ("import gossamer.estimators", "gossamer.estimators needs sklearn", "sklearn"),
    ("gossamer.SparseClassifier", "gossamer.estimators needs sklearn", "sklearn"),
    ("gossamer.estimators.DictionaryLearner", "gossamer.estimators needs sklearn", "sklearn"),
    ("import gossamer.associative.theory", "gossamer.associative.theory needs scipy", "associative"),
    ("import gossamer.associative.solve", "gossamer.associative.solve needs scipy", "associative"),
    ("gossamer.data.load('wine')", "gossamer.data needs sklearn", "data"),
    ("gossamer.data.read_table('a.csv', target='y')", "gossamer.data needs pandas", "data"),
    ("gossamer.data.load_images('natural_images')", "gossamer.data needs PIL", "data"),
    ("import gossamer.report", "gossamer.report needs jinja2", "report"),
    ("gossamer.runs.load_model(Path('a.csv'))", "a safetensors file needs safetensors", "cli"),
    ("from gossamer.cli import main; assert main(['train', 'wine']) == 2", "the command line needs rich", "cli"),
    ("from gossamer.studies.figures import canvas; canvas(1, 1).__enter__()", "figures need matplotlib", "plot"),
]


def test_who_has_no_extra_is_told_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text("x,y\n1,2\n")
    code = f"""
import gossamer, gossamer.runs
from pathlib import Path
sys.stderr = sys.stdout
for code in {[code for code, _, _ in MISSING]}:
    try:
        exec(code)
    except (ModuleNotFoundError, gossamer.InputError) as error:
        print(error)
"""
    lines = with_extras(code).splitlines()
    for line, (_, what, extra) in zip(lines, MISSING, strict=True):
        remedy = f", which isn't installed: pip install 'gossamer[{extra}]'"
        assert line.endswith((what + remedy, what.replace("sklearn", "scipy") + remedy))  # whichever is asked for first


def test_parquet_without_pyarrow_is_told_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    monkeypatch.setattr("pandas.read_parquet", lambda _: __import__("gossamer_no_such_engine"))
    with pytest.raises(gossamer.InputError, match=r"pip install 'gossamer\[parquet\]'"):
        data.read_table(tmp_path / "a.parquet", target="y")


def test_what_is_missing_but_no_extra_is_let_pass() -> None:
    for name in ("gossamer.nothing", "torch", None):
        with pytest.raises(ModuleNotFoundError, match=r"^gone$"), needs("data", "this"):
            raise ModuleNotFoundError("gone", name=name)


def test_the_innermost_word_counts() -> None:
    with (
        pytest.raises(ModuleNotFoundError, match=r"^inner needs PIL, .*'gossamer\[data\]'$") as error,
        needs("cli", "outer"),
        needs("data", "inner"),
    ):
        raise ModuleNotFoundError("gone", name="PIL.Image")
    assert error.value.name == "PIL"
