"""Recall of stored patterns and sequences while inputs and synapses are noisy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gossamer.errors import InputError, check_count, check_fraction

__all__ = ["Recall", "answers", "recall_sequence", "sequence_recall"]

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Recall:
    """Shares of correct units when a sequence is recalled, over independent trials.

    Args:
        correct: the share of units in the stored state, (trials, steps).

    Example:
        >>> from gossamer.associative.recall import Recall
        >>> Recall(np.array([[1.0, 1.0], [1.0, 0.5]])).complete
        0.5
    """

    correct: Floats

    @property
    def complete(self) -> float:
        """The share of trials in which every unit was in the stored state at every step."""
        return float((self.correct == 1).all(1).mean())

    @property
    def final(self) -> float:
        """The share of units in the stored state at the last step, over all trials."""
        return float(self.correct[:, -1].mean())


def answers(
    inputs: Bools,
    weights: Floats,
    threshold: ArrayLike = 0.0,
    *,
    input_noise: float = 0.0,
    synaptic_noise: float = 0.0,
    generator: np.random.Generator | None = None,
) -> Bools:
    """The outputs of threshold units, J·X > h, with noise.

    Input noise flips every input with a probability of its own. Synaptic noise adds to every connection, that is to
    every weight other than zero, a Gaussian number of standard deviation ``synaptic_noise`` · mean|J| of its unit. Both
    are drawn anew for every pattern.

    Args:
        inputs: X, (patterns, N).
        weights: J, (units, N).
        threshold: h, one for all units or (units,).
        input_noise: the probability of a flip, in [0, 1].
        synaptic_noise: at least 0.
        generator: draws the noise; needed where there is some.

    Returns:
        (patterns, units).

    Example:
        >>> from gossamer.associative.recall import answers
        >>> answers(np.array([[True, False], [True, True]]), np.array([[1.0, -2.0]]))
        array([[ True],
               [False]])
    """
    check_fraction("input_noise", input_noise)
    check_fraction("synaptic_noise", synaptic_noise, high=np.inf, open_high=True)
    if (input_noise or synaptic_noise) and not isinstance(generator, np.random.Generator):
        raise InputError(f"generator must be a numpy.random.Generator where there is noise, got {generator!r}")
    x = np.asarray(inputs, np.bool_)
    if x.ndim != 2 or weights.ndim != 2 or x.shape[1] != weights.shape[1]:
        raise InputError(f"inputs must have shape (patterns, {weights.shape[-1]}), got {x.shape}")
    if input_noise and generator is not None:
        x = x ^ (generator.random(x.shape) < input_noise)
    fields = x @ weights.T
    if synaptic_noise and generator is not None:  # the sum of the noise of all connections that are read
        size = synaptic_noise * np.abs(weights).mean(1)
        fields = fields + generator.standard_normal(fields.shape) * size * np.sqrt(x @ (weights != 0).T.astype(float))
    return np.asarray(fields > np.asarray(threshold))


def recall_sequence(
    first: ArrayLike,
    weights: Floats,
    steps: int,
    threshold: ArrayLike = 0.0,
    *,
    input_noise: float = 0.0,
    synaptic_noise: float = 0.0,
    generator: np.random.Generator | None = None,
) -> Bools:
    """The states that a recurrent network of N threshold units passes through.

    Args:
        first: the state to begin with, (N,); or (trials, N) for several at once.
        weights: J, (N, N); row i belongs to unit i.
        steps: how many states follow.
        threshold: h, one for all units or (N,).
        input_noise: see `answers`. The outputs of a step are the inputs of the next, before noise.
        synaptic_noise: see `answers`; new in every step.
        generator: draws the noise.

    Returns:
        (steps + 1, N) or (steps + 1, trials, N), the first state included.

    Example:
        >>> from gossamer.associative.recall import recall_sequence
        >>> shift = np.array([[-1.0, -1, -1], [1, -1, -1], [-1, 1, -1]])
        >>> recall_sequence(np.array([1, 0, 0]), shift, steps=2).astype(int)
        array([[1, 0, 0],
               [0, 1, 0],
               [0, 0, 1]])
    """
    state = np.asarray(first, np.bool_)
    if weights.ndim != 2 or weights.shape[0] != weights.shape[1]:
        raise InputError(f"weights must be of a recurrent network, (N, N), got shape {weights.shape}")
    states = [np.atleast_2d(state)]
    for _ in range(check_count("steps", steps)):
        noise = {"input_noise": input_noise, "synaptic_noise": synaptic_noise}
        states.append(answers(states[-1], weights, threshold, **noise, generator=generator))
    passed = np.stack(states)
    return passed[:, 0] if state.ndim == 1 else passed


def sequence_recall(
    sequence: ArrayLike,
    weights: Floats,
    threshold: ArrayLike = 0.0,
    *,
    input_noise: float = 0.0,
    synaptic_noise: float = 0.0,
    trials: int = 100,
    generator: np.random.Generator | None = None,
) -> Recall:
    """Measure how well a stored sequence is recalled from its first state.

    Args:
        sequence: the states, (T, N), T ≥ 2.
        weights: J, (N, N), that store it.
        threshold: h, one for all units or (N,).
        input_noise: see `answers`.
        synaptic_noise: see `answers`.
        trials: independent ones, at least 1.
        generator: draws the noise.

    Returns:
        The shares of correct units.

    Raises:
        InputError: ``sequence`` has less than two states, or an argument is outside its range.

    Example:
        >>> from gossamer.associative.recall import sequence_recall
        >>> sequence = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], bool)
        >>> shift = np.array([[-1.0, -1, -1], [1, -1, -1], [-1, 1, -1]])
        >>> sequence_recall(sequence, shift, trials=1).complete
        1.0
    """
    stored = np.asarray(sequence, np.bool_)
    if stored.ndim != 2 or len(stored) < 2:
        raise InputError(f"sequence must have shape (T, N) with T ≥ 2, got {stored.shape}")
    first = np.repeat(stored[:1], check_count("trials", trials, low=1), 0)
    noise = {"input_noise": input_noise, "synaptic_noise": synaptic_noise}
    states = recall_sequence(first, weights, len(stored) - 1, threshold, **noise, generator=generator)
    return Recall(np.asarray((states[1:] == stored[1:, None]).mean(2).T))
