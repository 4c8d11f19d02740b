"""The supervised auto-encoder: sparse activations and sparse connectivity beside neither, each, and other networks.

M. Thom, G. Palm, "Sparse activity and sparse connectivity in supervised learning", JMLR 14, 2013. Its claims are
those of the abstract; the model is reconstructed from memory, and most settings are not known to us. Of its errors
only the best is compared with, as a third party lists it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gossamer.errors import check_choice, check_count
from gossamer.studies import trials
from gossamer.studies.sparse_autoencoder.experiment import PLANS, Plan, carry_out, trials_of
from gossamer.studies.trials import Watch

if TYPE_CHECKING:
    from gossamer.studies.findings import Findings

__all__ = ["CLAIM", "PRESETS", "TITLE", "run"]

TITLE = "Supervised auto-encoder: do sparse activations and sparse connectivity help to classify?"
CLAIM = (
    "Sparse activations or sparse connectivity improve the classification of MNIST's digits, and both together are "
    "significantly better than networks with neither (Thom & Palm, JMLR 14, 2013)."
)
PRESETS: Mapping[str, str] = {
    "quick": "digits, 200 hidden units, 6 seeds; two minutes",
    "full": "MNIST with shifts by one pixel, 1000 hidden units, 5 seeds; an hour on two cores; needs GOSSAMER_DATA",
}


def run(preset: str, folder: Path, *, seeds: int | None = None, jobs: int = 1, watch: Watch | None = None) -> Findings:
    """Carry out the study (see `gossamer.studies.Study`)."""
    plan = PLANS[check_choice("preset", preset, tuple(PLANS))]
    if seeds is not None:
        plan = replace(plan, seeds=check_count("seeds", seeds, low=1))
    return carried_out(preset, plan, folder, jobs=jobs, watch=watch)


def carried_out(preset: str, plan: Plan, folder: Path, *, jobs: int = 1, watch: Watch | None = None) -> Findings:
    """Run the study by another plan."""
    from gossamer.studies.sparse_autoencoder.outcome import findings

    records = trials.run(trials_of(plan), carry_out, folder, jobs=jobs, watch=watch)
    return replace(findings(plan, records, jobs), title=TITLE, claim=CLAIM, preset=preset)
