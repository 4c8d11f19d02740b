"""Feature selection by the connectivity of a sparse network, beside scikit-learn's usual selectors.

J. Pieterse & D. C. Mocanu, "Evolving and understanding sparse deep neural networks using cosine similarity", arXiv
1903.07138v1, 2019 (the inputs that CoDACoRSET connects most); Z. Atashgahi et al., "Quick and robust feature selection:
the strength of energy-efficient sparse training for autoencoders", arXiv 2012.00560 (QuickSelection).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gossamer.studies import trials
from gossamer.studies.feature_selection.experiment import carry_out, plans, trials_of
from gossamer.studies.trials import Watch

if TYPE_CHECKING:
    from gossamer.studies.findings import Findings

__all__ = ["CLAIM", "PRESETS", "TITLE", "run"]

TITLE = "Feature selection: are the best connected inputs the best features?"
CLAIM = (
    "The evolved input connectivity reflects each input's impact on the classification "
    "(Pieterse & Mocanu, arXiv 1903.07138v1, 2019), so the inputs with the most connections should be selected."
)
PRESETS = {
    "quick": "digits, breast_cancer and synthetic data like Madelon, 5 divisions; two minutes",
    "full": "eight data sets, 3 or 5 divisions; under half an hour with --jobs 2 on two cores; needs GOSSAMER_DATA",
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
    from gossamer.studies.feature_selection import outcome
    from gossamer.studies.findings import Findings

    chosen = plans(preset, seeds, data)
    records = trials.run(trials_of(chosen), carry_out, folder, jobs=jobs, watch=watch)
    return Findings(
        title=TITLE,
        claim=CLAIM,
        preset=preset,
        claims=outcome.claims(chosen, records),
        summary=outcome.summary(chosen, records),
        tables=outcome.tables(chosen, records),
        figures=outcome.figures(chosen, records),
        departures=_departures(preset, jobs),
        settings={
            "features selected": sorted({count for plan in chosen.values() for count in plan.counts}),
            "judges": "50 extremely randomised trees, 5 nearest neighbours, linear support vector machine",
            "divisions": sorted({plan.seeds for plan in chosen.values()}),
        },
    )


def _departures(preset: str, jobs: int) -> list[str]:
    notes = [
        "The networks are SparseFeatureSelector with its defaults, which follow the papers for CoDACoRSET and "
        "QuickSelection; QuickSelection's noise is drawn anew for each batch, not once.",
        "SET as a selector is ours: its one hidden layer and its number of epochs were chosen on the first division of "
        "the data sets of the full preset, so its results there are optimistic.",
        "No selector is tuned to a data set; features are standardised, word counts are log(1 + count).",
        "The divisions of the rows differ from seed to seed, except on Madelon, which has fixed test rows: there only "
        "the random numbers of the selectors differ.",
    ]
    if preset == "quick":
        notes.append("The networks have hidden layers of 200 units and train for 30 epochs.")
    else:
        notes.append(
            "On allaml, glioma and arcene, with fewer than 150 training rows, the networks train in batches of 10, at "
            "a learning rate of 0.01, for 50 epochs: with the usual 100 rows in a batch an epoch would have one step."
        )
    if jobs > 1:
        notes.append(f"{jobs} selectors ran at a time: their times are longer than those of a single one.")
    return notes
