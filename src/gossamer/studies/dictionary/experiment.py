"""One dictionary of the study: how it is learned, and how well samples can be put together from its atoms.

====================  ================================================================================================
``EZDL, n passes``    the Hebbian-like rule, n times through all patches
``separable``         its variant whose atoms are matrices of rank 1
``sparse atoms``      its variant whose atoms have Hoyer's sparseness 0.6
``topographic``       its variant whose atoms find an order on a torus
``scikit-learn, …``   `MiniBatchDictionaryLearning`, until a given time is over, with the weight α of its l1 penalty,
                      its batch size and its algorithm for the penalised least squares
``patches``           as they are, drawn at random: nothing is learned
====================  ================================================================================================

Every learner gets the same patches, of zero mean and length 1, computes in float32 on one thread, and is measured while
it learns; time is that thread's, without the time of measuring.
"""

from __future__ import annotations

import base64
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gossamer.studies.dictionary.photographs import divided_patches, grey_images
from gossamer.studies.trials import Trial

__all__ = ["ACTIVE", "PLANS", "Plan", "Rival", "atoms_of", "carry_out", "is_ours", "is_rival", "trials_of"]

Floats = NDArray[np.float32]
_Learned = tuple[Floats, list[dict[str, Any]], dict[str, float | None]]  # atoms, curve, the learner's own code

ACTIVE = (5, 10, 20)
"""Active coefficients of a patch with which errors are measured."""

_FIRST, _NEXT = 0.05, 1.5  # seconds to the first measurement, and the ratio of the times of any two that follow
_NOISE = 25 / 255  # standard deviation
_TOPOGRAPHIC_SPARSENESS = 0.9  # a neighbourhood is active where a lone atom would be
_ATOM_SPARSENESS = 0.6


@dataclass(frozen=True)
class Rival:
    """Settings of scikit-learn's learner."""

    alpha: float
    batch_size: int
    algorithm: str = "lars"

    @property
    def name(self) -> str:
        """Name of the rival with its settings."""
        return f"scikit-learn, α {self.alpha:g}, batch {self.batch_size}, {self.algorithm}"


@dataclass(frozen=True)
class Plan:
    """Settings of a preset.

    ``side`` × ``side`` pixels a patch, ``grid`` atoms, ``held_out`` patches to measure with, ``images`` to denoise with
    patches ``stride`` pixels apart, ``budget`` seconds for each rival.
    """

    dataset: str
    side: int
    grid: tuple[int, int]
    patches: int
    held_out: int
    passes: tuple[int, ...]
    rivals: tuple[Rival, ...]
    budget: float
    images: int
    stride: int
    seeds: int


PLANS: Mapping[str, Plan] = {
    "quick": Plan(
        dataset="sample_images",
        side=12,
        grid=(12, 12),
        patches=20_000,
        held_out=500,
        passes=(5, 20),
        rivals=(Rival(0.15, 64), Rival(0.15, 256)),
        budget=10,
        images=2,
        stride=3,
        seeds=1,
    ),
    "full": Plan(
        dataset="natural_images",
        side=16,
        grid=(16, 16),
        patches=100_000,
        held_out=1000,
        passes=(1, 3, 10),
        rivals=(Rival(0.1, 64), Rival(0.1, 256), Rival(0.15, 64), Rival(0.2, 64), Rival(0.1, 64, "cd")),
        budget=50,
        images=10,
        stride=3,
        seeds=2,
    ),
}


def is_ours(variant: str) -> bool:
    """Whether it is the plain rule, for some number of passes."""
    return variant.startswith("EZDL")


def is_rival(variant: str) -> bool:
    """Whether it is scikit-learn's learner."""
    return variant.startswith("scikit-learn")


