from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from gossamer import InputError
from gossamer.estimators import DictionaryLearner
from gossamer.models import sample_patches

pytestmark = pytest.mark.usefixtures("one_thread")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def picture(side: int = 40) -> NDArray[np.float64]:
    """Edges at three angles, in [0, 1]."""
    y, x = np.mgrid[:side, :side] / side
    bright: NDArray[np.float64] = (
        0.3 * ((5 * x) % 1 > 0.5) + 0.3 * ((4 * (x + y)) % 1 > 0.5) + 0.4 * ((3 * y) % 1 > 0.5)
    )
    return bright


@pytest.fixture(scope="module")
def patches() -> NDArray[np.float64]:
    return sample_patches([picture(60)], (6, 6), 2000, rng())


@pytest.fixture(scope="module")
def learner(patches: NDArray[np.float64]) -> DictionaryLearner:
    return DictionaryLearner(40, sparseness=0.8, transform_n_nonzero_coefs=4, random_state=0).fit(patches)


@pytest.mark.parametrize(
    "options",
    [{}, {"center": False}, {"transform_algorithm": "projection", "signed": False}, {"atom_sparseness": 0.3}],
    ids=str,
)
def test_it_keeps_to_the_rules_of_scikit_learn(options: dict[str, Any]) -> None:
    check_estimator(DictionaryLearner(**options), on_skip=None)


