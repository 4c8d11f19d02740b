"""The constraint that explains measured weights best: `fit_statistics`."""

from gossamer.extras import needs

with needs("associative", "gossamer.associative.fit"):
    from gossamer.associative.fit.fitted import ConstraintFit, Estimate, FittedStatistics
    from gossamer.associative.fit.fitting import fit_statistics
    from gossamer.associative.fit.measurements import MeasuredWeights, read_weights

__all__ = ["ConstraintFit", "Estimate", "FittedStatistics", "MeasuredWeights", "fit_statistics", "read_weights"]
