"""Dictionary learning: the Hebbian-like rule with codes of given sparseness beside online dictionary learning.

M. Thom, M. Rapp, G. Palm, "Efficient dictionary learning with sparseness-enforcing projections", IJCV 114, 2015; J.
Mairal, F. Bach, J. Ponce, G. Sapiro, "Online dictionary learning for sparse coding", ICML 2009, in the form of
scikit-learn's `MiniBatchDictionaryLearning`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from gossamer.errors import check_choice, check_count
from gossamer.studies import trials
from gossamer.studies.dictionary.experiment import PLANS, Plan, carry_out, trials_of
from gossamer.studies.trials import Watch

if TYPE_CHECKING:
    from gossamer.studies.findings import Findings

__all__ = ["CLAIM", "PRESETS", "TITLE", "run"]

TITLE = "Dictionary learning: is a Hebbian rule as good as optimisation, and how much faster?"
CLAIM = (
    "A Hebbian-like rule with codes from the sparseness-enforcing projection learns dictionaries about 30 % faster "
    "than online dictionary learning, reproduces and denoises images as well; atoms may be separable or "
    "topographic (Thom, Rapp & Palm, IJCV 114, 2015)."
)
PRESETS: Mapping[str, str] = {
    "quick": "20,000 patches of 12 × 12 from two photographs, 144 atoms; a minute",
    "full": "100,000 patches of 16 × 16 from 360 photographs, 256 atoms, 2 seeds; 13 minutes; needs GOSSAMER_DATA",
}


def run(preset: str, folder: Path, *, seeds: int | None = None, jobs: int = 1, watch: Watch | None = None) -> Findings:
    """Carry out the study (see `gossamer.studies.Study`)."""
    plan = PLANS[check_choice("preset", preset, tuple(PLANS))]
    if seeds is not None:
        plan = replace(plan, seeds=check_count("seeds", seeds, low=1))
    return carried_out(preset, plan, folder, jobs=jobs, watch=watch)


def carried_out(preset: str, plan: Plan, folder: Path, *, jobs: int = 1, watch: Watch | None = None) -> Findings:
    """Run the study by another plan."""
    from gossamer.studies.dictionary.outcome import findings

    records = trials.run(trials_of(plan), carry_out, folder, jobs=jobs, watch=watch)
    return replace(findings(plan, records), title=TITLE, claim=CLAIM, preset=preset)