def test_models_do_without_scikit_learn() -> None:
    code = (
        "import sys, gossamer as gs, gossamer.models as m; assert 'sklearn' not in sys.modules; "
        "assert not hasattr(m, 'DictionaryLearner') and 'sklearn' not in sys.modules; "
        "assert gs.estimators.DictionaryLearner.__module__ == 'gossamer.estimators.dictionary'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_attributes(learner: DictionaryLearner) -> None:
    assert learner.components_.shape == (40, 36)
    assert learner.n_features_in_ == 36
    assert (learner.n_iter_, learner.n_steps_) == (10, 80)
    assert learner.error_.shape == (10,)
    assert learner.error_[-1] < learner.error_[0]
    np.testing.assert_allclose(np.linalg.norm(learner.components_, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(learner.components_[0], 1 / 6)
    np.testing.assert_allclose(learner.components_[1:].mean(1), 0, atol=1e-6)
    assert list(learner.get_feature_names_out())[:2] == ["dictionarylearner0", "dictionarylearner1"]


def test_codes_and_components_make_up_the_samples(learner: DictionaryLearner, patches: NDArray[np.float64]) -> None:
    code = learner.transform(patches)
    assert code.shape == (2000, 40)
    assert ((code[:, 1:] != 0).sum(1) <= 4).all()
    again = learner.inverse_transform(code)
    np.testing.assert_allclose(again, code @ learner.components_)
    np.testing.assert_allclose(again.mean(1), patches.mean(1), atol=1e-6)
    signal = patches - patches.mean(1, keepdims=True)
    left = np.square(patches - again).sum() / np.square(signal).sum()
    assert left < 0.2
    assert learner.score(patches) == pytest.approx(1 - left)


def test_codes_are_in_the_units_of_the_samples(learner: DictionaryLearner, patches: NDArray[np.float64]) -> None:
    code = learner.transform(patches[:50])
    moved = learner.transform(255 * patches[:50] + 10)
    np.testing.assert_allclose(moved[:, 1:], 255 * code[:, 1:], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(moved[:, 0], 255 * code[:, 0] + 10 * 6, rtol=1e-6)


def test_the_projected_code_has_the_sparseness_of_learning(patches: NDArray[np.float64]) -> None:
    learner = DictionaryLearner(30, sparseness=0.7, center=False, transform_algorithm="projection", random_state=0)
    code = learner.fit_transform(patches[:200])
    live = code[np.abs(code).sum(1) > 0]
    sparse = (np.sqrt(30) - np.abs(live).sum(1) / np.linalg.norm(live, axis=1)) / (np.sqrt(30) - 1)
    np.testing.assert_allclose(sparse, 0.7, atol=1e-6)


def test_without_a_mean_to_code_all_atoms_are_learned(patches: NDArray[np.float64]) -> None:
    signal = patches - patches.mean(1, keepdims=True)
    learner = DictionaryLearner(30, center=False, random_state=0).fit(signal)
    assert np.abs(learner.components_.mean(1)).max() < 1e-5
    assert learner.score(signal) > 0.5
    assert learner.set_params(transform_n_nonzero_coefs=1).score(np.zeros((3, 36))) == 0.0


@pytest.mark.parametrize(
    "options", [{"rank": 1}, {"rank": 1, "patch_shape": (4, 9)}, {"atom_sparseness": 0.6}, {"grid": (5, 5)}]
)
def test_kinds_of_atoms(options: dict[str, Any], patches: NDArray[np.float64]) -> None:
    learner = DictionaryLearner(max_iter=3, random_state=0, **options).fit(patches)
    atoms = learner.components_[1:]
    if "rank" in options:
        shape = options.get("patch_shape", (6, 6))
        assert (np.linalg.matrix_rank(atoms.reshape(-1, *shape), rtol=1e-5) == 1).all()
    if "atom_sparseness" in options:
        np.testing.assert_allclose((6 - np.abs(atoms).sum(1)) / 5, 0.6, atol=1e-5)
    assert len(atoms) == (25 if "grid" in options else 35)
    assert learner.score(patches) > 0.3


def test_dtypes_are_kept(patches: NDArray[np.float64]) -> None:
    for dtype in (np.float32, np.float64):
        learner = DictionaryLearner(10, max_iter=1, random_state=0).fit(patches.astype(dtype))
        assert learner.components_.dtype == dtype
        assert learner.transform(patches.astype(dtype)).dtype == dtype


def test_partial_fit_goes_on_where_it_stopped(patches: NDArray[np.float64]) -> None:
    learner = DictionaryLearner(40, sparseness=0.8, random_state=0)
    scores = []
    for start in range(0, 2000, 100):
        learner.partial_fit(patches[start : start + 100])
        scores.append(learner.score(patches[:300]))
    assert (learner.n_steps_, learner.n_iter_) == (20, 0)
    assert np.mean(scores[-3:]) > np.mean(scores[:3])
    learner.fit(patches[:512])
    assert (learner.n_steps_, learner.n_iter_) == (20, 10)


def test_the_random_state_decides(patches: NDArray[np.float64]) -> None:
    first, same, other = (DictionaryLearner(10, max_iter=1, random_state=s).fit(patches) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.components_, same.components_)
    assert not np.array_equal(first.components_, other.components_)


def test_it_works_in_pipelines_and_searches(patches: NDArray[np.float64]) -> None:
    pipe = make_pipeline(StandardScaler(), DictionaryLearner(10, max_iter=1, random_state=0))
    assert pipe.fit_transform(patches[:200]).shape == (200, 10)
    search = GridSearchCV(DictionaryLearner(20, random_state=0, max_iter=2), {"sparseness": [0.5, 0.8]}, cv=2)
    search.fit(patches[:400])
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert clone(search.best_estimator_).sparseness == search.best_params_["sparseness"]


def test_pickles_code_alike(learner: DictionaryLearner, patches: NDArray[np.float64]) -> None:
    again = pickle.loads(pickle.dumps(learner))
    np.testing.assert_array_equal(again.transform(patches[:20]), learner.transform(patches[:20]))


def test_verbose_tells_the_error_of_each_pass(patches: NDArray[np.float64], capsys: pytest.CaptureFixture[str]) -> None:
    DictionaryLearner(10, max_iter=2, verbose=True, random_state=0).fit(patches)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(", error")[0] for line in lines] == [
        "DictionaryLearner: pass 1 of 2",
        "DictionaryLearner: pass 2 of 2",
    ]


# ---- images ----------------------------------------------------------------------------------------------------------


def test_more_live_atoms_reconstruct_an_image_better(learner: DictionaryLearner) -> None:
    image, errors = picture(30), []
    for live in (1, 4, 39):
        again = pickle.loads(pickle.dumps(learner)).set_params(transform_n_nonzero_coefs=live)
        errors.append(float(np.square(again.reconstruct(image, stride=2) - image).mean()))
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-3 * image.var()


def test_denoising_takes_most_of_the_noise_off(learner: DictionaryLearner) -> None:
    image = picture(48)
    noisy = image + 0.1 * rng(1).standard_normal(image.shape)

    def error(found: NDArray[Any]) -> float:
        return float(np.square(found - image).mean())

    assert error(learner.denoise(noisy, 0.1)) < 0.35 * error(noisy)
    assert error(learner.denoise(noisy, 0.1, stride=3)) < 0.5 * error(noisy)
    np.testing.assert_allclose(learner.denoise(image, 0.0), image, atol=1e-5)


def test_the_noise_can_be_estimated() -> None:
    image = np.tile(np.linspace(0, 1, 40), (40, 1))
    noisy = image + 0.05 * rng().standard_normal(image.shape)
    learner = DictionaryLearner(20, random_state=0, max_iter=3).fit(sample_patches([image], (5, 5), 300, rng()))
    clean = learner.denoise(noisy)
    assert np.square(clean - image).mean() < 0.3 * np.square(noisy - image).mean()


def test_patches_may_have_colours() -> None:
    image = np.dstack([picture(24), picture(24).T, 1 - picture(24)])
    learner = DictionaryLearner(60, patch_shape=(4, 4, 3), transform_n_nonzero_coefs=47, random_state=0)
    learner.fit(sample_patches([image], (4, 4, 3), 500, rng()))
    np.testing.assert_allclose(learner.reconstruct(image), image, atol=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_components": 0}, "n_components"),
        ({"sparseness": 0.0}, "sparseness"),
        ({"max_iter": 0}, "max_iter"),
        ({"batch_size": 0}, "batch_size"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"device": "abacus"}, "device"),
        ({"rank": 1, "patch_shape": (5, 5)}, "patch_shape must multiply to the 36 features"),
        ({"rank": 1, "patch_shape": (3, 4, 3)}, "patch_shape must be two numbers"),
        ({"n_components": 9, "grid": (3, 3)}, "grid must be two numbers of product 8"),
    ],
)
def test_mistakes_are_named(options: dict[str, Any], message: str, patches: NDArray[np.float64]) -> None:
    with pytest.raises(InputError, match=message):
        DictionaryLearner(**options).fit(patches)


def test_mistakes_in_coding_are_named(learner: DictionaryLearner, patches: NDArray[np.float64]) -> None:
    copy = pickle.loads(pickle.dumps(learner))
    with pytest.raises(InputError, match="transform_n_nonzero_coefs must be a whole number from 1 to 39, got 40"):
        copy.set_params(transform_n_nonzero_coefs=40).transform(patches)
    with pytest.raises(InputError, match="transform_algorithm must be one of"):
        copy.set_params(transform_algorithm="lasso").transform(patches)
    with pytest.raises(InputError, match="X must have 40 columns"):
        learner.inverse_transform(np.zeros((2, 39)))
    with pytest.raises(InputError, match="image must be at least as large as a patch"):
        learner.reconstruct(np.zeros((5, 9)))
    with pytest.raises(InputError, match="noise"):
        learner.denoise(picture(), -1.0)
    with pytest.raises(ValueError, match="NaN"):
        learner.denoise(np.full((9, 9), np.nan), 0.1)
    odd = DictionaryLearner(4, max_iter=1).fit(rng().random((30, 7)))
    with pytest.raises(InputError, match="patch_shape must multiply to the 7 features"):
        odd.reconstruct(picture())
