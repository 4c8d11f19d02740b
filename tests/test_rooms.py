"""Who imports whom: no import runs upward, and there are no circles, between rooms or between modules.

The table says what each room may import besides itself. Imports inside functions count; those that only a type checker
follows (``if TYPE_CHECKING``) count too, except in ``gossamer/__init__.py``, whose names are looked up on demand.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import gossamer

ROOT = Path(gossamer.__file__).parent

BASE = {"errors", "extras"}  # what a mistake raises, and what is not installed
LAYERS = {"activation", "connectivity", "kernels", "measures", "noise", "projections"}
TRAINED = LAYERS | {"evaluate", "models", "plasticity", "training"}
EVERYTHING = TRAINED | {"associative", "data", "device", "estimators", "io", "machine"}

MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "extras": {"errors"},
    "measures": {"errors"},
    "noise": {"errors", "kernels"},
    "device": BASE,
    "machine": set(),
    "kernels": {"errors"},
    "projections": {"errors", "kernels"},
    "activation": {"errors", "kernels", "measures", "noise", "projections"},
    "connectivity": {"errors", "kernels", "measures", "noise", "projections"},
    "functional": {"activation", "connectivity", "projections"},
    "plasticity": {"connectivity", "errors", "kernels"},
    "associative": {"connectivity", "kernels"} | BASE,
    "models": LAYERS | {"errors"},
    "evaluate": LAYERS | {"errors", "models"},
    "training": TRAINED | {"errors"},
    "io": BASE,
    "data": BASE,
    "estimators": TRAINED | BASE | {"device", "io"},
    "runs": TRAINED | BASE | {"data", "device", "io", "machine"},
    "report": BASE | {"io", "runs"},
    "bench": EVERYTHING | BASE,
    "studies": EVERYTHING | BASE | {"bench", "report"},
    "cli": EVERYTHING | BASE | {"bench", "report", "runs", "studies"},
    "__main__": {"cli"},
}


def modules() -> dict[str, Path]:
    """All modules of the package, by dotted name without ``gossamer``; the package itself is ""."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(name: str, source: str, *, is_package: bool) -> Iterator[str]:
    """The modules of the package that ``source`` of the module ``name`` imports, anywhere in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from inside(alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                here = ["gossamer", *(name.split(".") if name else [])]
                here = here[: len(here) - node.level + is_package]
                base = ".".join([*here, base]) if base else ".".join(here)
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                yield from inside(whole if whole.removeprefix("gossamer.") in MODULES else base)


def inside(name: str) -> Iterator[str]:
    if name == "gossamer" or name.startswith("gossamer."):
        yield name.removeprefix("gossamer").removeprefix(".")


def graph() -> dict[str, set[str]]:
    return {
        name: set(imports(name, path.read_text("utf-8"), is_package=path.name == "__init__.py")) - {name}
        for name, path in MODULES.items()
    }


GRAPH = graph()


def room(module: str) -> str:
    return module.split(".", maxsplit=1)[0]


def violations(found: Mapping[str, set[str]]) -> set[tuple[str, str]]:
    """Imports that the table does not allow.

    The package itself ("") imports a room at the first use of its names, so any module may import it, for its version.
    """
    return {
        (name, other)
        for name, others in found.items()
        for other in others
        if name and other and room(name) != room(other) and room(other) not in MAY_IMPORT.get(room(name), set())
    }


def circle(found: Mapping[str, set[str]]) -> list[str]:
    """A circle of names, the first one again at the end; empty if there is none."""
    done: set[str] = set()
    path: list[str] = []

    def visit(name: str) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        path.append(name)
        for other in sorted(found.get(name, ())):
            if closed := visit(other):
                return closed
        done.add(path.pop())
        return []

    return next((closed for name in sorted(found) if (closed := visit(name))), [])


def by_module(found: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Without what a package's ``__init__`` collects: it imports its own modules by purpose."""
    return {
        name: others - {""} for name, others in found.items() if MODULES.get(name, Path("x.py")).name != "__init__.py"
    }


def test_every_room_stands_in_the_table() -> None:
    rooms = {room(name) for name in MODULES} - {""}
    assert rooms - MAY_IMPORT.keys() == set()
    named = set().union(*MAY_IMPORT.values())
    assert named - MAY_IMPORT.keys() == set()


def test_the_table_has_no_circle() -> None:
    assert circle({name: others - {name} for name, others in MAY_IMPORT.items()}) == []


def test_no_import_runs_upward() -> None:
    assert violations(GRAPH) == set()


def test_there_is_no_circle_of_modules() -> None:
    assert circle(by_module(GRAPH)) == []


def test_no_study_imports_from_another() -> None:
    """Modules that several studies need lie beside the studies' packages."""

    def package(module: str) -> str:
        parts = module.split(".")
        return parts[1] if parts[0] == "studies" and f"studies.{parts[1]}.experiment" in MODULES else ""

    studies = {name: package(name) for name in GRAPH if name.startswith("studies.")}
    assert len(set(studies.values()) - {""}) >= 4
    crossing = {
        (name, other)
        for name, study in studies.items()
        for other in GRAPH[name]
        if study and studies.get(other) and studies[other] != study
    }
    assert crossing == set()


def test_imports_are_found_wherever_they_are() -> None:
    source = (
        "import gossamer.kernels\nfrom . import recipe\nfrom ..models import mlp\nfrom gossamer import io\n"
        "def f():\n    from gossamer.models.mlp import MLP\n    import gossamer\n"
        "if TYPE_CHECKING:\n    from gossamer.runs.run import train\n"
    )
    found = set(imports("training.loop", source, is_package=False))
    assert found == {"kernels", "training.recipe", "models.mlp", "io", "", "runs.run"}
    assert set(imports("training", "from .loop import Fit\n", is_package=True)) == {"training.loop"}


@pytest.mark.parametrize(
    ("importer", "imported"),
    [("kernels.ops", "connectivity.pattern"), ("estimators.base", "runs.run"), ("models.mlp", "training.loop")],
)
def test_a_wrong_import_would_be_found(importer: str, imported: str) -> None:
    changed = GRAPH | {importer: GRAPH[importer] | {imported}}
    assert (importer, imported) in violations(changed)


def test_a_circle_would_be_found() -> None:
    changed = by_module(GRAPH) | {"training.recipe": {"training.loop"}}
    found = circle(changed)
    assert found[0] == found[-1]
    assert {"training.loop", "training.recipe"} <= set(found)
