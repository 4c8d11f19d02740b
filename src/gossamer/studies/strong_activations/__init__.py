"""Strong, sparse activations: sparser, more robust to noise, more robust to attacks?

M. Cekic, C. Bakiskan, U. Madhow, "Neuro-inspired deep neural networks with sparse, strong activations", ICIP 2022,
arXiv 2202.13074, whose robustness was measured with APGD alone; here also with PGD, Square, gradients past the
thresholds, transfer, and checks for masked gradients.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gossamer.studies import trials
from gossamer.studies.strong_activations.plans import Plan, check_device, planned, trials_of
from gossamer.studies.trials import Record, Watch

if TYPE_CHECKING:
    from gossamer.studies.findings import Findings

__all__ = ["CLAIM", "PRESETS", "TITLE", "carried_out", "run"]

TITLE = "Strong, sparse activations: are networks of HaH blocks sparser, and robust to noise and to attacks?"
CLAIM = (
    "Networks with Hebbian and anti-Hebbian (HaH) learning, divisive normalisation and thresholds have sparser "
    "activations at little loss of clean accuracy, and are more robust to noise and to adversarial perturbations, "
    "without noisy or adversarial training data (Cekic, Bakiskan & Madhow, ICIP 2022)."
)
PRESETS: Mapping[str, str] = {
    "quick": "digits, 4 networks of 4 convolutions, 3 seeds, 50 images attacked; 3 minutes with --jobs 2 on two cores",
    "full": (
        "digits, 10 networks, and fashion_mnist, 4 networks on 1500 training rows, 5 seeds, 50 images attacked; "
        "half an hour with --jobs 2 on two cores; needs GOSSAMER_DATA"
    ),
    "gpu": (
        "cifar10, VGG16 by the published recipe, 3 networks, 3 seeds, 1000 images attacked; hours on a CUDA GPU; "
        "needs GOSSAMER_DATA"
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
    from gossamer.studies.strong_activations import outcome, pictures

    chosen = planned(preset, seeds, data)
    check_device(chosen)
    records = carried_out(chosen, folder, jobs=jobs, watch=watch)
    return Findings(
        title=TITLE,
        claim=CLAIM,
        preset=preset,
        claims=outcome.claims(chosen, records),
        summary=outcome.summary(chosen, records),
        tables=outcome.tables(chosen, records),
        figures=pictures.figures(chosen, records),
        departures=outcome.departures(chosen, jobs),
        settings=outcome.settings(chosen),
    )


def carried_out(chosen: dict[str, Plan], folder: Path, *, jobs: int = 1, watch: Watch | None = None) -> list[Record]:
    """All records: first the baselines, from which attacks on the others are transferred."""
    from gossamer.studies.strong_activations.experiment import carry_out

    function = partial(carry_out, folder=folder)
    baselines, others = trials_of(chosen)
    found = trials.run(baselines, function, folder, jobs=jobs, watch=watch)
    return found + trials.run(others, function, folder, jobs=jobs, watch=watch)
