"""One selector on one division of the rows: which features it ranks first, and how far others get with them.

===================  =================================================================================================
``SET``              `SparseFeatureSelector`: strengths of the inputs of a classifier with random rewiring
``CoDACoRSET``       `SparseFeatureSelector`: connections of the inputs of a classifier that rewires itself
``QuickSelection``   `SparseFeatureSelector`: strengths of the inputs of a denoising auto-encoder; doesn't look at y
``mutual info``      scikit-learn's ``mutual_info_classif``
``F test``           ``f_classif``
``L1``               weights of a linear support vector machine with the l1 norm (``LinearSVC``)
``trees``            importances in a random forest of 300 trees
``RFE``              recursive elimination: logistic regression, again and again without the half of least weight
``random``           a control: random features
===================  =================================================================================================

Selectors have their usual settings. The selection is judged by three models that see nothing else: 50 extremely
randomised trees, 5 nearest neighbours, and a linear support vector machine.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gossamer.studies.rows import Divided, divided
from gossamer.studies.trials import Trial

__all__ = ["JUDGES", "OURS", "PLANS", "SELECTORS", "USUAL", "Plan", "carry_out", "made", "plans", "trials_of"]

OURS = ("SET", "CoDACoRSET", "QuickSelection")
USUAL = ("mutual info", "F test", "L1", "trees", "RFE")
SELECTORS = (*OURS, *USUAL, "random")
JUDGES = ("trees", "neighbours", "linear")

_MADE = "madelon_like"
_KEPT = 200  # of a ranking

Features = NDArray[np.float32]
Classes = NDArray[np.int64]


@dataclass(frozen=True)
class Plan:
    """Settings of one data set.

    ``counts``: how many features are selected; ``network``: arguments of `SparseFeatureSelector` that differ from its
    defaults.
    """

    seeds: int
    counts: tuple[int, ...] = (5, 10, 20, 50, 100, 200)
    network: Mapping[str, Any] = field(default_factory=dict)
    test_size: float = 0.2


_QUICK = Plan(seeds=5, counts=(2, 5, 10, 20), network={"hidden": 200, "max_epochs": 30})
_TINY = Plan(seeds=5, network={"batch_size": 10, "learning_rate": 0.01, "max_epochs": 50}, test_size=1 / 3)

PLANS: Mapping[str, Mapping[str, Plan]] = {
    "quick": {"digits": _QUICK, _MADE: _QUICK, "breast_cancer": _QUICK},
    "full": {name: Plan(seeds=3) for name in ("madelon", "isolet", "coil20", "basehock", "pcmac")}
    | dict.fromkeys(("allaml", "glioma", "arcene"), _TINY),
}


def plans(preset: str, seeds: int | None, data: tuple[str, ...] | None) -> dict[str, Plan]:
    """The plan of each data set; one that the preset doesn't know gets that of its first."""
    known = PLANS[preset]
    other = next(iter(known.values()))
    chosen = {name: known.get(name, other) for name in data or known}
    return {name: plan if seeds is None else replace(plan, seeds=seeds) for name, plan in chosen.items()}


def trials_of(plans: Mapping[str, Plan]) -> list[Trial]:
    """Every selector on every data set and division."""
    return [
        Trial(selector, name, seed, {k: v for k, v in asdict(plan).items() if k != "seeds"})
        for name, plan in plans.items()
        for seed in range(plan.seeds)
        for selector in SELECTORS
    ]


def carry_out(trial: Trial) -> dict[str, Any]:
    """Rank the features on the training rows, then train and test every judge on the best k of them.

    A network that diverges leaves them in random order.
    """
    from gossamer.training import DivergedError

    settings: dict[str, Any] = {**trial.settings, "counts": tuple(trial.settings["counts"])}
    plan = Plan(seeds=1, **settings)
    rows = made(trial.seed) if trial.dataset == _MADE else divided(trial.dataset, trial.seed, plan.test_size)
    start, diverged = time.perf_counter(), False
    with warnings.catch_warnings():
        # a solver that stops at its limit has a ranking all the same; features that are constant have no F
        warnings.simplefilter("ignore")
        try:
            ranking = _SELECTORS[trial.variant](rows.x, rows.y, plan, trial.seed)
        except DivergedError:
            ranking, diverged = _random(rows.x, rows.y, plan, trial.seed), True
        seconds = time.perf_counter() - start
        counts = [count for count in plan.counts if count <= len(ranking)]
        accuracy = {judge: [_judged(judge, rows, ranking[:count], trial.seed) for count in counts] for judge in JUDGES}
    return {
        "select_seconds": seconds,
        "diverged": diverged,
        "counts": counts,
        "accuracy": accuracy,
        "ranking": ranking[:_KEPT].tolist(),
        "features": len(ranking),
        "rows": len(rows.y),
        "test_rows": len(rows.y_test),
    }


