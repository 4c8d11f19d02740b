"""Activation functions and noise as strings: for the command line, for estimators, and for files.

activation     one part, or several joined by "+", from left to right:   relu   hoyer:0.8   relu+sparseout:q=1.5,p=0.3
weight noise   bridgeout:q=1.5,p=0.3
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from gossamer.activation import AllReLU, Hoyer, Sparseout, SReLU, TopK
from gossamer.errors import InputError, check_count, check_fraction
from gossamer.noise import check_gradient, check_q

__all__ = ["activation_from", "dropout_instead", "weight_noise_from"]

_SPECS = (
    '"relu", "hoyer:0.8" (sparseness in (0, 1)), "topk:100" (active units), "srelu", "allrelu:0.6" (slope), "sigmoid", '
    '"none", "sparseout:q=1.5,p=0.3" (noise), or several joined by "+" such as "relu+sparseout:q=1.5,p=0.3"'
)
_PLAIN: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "none": nn.Identity}


def activation_from(
    spec: str, units: int | None = None, *, position: int = 1, generator: torch.Generator | None = None
) -> nn.Module:
    """Make the activation module that a string names, for a layer of ``units``.

    ``"relu"``                  max(x, 0)
    ``"hoyer:σ"``               projection of each sample onto the non-negative vectors of Hoyer's sparseness σ and
                                length √(units / 6) (1 if units are not given)
    ``"topk:k"``                the k largest units of each sample, the others 0
    ``"srelu"``                 `SReLU`, S-shaped, with four learned numbers for each unit, drawn by ``generator``
    ``"allrelu:α"``             `AllReLU`, of the slope that belongs to the hidden layer number ``position``
    ``"sigmoid"``               1 / (1 + exp(−x))
    ``"none"``                  the identity
    ``"sparseout:q=1.5,p=0.3"`` `Sparseout`: noise in training, with the exponent q and the probability p in [0, 1) of
                                being dropped (default: 0.5). ``gradient=exact`` differentiates its multiplier too
    ``"relu+sparseout:q=1.5"``  parts one after the other, from left to right

    The length √(units / 6) is that of a ReLU layer at the start of training on inputs of unit variance, whose units
    have variance 1/3 (weights are uniform on ±1/√fan-in) and half of that as mean square. Length 1, as in Thom & Palm
    (2013), leaves the logits of wide layers so small that training with usual learning rates is slow.

    Args:
        spec: one of the strings above.
        units: number of units of the layer (default: any number).
        position: number of the hidden layer, 1, 2, ….
        generator: source of the parameters of SReLU (default: torch's own).

    Returns:
        The module, from (batch, units) to (batch, units); of several parts an `nn.Sequential`.

    Raises:
        InputError: ``spec`` is none of the strings above, or a number of it is outside its range.

    Example:
        >>> gs.models.activation_from("topk:3", units=10)
        TopK(k=3, dim=-1, signed=False, packed=False)
        >>> gs.models.activation_from("relu+sparseout:q=1.5,p=0.3")
        Sequential(
          (0): ReLU()
          (1): Sparseout(p=0.3, q=1.5, gradient='frozen')
        )
    """
    parts = [_one(part, spec, units, position, generator) for part in str(spec).split("+")]
    return parts[0] if len(parts) == 1 else nn.Sequential(*parts)


def _one(part: str, spec: str, units: int | None, position: int, generator: torch.Generator | None) -> nn.Module:
    """The module of one part of ``spec``."""
    name, colon, argument = part.strip().lower().partition(":")
    if not colon and name in _PLAIN:
        return _PLAIN[name]()
    if not colon and name == "srelu":
        return SReLU(units or 1, generator=generator)
    try:
        if name == "sparseout":
            return _sparseout(argument)
        if name == "hoyer":
            if units is not None and units < 2:
                raise InputError(f"hidden layers must have at least 2 units, got {units}")
            return Hoyer(float(argument), norm=1.0 if units is None else math.sqrt(units / 6))
        if name == "topk":
            return TopK(check_count("k", int(argument), low=1, high=units))
        if name == "allrelu":
            return AllReLU(float(argument), position)
    except InputError as error:
        raise InputError(f"activation {spec!r}: {error}") from None
    except ValueError:  # not a number after the colon
        pass
    if name == "bridgeout":
        raise InputError(
            f"activation {spec!r}: bridgeout is noise on weights: give it as weight_noise={part.strip()!r}"
        )
    raise InputError(f"activation must be {_SPECS}, got {spec!r}")


def _sparseout(argument: str) -> Sparseout:
    given = _arguments("sparseout", argument, ("q", "p", "gradient"))
    gradient = check_gradient(given.get("gradient", "frozen"))
    return Sparseout(*_p_and_q(given), gradient)  # type: ignore[arg-type]


def _p_and_q(given: dict[str, str]) -> tuple[float, float]:
    return check_fraction("p", given.get("p", "0.5"), open_high=True), check_q(given["q"])  # type: ignore[arg-type]


def _arguments(name: str, string: str, known: Sequence[str]) -> dict[str, str]:
    """The arguments of ``q=1.5,p=0.3``, of which q must be there."""
    given: dict[str, str] = {}
    for item in string.split(",") if string.strip() else []:
        key, equals, value = (piece.strip() for piece in item.partition("="))
        if not equals or key not in known or key in given:
            raise InputError(
                f"{name} takes {', '.join(known)}, each once, as in {name}:q=1.5,p=0.3, got {item.strip()!r}"
            )
        given[key] = value
    if "q" not in given:
        raise InputError(f"{name} must have an exponent q in [0, inf), as in {name}:q=1.5,p=0.3, got none")
    return given


def dropout_instead(spec: str, dropout: float = 0.0) -> float:
    """Return the probability of dropout in the place of the Sparseout of an activation function: that of q = 2.

    Args:
        spec: as `activation_from` reads it.
        dropout: probability of dropout that there is besides, in [0, 1).

    Returns:
        The probability that one of them drops a unit.

    Raises:
        InputError: as `activation_from`.

    Example:
        >>> gs.models.dropout_instead("relu+sparseout:q=1.5,p=0.3")
        0.3
    """
    activation = activation_from(spec, generator=torch.Generator())  # torch keeps its own
    drops = [dropout, *(module.p for module in activation.modules() if isinstance(module, Sparseout))]
    drops = [p for p in drops if p]
    return drops[0] if len(drops) == 1 else 1 - math.prod(1 - p for p in drops)


def weight_noise_from(spec: str) -> tuple[float, float]:
    """Read noise on weights: ``"bridgeout:q=1.5,p=0.3"``.

    Args:
        spec: ``"bridgeout:"`` with an exponent q in [0, ∞), and a probability p in [0, 1) with which a weight is
            dropped (default: 0.5).

    Returns:
        p and q, as `gossamer.Bridgeout` takes them.

    Raises:
        InputError: ``spec`` is another string, or a number of it is outside its range.

    Example:
        >>> gs.models.weight_noise_from("bridgeout:q=1.5,p=0.3")
        (0.3, 1.5)
    """
    name, _, argument = str(spec).strip().lower().partition(":")
    if name != "bridgeout":
        raise InputError(f'weight_noise must be "bridgeout:q=Q,p=P", such as "bridgeout:q=1.5,p=0.3", got {spec!r}')
    try:
        return _p_and_q(_arguments(name, argument, ("q", "p")))
    except InputError as error:
        raise InputError(f"weight_noise {spec!r}: {error}") from None
