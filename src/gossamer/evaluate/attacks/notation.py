"""Attacks by name, as on the command line."""

from __future__ import annotations

import dataclasses
from typing import Any

from gossamer.errors import InputError
from gossamer.evaluate.attacks.apgd import APGD
from gossamer.evaluate.attacks.attack import Attack
from gossamer.evaluate.attacks.pgd import FGSM, PGD
from gossamer.evaluate.attacks.square import Square

__all__ = ["parse", "text"]

_KINDS: dict[str, tuple[type[Attack], dict[str, Any]]] = {
    "fgsm": (FGSM, {}),
    "pgd": (PGD, {}),
    "apgd-ce": (APGD, {"loss": "ce"}),
    "apgd-dlr": (APGD, {"loss": "dlr"}),
    "apgd-t": (APGD, {"loss": "dlr", "targeted": True}),
    "square": (Square, {}),
}
_USAGE = f"{', '.join(_KINDS)}, with settings after a colon as in pgd:steps=100,restarts=3"


def parse(text: str, *, norm: str = "linf", radius: float | None = None) -> Attack:
    """Read an attack from a string.

    =============  ===========================================================================================
    ``fgsm``       `FGSM`
    ``pgd``        `PGD`
    ``apgd-ce``    `APGD` with the cross-entropy
    ``apgd-dlr``   `APGD` with the difference of logits ratio
    ``apgd-t``     `APGD` with this ratio, aimed at the most likely wrong classes
    ``square``     `Square`
    ``a:k=v,…``    with settings, such as ``steps=100``, ``norm=l2``, ``radius=0.5`` or ``stochastic=yes``
    =============  ===========================================================================================

    Args:
        text: such as ``"pgd:steps=100,restarts=3"``; upper and lower case are the same.
        norm: where the string does not name it.
        radius: where the string does not name it; it is needed in one of the two places.

    Returns:
        The attack.

    Raises:
        InputError: anything else, or numbers out of range.

    Example:
        >>> attack = gs.evaluate.attacks.parse("square:queries=2000", radius=0.05)
        >>> attack.radius, attack.queries
        (0.05, 2000)
    """
    name, colon, rest = str(text).lower().strip().partition(":")
    if name.strip() not in _KINDS or (colon and not rest.strip()):
        raise InputError(f"attack must be {_USAGE}, got {text!r}")
    kind, fixed = _KINDS[name.strip()]
    types = {field.name: str(field.type) for field in dataclasses.fields(kind) if field.name not in fixed}
    settings: dict[str, Any] = {"norm": norm, "radius": radius, **fixed}
    for part in rest.split(",") if colon else ():
        key, _, value = (piece.strip() for piece in part.partition("="))
        if key not in types:
            raise InputError(f"attack {text!r}: settings must be {', '.join(types)}, got {part.strip()!r}")
        settings[key] = _value(types[key], value, key, text)
    if settings["radius"] is None:
        raise InputError(f"attack {text!r} must have a radius, as in {text}{',' if colon else ':'}radius=0.1, got none")
    try:
        return kind(**settings)
    except InputError as error:
        raise InputError(f"attack {text!r}: {error}") from None


def text(attack: Attack) -> str:
    """Write an attack as a string from which `parse` makes it again; settings that are the default are left out.

    Args:
        attack: of this package.

    Returns:
        The string, with radius and norm.

    Raises:
        InputError: it has a combination of settings without a name, such as targets for the cross-entropy.

    Example:
        >>> gs.evaluate.attacks.text(gs.evaluate.attacks.APGD(radius=0.1, norm="l2", steps=50))
        'apgd-ce:radius=0.1,norm=l2,steps=50'
    """
    for name, (kind, fixed) in _KINDS.items():
        fixed = {"targeted": False, **fixed} if kind is APGD else fixed
        if type(attack) is kind and all(getattr(attack, key) == value for key, value in fixed.items()):
            shown = [
                f"{field.name}={_shown(getattr(attack, field.name))}"
                for field in dataclasses.fields(attack)
                if field.name not in fixed
                and (field.name in ("radius", "norm") or getattr(attack, field.name) != field.default)
            ]
            return f"{name}:{','.join(shown)}"
    raise InputError(f"attack must be one that has a name, {', '.join(_KINDS)}, got {attack!r}")


def _shown(value: Any) -> str:
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


def _value(kind: str, value: str, key: str, text: str) -> Any:
    try:
        if kind == "bool":
            return {"yes": True, "true": True, "no": False, "false": False}[value]
        return int(value) if kind == "int" else float(value) if kind.startswith("float") else value
    except (KeyError, ValueError):
        wanted = {"bool": "yes or no", "int": "a whole number"}.get(kind, "a number")
        raise InputError(f"attack {text!r}: {key} must be {wanted}, got {value!r}") from None