def trials_of(plan: Plan) -> list[Trial]:
    """List the trials of a plan."""
    data = {name: getattr(plan, name) for name in ("side", "grid", "patches", "held_out", "images", "stride")}
    data["grid"] = list(plan.grid)
    most = max(plan.passes)
    learners: dict[str, dict[str, Any]] = {"patches": {}}
    for passes in plan.passes:
        learners[f"EZDL, {passes} pass{'es' * (passes > 1)}"] = {"passes": passes}
    learners["separable"] = {"passes": most, "options": {"rank": 1, "patch_shape": [plan.side, plan.side]}}
    learners["sparse atoms"] = {"passes": most, "options": {"atom_sparseness": _ATOM_SPARSENESS}}
    topographic = {"grid": list(plan.grid), "sparseness": _TOPOGRAPHIC_SPARSENESS}
    learners["topographic"] = {"passes": most, "options": topographic}
    for rival in plan.rivals:
        learners[rival.name] = asdict(rival) | {"budget": plan.budget}
    return [
        Trial(variant, plan.dataset, seed, data | settings)
        for seed in range(plan.seeds)
        for variant, settings in learners.items()
    ]


def carry_out(trial: Trial) -> dict[str, Any]:
    """Learn one dictionary and measure it.

    ``curve``: seconds and errors while learning, the last after it; ``own``: active coefficients and error with the
    learner's own code; ``psnr``: of each image after denoising, beside ``noisy_psnr``; ``atoms``: as `atoms_of` reads.
    """
    settings = trial.settings
    side, (rows, columns) = settings["side"], settings["grid"]
    train, held_out = divided_patches(trial.dataset, side, settings["patches"], settings["held_out"], trial.seed)
    with _one_thread():
        learner = _rival if is_rival(trial.variant) else _none if trial.variant == "patches" else _hebbian
        atoms, curve, own = learner(settings, train, held_out, rows * columns, trial.seed)
        psnr = _denoised(atoms, trial.dataset, settings)
    scaled = np.round(127 * atoms / np.maximum(np.abs(atoms).max(1, keepdims=True), 1e-12)).astype(np.int8)
    return {
        "curve": curve,
        "own": own,
        "psnr": psnr,
        "noisy_psnr": -20 * math.log10(_NOISE),
        "atoms": base64.b64encode(scaled.tobytes()).decode("ascii"),
    }


def atoms_of(record: Mapping[str, Any]) -> NDArray[np.float32]:
    """(n, side, side): the atoms of a record, each with largest magnitude 1."""
    side = record["settings"]["side"]
    content = np.frombuffer(base64.b64decode(record["atoms"]), np.int8)
    return content.reshape(-1, side, side).astype(np.float32) / np.float32(127)


# ---- learners --------------------------------------------------------------------------------------------------------


class _Clock:
    """Looks at the atoms from time to time, and counts only the time between."""

    def __init__(self, held_out: Floats) -> None:
        self.points: list[dict[str, Any]] = []
        self._held_out, self._due = held_out, _FIRST
        self._began = time.process_time()

    @property
    def seconds(self) -> float:
        return time.process_time() - self._began

    def tick(self, atoms: Callable[[], Floats]) -> None:
        if self.seconds >= self._due:
            self.measure(atoms())

    def measure(self, atoms: Floats) -> None:
        seconds = self.seconds
        self.points.append({"seconds": round(seconds, 4), "errors": _errors(atoms, self._held_out)})
        self._due = seconds * _NEXT
        self._began = time.process_time() - seconds


def _none(settings: Mapping[str, Any], train: Floats, held_out: Floats, atoms: int, seed: int) -> _Learned:
    clock = _Clock(held_out)
    clock.measure(train[:atoms])
    return train[:atoms], clock.points, {"active": None, "error": None}


