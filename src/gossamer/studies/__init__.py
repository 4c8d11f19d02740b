"""Studies: a paper's claim, the experiment that tests it, and a verdict.

A study is a module of this room that has the members of `Study`. It turns its experiment into `trials.Trial`s, lets
`trials.run` carry them out so that nothing finished is ever lost, and puts its results into a `findings.Findings`,
from which ``gossamer study NAME`` writes tables, figures and a page.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from gossamer.errors import check_choice

if TYPE_CHECKING:
    from gossamer.studies.findings import Findings
    from gossamer.studies.trials import Watch

__all__ = ["Study", "load", "names"]

_MODULES = {
    "sparse-autoencoder": "sparse_autoencoder",
    "dictionary": "dictionary",
    "evolving-connectivity": "evolving_connectivity",
    "feature-selection": "feature_selection",
    "associative-capacity": "associative_capacity",
    "weak-elimination": "weak_elimination",
    "strong-activations": "strong_activations",
}


class Study(Protocol):
    """The interface of a study's module.

    ``TITLE`` is the question in a few words, ``CLAIM`` the paper's statement in one line with a citation. ``PRESETS``
    describes each preset (``quick``, ``full``, and maybe others) and its approximate duration. Importing the module is
    cheap: heavy packages are imported by the functions that use them.
    """

    TITLE: str
    CLAIM: str
    PRESETS: Mapping[str, str]

    def run(self, preset: str, folder: Path, *, seeds: int | None, jobs: int, watch: Watch) -> Findings:
        """Run the remaining trials of ``preset`` in ``folder``, and return the findings.

        ``seeds`` overrides the preset's number of seeds, ``jobs`` is the number of processes. A study whose data can be
        chosen has one more keyword, ``data: tuple[str, ...] | None = None``, with the names given by ``--data``.
        """
        ...


def names() -> tuple[str, ...]:
    """List the studies."""
    return tuple(name for name, module in _MODULES.items() if importlib.util.find_spec(f"{__name__}.{module}"))


def load(name: str) -> Study:
    """Import the study of that name."""
    check_choice("study", name, names())
    return cast(Study, importlib.import_module(f"{__name__}.{_MODULES[name]}"))
