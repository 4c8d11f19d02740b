"""The Gaussian functions of the theory, to full relative accuracy in the far tail.

With g ~ N(0, 1):

======== ===================================== ============================ =============
function formula                               meaning                      derivative
======== ===================================== ============================ =============
`bell`   exp(−x²) / √π                                                      −2x bell(x)
`E`      (1 + erf x) / 2                       P(√2 x + g > 0)              bell(x)
`F`      exp(−x²) / √π + x (1 + erf x)         √2 E[(√2 x + g)₊]            2 E(x)
`D`      x F(x) + E(x)                         E[(√2 x + g)₊²]              2 F(x)
======== ===================================== ============================ =============

They are the repeated integrals of the complementary error function: 2E(−x) = erfc x, F(−x) = i¹erfc x, D(−x)/2 =
i²erfc x. For x < −6 the formulas cancel, so F and D are exp(−x²) times the asymptotic series of those integrals
(Abramowitz & Stegun, 7.2.14), cut off where its terms are below 1e-13.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import erfc

__all__ = ["D", "E", "F", "Floats", "bell", "log_F", "tail_quantile", "upper_tail"]

Floats = NDArray[np.float64]

_FAR = -6.0
_TERMS = 30
_SERIES = {
    n: [(-1) ** m * math.factorial(2 * m + n) / (math.factorial(n) * math.factorial(m)) for m in range(_TERMS)]
    for n in (1, 2)
}


def bell(x: ArrayLike) -> Floats:
    """Return exp(−x²) / √π."""
    x = np.asarray(x, np.float64)
    result: Floats = np.exp(-np.square(x)) / math.sqrt(math.pi)
    return result


def E(x: ArrayLike) -> Floats:  # noqa: N802
    """Return (1 + erf x) / 2, elementwise."""
    result: Floats = 0.5 * erfc(-np.asarray(x, np.float64))
    return result


def F(x: ArrayLike) -> Floats:  # noqa: N802
    """Return exp(−x²) / √π + x (1 + erf x), elementwise."""
    x = np.asarray(x, np.float64)
    return _near_and_far(x, bell(x) + x * erfc(-x), 1)


def D(x: ArrayLike) -> Floats:  # noqa: N802
    """Return x F(x) + E(x), elementwise."""
    x = np.asarray(x, np.float64)
    upper = erfc(-x)
    return _near_and_far(x, x * (bell(x) + x * upper) + 0.5 * upper, 2)


def log_F(x: ArrayLike) -> Floats:  # noqa: N802
    """Return log F(x), elementwise; finite where F underflows."""
    x = np.asarray(x, np.float64)
    near = np.maximum(x, _FAR)
    result: Floats = np.log(bell(near) + near * erfc(-near))
    if (x < _FAR).any():
        far = np.minimum(x, _FAR)
        result = np.where(x < _FAR, -np.square(far) + np.log(_integral(-far, 1)), result)
    return result


def upper_tail(t: ArrayLike) -> Floats:
    """H(t) = P(g > t)."""
    result: Floats = 0.5 * erfc(np.asarray(t, np.float64) / math.sqrt(2))
    return result


def tail_quantile(p: ArrayLike) -> Floats:
    """T with p = 2 H(T) = P(|g| > T), for p in (0, 1]."""
    from scipy.special import erfcinv

    result: Floats = math.sqrt(2) * erfcinv(np.asarray(p, np.float64))
    return result


def _near_and_far(x: Floats, near: Floats, n: int) -> Floats:
    if not (x < _FAR).any():
        return near
    far = np.minimum(x, _FAR)
    scale = n * np.exp(-np.square(far))  # D is twice the second integral
    return np.where(x < _FAR, scale * _integral(-far, n), near)


def _integral(z: Floats, n: int) -> Floats:
    """exp(z²) iⁿerfc(z) for z ≥ 6."""
    series = np.polynomial.polynomial.polyval(1 / np.square(2 * z), _SERIES[n])
    result: Floats = 2 / math.sqrt(math.pi) * series / (2 * z) ** (n + 1)
    return result
