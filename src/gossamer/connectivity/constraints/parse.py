"""Constraints by name, as on the command line."""

from __future__ import annotations

from collections.abc import Callable

from gossamer.connectivity.constraints.base import Constraint
from gossamer.connectivity.constraints.intersection import Intersection
from gossamer.connectivity.constraints.sets import L0, L1, Gap, L1Norm
from gossamer.connectivity.constraints.sign import Sign
from gossamer.connectivity.constraints.sparseness import Hoyer
from gossamer.errors import InputError

__all__ = ["parse"]

_USAGE = "gap:WIDTH, sign, sign:SHARE, hoyer:SPARSENESS, l0:K, l1:RADIUS or l1norm:MEAN, several joined by +"


def parse(string: str, *, seed: int = 0) -> Constraint:
    """Read a constraint from a string.

    ====================  ============================================================================================
    ``gap:δ``             `Gap` of width δ
    ``sign``, ``sign:φ``  `Sign` with the share φ of inhibitory inputs (0.2), drawn by ``seed``
    ``hoyer:σ``           `Hoyer` of sparseness σ at least, lengths kept
    ``l0:k``              `L0`
    ``l1:r``              `L1`
    ``l1norm:w``          `L1Norm`
    ``a+b``               both, as `Intersection` allows
    ====================  ============================================================================================

    Args:
        string: such as ``"sign+gap:0.02"``; upper and lower case are the same.
        seed: of the signs that are drawn, ≥ 0.

    Returns:
        The constraint.

    Raises:
        InputError: anything else, or numbers out of range.

    Example:
        >>> from gossamer import constraints
        >>> constraints.parse("gap:0.02")
        Gap(per='output', signed=True, width=0.02)
    """
    parts = [_part(part.strip(), string, seed) for part in str(string).lower().split("+")]
    return parts[0] if len(parts) == 1 else Intersection(parts)


def _part(part: str, string: str, seed: int) -> Constraint:
    name, colon, argument = part.partition(":")
    if name == "sign" and not colon:
        return Sign(seed=seed)
    makers: dict[str, Callable[[str], Constraint]] = {
        "gap": lambda number: Gap(float(number)),
        "sign": lambda number: Sign(inhibitory=float(number), seed=seed),
        "hoyer": lambda number: Hoyer(float(number), norm="preserve", at_least=True),
        "l0": lambda number: L0(int(number)),
        "l1": lambda number: L1(float(number)),
        "l1norm": lambda number: L1Norm(float(number)),
    }
    if name not in makers or not colon:
        raise InputError(f"constraint must be {_USAGE}, got {string!r}")
    try:
        return makers[name](argument)
    except InputError as error:
        raise InputError(f"constraint {string!r}: {error}") from None
    except ValueError:  # not a number after the colon
        raise InputError(f"constraint must be {_USAGE}, got {string!r}") from None
