"""Dictionary learning as a scikit-learn transformer, and its use on whole images.

patches = gossamer.models.sample_patches(images, (16, 16), 100_000, np.random.default_rng(0))
learner = gossamer.estimators.DictionaryLearner(n_components=256, random_state=0).fit(patches)
clean = learner.denoise(noisy)
"""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from gossamer.device import find_device
from gossamer.errors import InputError, check_choice, check_count, check_fraction
from gossamer.estimators.denoising import Denoising
from gossamer.estimators.fit_context import all_or_nothing, threads
from gossamer.models.dictionary import Coder, Dictionary
from gossamer.training.dictionary import train_dictionary

__all__ = ["DictionaryLearner"]

Floats = NDArray[np.floating[Any]]

_DTYPES = (np.float64, np.float32)
_ROWS = 8192  # samples coded at a time
_DECAY = 20  # steps of `partial_fit` after which the step size has fallen to 1/√2


class DictionaryLearner(Denoising, ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Learn atoms of which a few add up to each sample: ``X ≈ code @ components_``.

    The learning rule is Hebbian-like, with codes of given sparseness (EZDL, `gossamer.models.dictionary`). It is
    invariant to the scale and the mean of a sample. `transform` is not: its coefficients are in the units of ``X``, and
    the mean of a sample is a coefficient too, that of a constant atom. Learning is in float32 for any ``X``; components
    and codes have the dtype of ``X``.

    Args:
        n_components: rows of ``components_``; None for as many as features, or as fill the ``grid``.
        sparseness: Hoyer's, of the codes while learning, in (0, 1).
        signed: whether a Hoyer code may subtract atoms.
        center: subtract each sample's mean before learning. ``components_[0]`` is then the constant atom, of length 1,
            and all others are learned. Otherwise all are learned, from samples as they are.
        atom_sparseness: Hoyer's sparseness of each learned atom, in (0, 1); None for any.
        rank: of each learned atom as a matrix of pixels, 1 for separable atoms; None for any.
        grid: (rows, columns) of a torus on which the learned atoms are ordered, one place for each; None for none.
        smoothing: standard deviation of the Gaussian on that torus by which neighbours are active together, in places.
        patch_shape: (height, width) or (height, width, channels) of a sample; None for a square.
        max_iter: passes through the samples.
        batch_size: samples in a step.
        learning_rate: step size at the start. `fit` lowers it in a straight line to zero; `partial_fit` as
            1 / √(1 + step/20).
        transform_algorithm: ``"omp"`` (orthogonal matching pursuit) codes a sample by a given number of active atoms;
            it reproduces better than ``"projection"``, the code of the learning rule at its best length, which is far
            faster and has exactly the given sparseness.
        transform_n_nonzero_coefs: active learned atoms of ``"omp"``; None for a tenth of the features, at least one.
        random_state: seed of the first atoms and the order of samples.
        n_jobs: threads, counted as joblib counts jobs; None for as many as PyTorch takes.
        device: ``"cpu"``, ``"cuda"``, …
        verbose: print the error of each pass.

    Attributes:
        components_: (n_components, n_features), the atoms, each of length 1.
        error_: 1 − ρ² of the projected code, averaged over each pass: its squared error relative to the sample.
        n_iter_: number of passes (calls of `partial_fit` don't count).
        n_steps_: number of batches.
        n_features_in_: number of features.
        feature_names_in_: (n_features_in_) their names, if ``X`` has names.

    Raises:
        InputError: from `fit` and `partial_fit`, for an argument outside its range.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(500, 16))
        >>> learner = gs.DictionaryLearner(20, max_iter=2, transform_n_nonzero_coefs=3, random_state=0).fit(x)
        >>> learner.components_.shape, learner.transform(x).shape
        ((20, 16), (500, 20))

    References:
        Thom, Rapp, Palm, "Efficient dictionary learning with sparseness-enforcing projections", IJCV 114 (2015).
    """

    components_: Floats
    n_features_in_: int
    n_iter_: int
    n_steps_: int
    error_: NDArray[np.float64]

    def __init__(
        self,
        n_components: int | None = None,
        *,
        sparseness: float = 0.95,
        signed: bool = True,
        center: bool = True,
        atom_sparseness: float | None = None,
        rank: int | None = None,
        grid: tuple[int, int] | None = None,
        smoothing: float = 0.8,
        patch_shape: tuple[int, ...] | None = None,
        max_iter: int = 10,
        batch_size: int = 256,
        learning_rate: float = 0.3,
        transform_algorithm: Coder = "omp",
        transform_n_nonzero_coefs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
        device: str = "cpu",
        verbose: bool = False,
    ) -> None:
        self.n_components = n_components
        self.sparseness = sparseness
        self.signed = signed
        self.center = center
        self.atom_sparseness = atom_sparseness
        self.rank = rank
        self.grid = grid
        self.smoothing = smoothing
        self.patch_shape = patch_shape
        self.max_iter = max_iter
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.transform_algorithm = transform_algorithm
        self.transform_n_nonzero_coefs = transform_n_nonzero_coefs
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.device = device
        self.verbose = verbose

    # ---- learning ----------------------------------------------------------------------------------------------------

    @all_or_nothing
    def fit(self, X: ArrayLike, y: object = None) -> Self:
        """Learn a new dictionary.

        Args:
            X: samples (n_samples, n_features).
            y: ignored.

        Returns:
            The estimator.

        Raises:
            InputError: an argument is outside its range.
        """
        x = self._read(X, reset=True)
        check_count("max_iter", self.max_iter, low=1)
        batches = math.ceil(len(x) / check_count("batch_size", self.batch_size, low=1))
        check_fraction("learning_rate", self.learning_rate, high=math.inf, open_low=True, open_high=True)
        generator, errors = self._generator(), []
        with threads(self.n_jobs):
            samples = _tensor(x).to(find_device(self.device))
            dictionary = self._first(samples, generator)
            for error in train_dictionary(
                dictionary,
                samples,
                epochs=self.max_iter,
                batch_size=self.batch_size,
                rate=self.learning_rate,
                generator=generator,
            ):
                errors.append(error)
                if self.verbose and len(errors) % batches == 0:
                    done, mean = len(errors) // batches, float(np.mean(errors[-batches:]))
                    print(f"{type(self).__name__}: pass {done} of {self.max_iter}, error {mean:.4f}")
        self._keep(dictionary, x.dtype)
        self.error_ = np.reshape(errors, (self.max_iter, batches)).mean(1)
        self.n_iter_, self.n_steps_ = self.max_iter, len(errors)
        return self

    @all_or_nothing
    def partial_fit(self, X: ArrayLike, y: object = None) -> Self:
        """Take one step of learning on a batch; the first call makes the atoms from it.

        Args:
            X: samples (n_samples, n_features).
            y: ignored.

        Returns:
            The estimator.

        Raises:
            InputError: an argument is outside its range.
        """
        first = not hasattr(self, "components_")
        x = self._read(X, reset=first)
        check_fraction("learning_rate", self.learning_rate, high=math.inf, open_low=True, open_high=True)
        with threads(self.n_jobs):
            samples = _tensor(x).to(find_device(self.device))
            if first:
                dictionary = self._first(samples, self._generator())
                self.n_iter_, self.n_steps_, self.error_ = 0, 0, np.zeros(0)
            else:
                dictionary = self._dictionary(torch.float32).to(samples.device)
            dictionary.update(samples, self.learning_rate / math.sqrt(1 + self.n_steps_ / _DECAY))
            dictionary.constrain_()
        self._keep(dictionary, x.dtype)
        self.n_steps_ += 1
        return self

    def _read(self, X: ArrayLike, *, reset: bool = False) -> Floats:
        x: Floats = validate_data(self, X, dtype=_DTYPES, reset=reset)
        if x.shape[1] < 2:
            raise InputError(f"X must have at least 2 features, got n_features={x.shape[1]}")
        return x

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(int(check_random_state(self.random_state).randint(2**31 - 1)))

    def _first(self, samples: torch.Tensor, generator: torch.Generator) -> Dictionary:
        constant = int(self.center)
        if self.n_components is not None:
            n = check_count("n_components", self.n_components, low=1) - constant
        else:
            n = samples.shape[1] - constant if self.grid is None else math.prod(self.grid)
        return Dictionary.from_samples(samples, n, generator=generator, **self._options(samples.shape[1]))

    def _options(self, features: int) -> dict[str, Any]:
        names = ("sparseness", "signed", "center", "atom_sparseness", "rank", "grid", "smoothing")
        options = {name: getattr(self, name) for name in names}
        return options if self.rank is None else options | {"patch_shape": self._patch_shape(features)}

    def _patch_shape(self, features: int) -> tuple[int, ...]:
        side = math.isqrt(features)
        shape = (side, side) if self.patch_shape is None else tuple(self.patch_shape)
        if math.prod(shape) != features:
            raise InputError(f"patch_shape must multiply to the {features} features of X, got {self.patch_shape!r}")
        return shape

    def _keep(self, dictionary: Dictionary, dtype: np.dtype[Any]) -> None:
        atoms = dictionary.atoms.cpu().numpy().astype(dtype)
        if self.center:
            atoms = np.vstack([np.full((1, atoms.shape[1]), 1 / math.sqrt(atoms.shape[1]), dtype), atoms])
        self.components_ = atoms

    def _dictionary(self, dtype: torch.dtype) -> Dictionary:
        atoms = torch.from_numpy(self.components_[int(self.center) :]).to(dtype)
        return Dictionary(atoms, **self._options(self.n_features_in_))

    @property
    def _n_features_out(self) -> int:
        return len(self.components_)

    # ---- coding ------------------------------------------------------------------------------------------------------

    def transform(self, X: ArrayLike) -> Floats:
        """Compute codes in the units of ``X``, so that ``code @ components_`` is near to ``X``.

        With ``center`` the first coefficient is the mean of the sample times √n_features, less the contribution of its
        other atoms. A constant sample has no other coefficient.

        Args:
            X: samples (n_samples, n_features).

        Returns:
            The codes (n_samples, n_components).
        """
        check_is_fitted(self)
        x = self._read(X)
        check_choice("transform_algorithm", self.transform_algorithm, ("omp", "projection"))
        active, learned = self.transform_n_nonzero_coefs, len(self.components_) - bool(self.center)
        active = min(max(1, x.shape[1] // 10), learned) if active is None else active
        check_count("transform_n_nonzero_coefs", active, low=min(1, learned), high=learned)
        return self._coded(x, self.transform_algorithm, k=active)

    def _coded(self, x: Floats, coder: Coder, *, k: int | None = None, tolerance: float = 0.0) -> Floats:
        codes = np.empty((len(x), len(self.components_)), x.dtype)
        first = int(self.center)
        with threads(self.n_jobs):
            dictionary = self._dictionary(torch.float64 if x.dtype == np.float64 else torch.float32)
            for start in range(0, len(x), _ROWS):
                rows = slice(start, start + _ROWS)
                code, offset = dictionary.encode(_tensor(x[rows]), coder, k=k, tolerance=tolerance)
                codes[rows, first:] = code.numpy()
                codes[rows, :first] = offset.numpy() * math.sqrt(x.shape[1])
        return codes

    def inverse_transform(self, X: ArrayLike) -> Floats:
        """Reproduce samples from codes, ``X @ components_``.

        Args:
            X: codes (n_samples, n_components).

        Returns:
            The samples (n_samples, n_features).

        Raises:
            InputError: ``X`` has another number of columns.
        """
        check_is_fitted(self)
        codes: Floats = check_array(X, dtype=_DTYPES)
        if codes.shape[1] != len(self.components_):
            raise InputError(f"X must have {len(self.components_)} columns, one a component, got {codes.shape[1]}")
        return codes @ self.components_

    def score(self, X: ArrayLike, y: object = None) -> float:
        """Measure the share of the squared length of ``X`` (with ``center``, less means) that its codes reproduce.

        Args:
            X: samples (n_samples, n_features).
            y: ignored.

        Returns:
            The share, at most 1; 0 for samples of length 0.
        """
        check_is_fitted(self)
        x = self._read(X)
        signal = x - x.mean(1, keepdims=True) if self.center else x
        energy = float(np.square(signal).sum())
        left = float(np.square(x - self.inverse_transform(self.transform(x))).sum())
        return 1 - left / energy if energy else 0.0

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


def _tensor(x: Floats) -> torch.Tensor:
    """``x`` itself, or a copy where it may not be written to, which PyTorch can't promise."""
    return torch.from_numpy(x if x.flags.writeable else x.copy())