def made(seed: int) -> Divided:
    """Make data after Madelon's recipe (Guyon 2003).

    Clusters at the corners of a cube of 5 dimensions, their classes at random; columns 0 to 4 are its coordinates, 5 to
    19 mixtures of them, 20 to 199 noise.
    """
    from sklearn.datasets import make_classification
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    x, y = make_classification(
        1500,
        200,
        n_informative=5,
        n_redundant=15,
        n_clusters_per_class=4,
        class_sep=1.5,
        shuffle=False,
        random_state=seed,
    )
    x, x_test, y, y_test = train_test_split(x, y, test_size=1 / 3, random_state=seed, stratify=y)
    scaler = StandardScaler().fit(x)
    x, x_test = (scaler.transform(part).astype(np.float32) for part in (x, x_test))
    return Divided(x, y.astype(np.int64), x_test, y_test.astype(np.int64), 2)


# ---- selectors: the features from best to worst ----------------------------------------------------------------------

Selector = Callable[[Features, Classes, Plan, int], NDArray[np.int64]]


def _best_first(scores: NDArray[Any]) -> NDArray[np.int64]:
    return np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable")


def _network(method: Literal["SET", "CoDACoRSET", "QuickSelection"]) -> Selector:
    def select(x: Features, y: Classes, plan: Plan, seed: int) -> NDArray[np.int64]:
        from gossamer.estimators import SparseFeatureSelector

        given = dict(plan.network)
        if "hidden" in given and method == "CoDACoRSET":
            given["hidden"] = (given["hidden"],) * 3
        selector = SparseFeatureSelector(method, random_state=seed, **given).fit(x, y)
        order: NDArray[np.int64] = np.argsort(selector.ranking_)
        return order

    return select


def _mutual_information(x: Features, y: Classes, plan: Plan, seed: int) -> NDArray[np.int64]:
    from sklearn.feature_selection import mutual_info_classif

    return _best_first(mutual_info_classif(x, y, random_state=seed, n_jobs=_threads()))


def _f_test(x: Features, y: Classes, plan: Plan, seed: int) -> NDArray[np.int64]:
    from sklearn.feature_selection import f_classif

    return _best_first(f_classif(x, y)[0])


def _l1(x: Features, y: Classes, plan: Plan, seed: int) -> NDArray[np.int64]:
    from sklearn.svm import LinearSVC

    found = LinearSVC(penalty="l1", dual=False, random_state=seed).fit(x, y)
    return _best_first(np.linalg.norm(found.coef_, axis=0))


def _trees(x: Features, y: Classes, plan: Plan, seed: int) -> NDArray[np.int64]:
    from sklearn.ensemble import RandomForestClassifier

    forest = RandomForestClassifier(300, random_state=seed, n_jobs=_threads()).fit(x, y)
    return _best_first(forest.feature_importances_)


def _recursive(x: Features, y: Classes, plan: Plan, seed: int) -> NDArray[np.int64]:
    """scikit-learn's RFE takes steps of an equal number of features, which is slow or coarse with thousands of them."""
    from sklearn.linear_model import LogisticRegression

    left, worse = np.arange(x.shape[1]), np.empty(0, dtype=np.int64)
    while len(left) > 1:
        found = LogisticRegression(max_iter=200).fit(x[:, left], y)
        left = left[_best_first(np.linalg.norm(found.coef_, axis=0))]
        half = (len(left) + 1) // 2
        left, worse = left[:half], np.concatenate([left[half:], worse])
    return np.concatenate([left, worse])


def _random(x: Features, y: Classes, plan: Plan, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).permutation(x.shape[1])


_SELECTORS: Mapping[str, Selector] = {
    "SET": _network("SET"),
    "CoDACoRSET": _network("CoDACoRSET"),
    "QuickSelection": _network("QuickSelection"),
    "mutual info": _mutual_information,
    "F test": _f_test,
    "L1": _l1,
    "trees": _trees,
    "RFE": _recursive,
    "random": _random,
}


def _judged(judge: str, rows: Divided, chosen: NDArray[np.int64], seed: int) -> float:
    """Test accuracy of a model that is trained on these features alone."""
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.svm import LinearSVC

    if judge == "trees":
        model = ExtraTreesClassifier(50, random_state=seed, n_jobs=_threads())
    elif judge == "neighbours":
        model = KNeighborsClassifier(5)
    else:
        model = LinearSVC(dual="auto", random_state=seed)
    model.fit(rows.x[:, chosen], rows.y)
    return round(float(model.score(rows.x_test[:, chosen], rows.y_test)), 5)


def _threads() -> int:
    import torch

    return torch.get_num_threads()
