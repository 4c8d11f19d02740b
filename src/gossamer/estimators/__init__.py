"""Sparse networks as scikit-learn estimators."""

from gossamer.extras import needs

with needs("sklearn", "gossamer.estimators"):
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
