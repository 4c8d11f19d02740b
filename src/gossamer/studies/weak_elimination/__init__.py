"""Deep networks that eliminate weak connections while they learn, beside other ways to the same density.

M. M. Junaid Baig, A. Stepanyants, "Sparse learning enabled by constraints on connectivity and function", arXiv
2409.04946, 2024, whose claim is about one threshold unit; whether it carries over to deep networks is asked here.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gossamer.studies import trials
from gossamer.studies.trials import Record, Watch
from gossamer.studies.weak_elimination.experiment import (
    at_equal_density,
    carry_out,
    chosen_options,
    gap_trials,
    others_tuned,
    tuned_gaps,
)
from gossamer.studies.weak_elimination.settings import Options, Plan, plans

if TYPE_CHECKING:
    from gossamer.studies.findings import Findings

__all__ = ["CLAIM", "PRESETS", "TITLE", "carried_out", "run", "tuned"]

TITLE = "Weak connections: does a deep network that eliminates them while it learns find a good sparsity?"
CLAIM = (
    "Eliminating weak connections is nearly as efficient as the optimal sparsity of the l0 norm, and can be "
    "done online "
    "(Baig & Stepanyants, arXiv 2409.04946, 2024, for a threshold unit)."
)
PRESETS = {
    "quick": "digits and breast_cancer, 2 densities, 5 seeds, options tuned; a minute",
    "full": (
        "fashion_mnist and isolet, 5 and 4 densities, 5 seeds, options tuned; "
        "25 minutes with --jobs 2 on two cores; needs GOSSAMER_DATA"
    ),
}


def run(
    preset: str,
    folder: Path,
    *,
    seeds: int | None = None,
    jobs: int = 1,
    watch: Watch | None = None,
    data: tuple[str, ...] | None = None,
) -> Findings:
    """Carry out the study (see `gossamer.studies.Study`)."""
    from gossamer.studies.findings import Findings
    from gossamer.studies.weak_elimination import outcome

    chosen = plans(preset, seeds, data)
    options, tuning = tuned(chosen, folder, jobs=jobs, watch=watch)
    records = carried_out(chosen, options, folder, jobs=jobs, watch=watch)
    return Findings(
        title=TITLE,
        claim=CLAIM,
        preset=preset,
        claims=outcome.claims(chosen, records),
        summary=outcome.summary(chosen, records),
        tables=[*outcome.tables(chosen, records), outcome.tuning_table(chosen, options, tuning)],
        figures=outcome.figures(chosen, records),
        departures=outcome.departures(jobs),
        settings=outcome.settings(chosen),
    )


def tuned(
    chosen: dict[str, Plan], folder: Path, *, jobs: int = 1, watch: Watch | None = None
) -> tuple[Options, list[Record]]:
    """The option of each method, by validation rows and seeds that are not reported; and the trials that chose it."""
    gaps = trials.run(tuned_gaps(chosen), carry_out, folder, jobs=jobs, watch=watch)
    own = chosen_options(gaps)
    others = trials.run(others_tuned(gaps, own), carry_out, folder, jobs=jobs, watch=watch)
    return own | chosen_options(others), gaps + others


def carried_out(
    chosen: dict[str, Plan], options: Options, folder: Path, *, jobs: int = 1, watch: Watch | None = None
) -> list[Record]:
    """All reported records: first the networks that find their density, then the others at these densities."""
    found = trials.run(gap_trials(chosen, options), carry_out, folder, jobs=jobs, watch=watch)
    return found + trials.run(at_equal_density(found, options), carry_out, folder, jobs=jobs, watch=watch)
