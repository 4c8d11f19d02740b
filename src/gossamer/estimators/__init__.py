"""Sparse networks as scikit-learn estimators."""

try:
    import sklearn  # noqa: F401
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        "gossamer.estimators needs scikit-learn, which isn't installed: pip install 'gossamer[cli]'", name="sklearn"
    ) from None

from gossamer.estimators.autoencoder import SupervisedAutoencoderClassifier
from gossamer.estimators.classifier import SparseClassifier
from gossamer.estimators.dictionary import DictionaryLearner
from gossamer.estimators.regressor import SparseRegressor
from gossamer.estimators.selector import SparseFeatureSelector

__all__ = [
    "DictionaryLearner",
    "SparseClassifier",
    "SparseFeatureSelector",
    "SparseRegressor",
    "SupervisedAutoencoderClassifier",
]
