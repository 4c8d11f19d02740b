"""Capacity and sparsity of associative learning under constraints: theory, exact solvers and the online rule.

M. M. J. Baig, A. Stepanyants, "Sparse learning enabled by constraints on connectivity and function", arXiv 2409.04946.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gossamer.errors import check_choice, check_count
from gossamer.studies import trials
from gossamer.studies.associative_capacity.experiment import PLANS, Plan, carry_out, trials_of
from gossamer.studies.trials import Watch

if TYPE_CHECKING:
    from gossamer.studies.findings import Findings

__all__ = ["CLAIM", "PRESETS", "TITLE", "run"]

TITLE = "Associative learning: how much capacity do sparse connections cost?"
CLAIM = (
    "The l0 norm gives the optimal sparsity of connections at a given capacity; eliminating weak connections (a gap) "
    "is nearly as efficient, and can be done online (Baig & Stepanyants, arXiv 2409.04946)."
)
PRESETS: Mapping[str, str] = {
    "quick": "N = 100, 4 draws; mixed-integer programs at N = 12 and 16; a minute",
    "full": "N = 200 and 400, 6 to 20 draws; mixed-integer programs at N = 16, 20 and 24; half an hour on one thread",
}


def run(preset: str, folder: Path, *, seeds: int | None = None, jobs: int = 1, watch: Watch | None = None) -> Findings:
    """Carry out the study (see `gossamer.studies.Study`)."""
    plan = PLANS[check_choice("preset", preset, tuple(PLANS))]
    if seeds is not None:
        plan = plan.with_draws(check_count("seeds", seeds, low=2))
    return carried_out(preset, plan, folder, jobs=jobs, watch=watch)


def carried_out(preset: str, plan: Plan, folder: Path, *, jobs: int = 1, watch: Watch | None = None) -> Findings:
    """The same by a plan of one's own."""
    from gossamer.studies.associative_capacity.outcome import findings

    records = trials.run(trials_of(plan), carry_out, folder, jobs=jobs, watch=watch)
    return replace(findings(plan, records), title=TITLE, claim=CLAIM, preset=preset)