def _hebbian(settings: Mapping[str, Any], train: Floats, held_out: Floats, atoms: int, seed: int) -> _Learned:
    import torch

    from gossamer.models.dictionary import Dictionary
    from gossamer.training.dictionary import train_dictionary

    options = {
        name: tuple(value) if isinstance(value, list) else value for name, value in settings.get("options", {}).items()
    }
    x, generator, clock = torch.from_numpy(train), torch.Generator().manual_seed(seed), _Clock(held_out)
    dictionary = Dictionary.from_samples(x, atoms, generator=generator, **options)
    for _ in train_dictionary(dictionary, x, epochs=settings["passes"], generator=generator):
        clock.tick(lambda: dictionary.atoms.numpy())
    clock.measure(dictionary.atoms.numpy())
    encoding = dictionary.encode(torch.from_numpy(held_out), "projection")
    return (
        dictionary.atoms.numpy(),
        clock.points,
        _own(encoding.code.numpy(), held_out - dictionary.decode(encoding).numpy()),
    )


class _EnoughError(Exception):
    """The budget is spent."""


def _rival(settings: Mapping[str, Any], train: Floats, held_out: Floats, atoms: int, seed: int) -> _Learned:
    from sklearn.decomposition import MiniBatchDictionaryLearning, sparse_encode

    clock = _Clock(held_out)
    found = np.empty((atoms, train.shape[1]), np.float32)

    def look(state: Mapping[str, Any]) -> None:
        found[:] = state["dictionary"]
        clock.tick(lambda: found)
        if clock.seconds > settings["budget"]:
            raise _EnoughError

    learner = MiniBatchDictionaryLearning(
        atoms,
        alpha=settings["alpha"],
        batch_size=settings["batch_size"],
        fit_algorithm=settings["algorithm"],
        dict_init=train[:atoms],  # its own start, a singular value decomposition of all patches, takes seconds
        tol=0,
        max_no_improvement=None,
        random_state=seed,
        callback=look,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # coordinate descent that stops early; dictionaries are measured, not trusted
        with suppress(_EnoughError):
            learner.fit(train)
        clock.measure(found)
        code = sparse_encode(held_out, found, algorithm="lasso_lars", alpha=settings["alpha"])
    return found, clock.points, _own(code, held_out - code @ found)


def _own(code: NDArray[Any], left: NDArray[Any]) -> dict[str, float | None]:
    return {"active": float((code != 0).sum(1).mean()), "error": float(np.square(left).sum(1).mean())}


@contextmanager
def _one_thread() -> Iterator[None]:
    import threadpoolctl  # type: ignore[import-untyped]

    from gossamer.bench import rivals

    with rivals.threads(1), threadpoolctl.threadpool_limits(1):
        yield


# ---- measurements ----------------------------------------------------------------------------------------------------


def _errors(atoms: Floats, held_out: Floats) -> list[float]:
    """‖x − reproduction‖² on average, ‖x‖ = 1, with each number of `ACTIVE` coefficients, by the same coder for all."""
    import torch

    from gossamer.models.dictionary import Dictionary

    dictionary, x = Dictionary(torch.from_numpy(atoms)), torch.from_numpy(held_out)
    active = [min(k, len(atoms)) for k in ACTIVE]
    return [float((x - dictionary.decode(dictionary.encode(x, "omp", k=k))).square().sum(1).mean()) for k in active]


def _denoised(atoms: Floats, dataset: str, settings: Mapping[str, Any]) -> list[float]:
    """Peak signal-to-noise ratio in dB of each image after denoising with these atoms."""
    from gossamer.estimators import DictionaryLearner

    d = atoms.shape[1]
    learner = DictionaryLearner()  # has nothing to learn any more
    learner.n_features_in_ = d
    learner.components_ = np.vstack([np.full((1, d), 1 / math.sqrt(d), np.float32), atoms])
    generator, ratios = np.random.default_rng(0), []
    for image in grey_images(dataset)[1][: settings["images"]]:
        noisy = (image + _NOISE * generator.standard_normal(image.shape)).astype(np.float32)
        left = learner.denoise(noisy, _NOISE, stride=settings["stride"]) - image
        ratios.append(-10 * math.log10(float(np.square(left).mean())))
    return ratios
