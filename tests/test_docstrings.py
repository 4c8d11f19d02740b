"""Docstrings of the public interface: their examples run, and their sections name every argument and result.

Examples assume the imports that the docstring of `gossamer` names (``torch``, ``nn``, ``np`` and ``gs``) and import
everything else themselves. Every docstring starts from the same state of torch's own generator.
"""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import gossamer as gs

ROOT = Path(gs.__file__).parent
ROOMS = (
    *("", "activation", "associative", "associative.conditions", "associative.recall", "associative.solve"),
    *("associative.theory", "bench", "connectivity", "connectivity.constraints", "data", "estimators", "evaluate"),
    *("evaluate.attacks",),
    *("functional", "measures", "models", "plasticity", "plasticity.drop", "plasticity.grow", "plasticity.schedule"),
    *("projections", "report", "runs", "training"),
)
NAMESPACE = {"torch": torch, "nn": nn, "np": np, "gs": gs}
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
NAMED = re.compile(r"(\*{0,2}\w+(?:, \*{0,2}\w+)*)(?: \([^)]*\))?:(?: |$)")


def imported(name: str) -> ModuleType:
    """A module of gossamer; the test is skipped where it needs a package that is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if (error.name or "gossamer").startswith("gossamer"):
            raise
        pytest.skip(str(error))


def with_examples() -> list[str]:
    """Modules with examples, by a look at the text: an import may need an extra."""
    found = [path for path in sorted(ROOT.rglob("*.py")) if ">>>" in path.read_text("utf-8")]
    names = [".".join(("gossamer", *path.relative_to(ROOT).with_suffix("").parts)) for path in found]
    return [name.removesuffix(".__init__") for name in names]


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("name", with_examples())
def test_examples(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tests = [test for test in doctest.DocTestFinder().find(imported(name), globs=NAMESPACE) if test.examples]
    assert tests
    monkeypatch.chdir(tmp_path)
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    report: list[str] = []
    with torch.random.fork_rng():
        for test in tests:
            torch.manual_seed(0)
            runner.run(test, out=report.append)
    assert not runner.failures, "".join(report)


def public(room: str) -> Iterator[tuple[str, Any]]:
    """What a room exports, and the public methods of its classes."""
    module = imported(f"gossamer.{room}".removesuffix("."))
    for name in module.__all__:
        value = getattr(module, name)
        if not (inspect.isclass(value) or inspect.isroutine(value)) or not value.__module__.startswith("gossamer"):
            continue
        yield name, value
        for attribute, member in vars(value).items() if inspect.isclass(value) else ():
            function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
            if inspect.isfunction(function) and not attribute.startswith("_") and attribute != "extra_repr":
                yield f"{name}.{attribute}", function


def section(doc: str, *names: str) -> str:
    """The text of the sections with one of these names, without its indentation; empty if there is none."""
    found = re.findall(rf"^(?:{'|'.join(names)}):\n((?:[ ]+.*\n|\n)+)", doc + "\n", re.MULTILINE)
    return "\n".join(inspect.cleandoc("\n" + text) for text in found)


def documented(text: str) -> set[str]:
    """The names that the lines of a section start with."""
    entries = [match for line in text.splitlines() if (match := NAMED.match(line))]
    return {name.lstrip("*") for match in entries for name in match[1].split(", ")}


def fields(value: type) -> list[str]:
    """The arguments of a constructor that is of ours."""
    if not dataclasses.is_dataclass(value) and not hasattr(value, "_fields"):
        start = inspect.getattr_static(value, "__init__")
        if not getattr(start, "__module__", "").startswith("gossamer"):
            return []
    return [name for name in inspect.signature(value).parameters if not name.startswith("_")]


def faults(name: str, value: Any) -> Iterator[str]:
    doc = inspect.cleandoc(vars(value).get("__doc__") or value.__doc__ or "")
    if inspect.isclass(value):
        if issubclass(value, Exception) or getattr(value, "_is_protocol", False):
            return
        docs = [inspect.cleandoc(vars(each).get("__doc__") or "") for each in value.__mro__]
        missing = set(fields(value)).difference(*(documented(section(each, "Args", "Attributes")) for each in docs))
    else:
        parameters = [each for each in inspect.signature(value).parameters if each not in ("self", "cls")]
        missing = {each for each in parameters if not each.startswith("_")} - documented(section(doc, "Args"))
        result = str(inspect.signature(value).return_annotation)
        if result not in ("None", "Self", name.partition(".")[0]) and not section(doc, "Returns", "Yields"):
            yield f"{name}: no Returns"
    if missing:
        yield f"{name}: Args without {', '.join(sorted(missing))}"
    if "." not in name and ">>>" not in doc:
        yield f"{name}: no Example"
    if name.endswith(".forward") and not re.search(r"\(.*\w.*\)", section(doc, "Args") + section(doc, "Returns")):
        yield f"{name}: no shapes"


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room or "gossamer")
def test_sections(room: str) -> None:
    found = [fault for name, value in public(room) for fault in faults(name, value)]
    assert not found, "\n".join(found)


class Undocumented(nn.Module):
    """A layer.

    Args:
        size: a number.
    """

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Add.

        Args:
            x: a tensor.
        """
        return x + y


def test_faults_are_found() -> None:
    assert list(faults("Undocumented", Undocumented)) == ["Undocumented: no Example"]
    name = "Undocumented.forward"
    assert list(faults(name, Undocumented.forward)) == [
        f"{name}: no Returns",
        f"{name}: Args without y",
        f"{name}: no shapes",
    ]
