from __future__ import annotations

import pytest

from gossamer import InputError
from gossamer.evaluate.attacks import APGD, FGSM, PGD, Attack, Square, parse, text

MEANT: list[tuple[str, Attack]] = [
    ("fgsm", FGSM(radius=0.1)),
    ("pgd:steps=7,restarts=2", PGD(radius=0.1, steps=7, restarts=2)),
    (" PGD : steps = 7 , step_size = 0.5 ", PGD(radius=0.1, steps=7, step_size=0.5)),
    ("pgd:loss=margin", PGD(radius=0.1, loss="margin")),
    ("apgd-ce", APGD(radius=0.1)),
    ("apgd-dlr:norm=l2,radius=2", APGD(radius=2, norm="l2", loss="dlr")),
    ("apgd-t:targets=3", APGD(radius=0.1, loss="dlr", targeted=True, targets=3)),
    ("square:queries=2000", Square(radius=0.1, queries=2000)),
    (
        "pgd:stochastic=yes,expectation=5,straight_through=true",
        PGD(radius=0.1, stochastic=True, expectation=5, straight_through=True),
    ),
]


@pytest.mark.parametrize(("string", "attack"), MEANT, ids=[string for string, _ in MEANT])
def test_strings(string: str, attack: Attack) -> None:
    assert parse(string, radius=0.1) == attack
    assert parse(text(attack)) == attack


def test_the_ball_of_the_caller() -> None:
    assert parse("fgsm", norm="l2", radius=3) == FGSM(norm="l2", radius=3)
    assert parse("fgsm:norm=linf,radius=1", norm="l2", radius=3) == FGSM(norm="linf", radius=1)


def test_defaults_are_left_out() -> None:
    assert text(PGD(radius=0.25, steps=100, restarts=5)) == "pgd:radius=0.25,norm=linf,restarts=5"


@pytest.mark.parametrize(
    ("string", "message"),
    [
        ("", "attack must be fgsm, pgd, apgd-ce, .*, got ''"),
        ("apgd", "attack must be"),
        ("cw:steps=3", "attack must be"),
        ("pgd:", "attack must be"),
        ("pgd:steps", "steps must be a whole number, got ''"),
        ("pgd:steps=ten", "steps must be a whole number, got 'ten'"),
        ("pgd:steps=1.5", "steps must be a whole number, got '1.5'"),
        ("pgd:steps=0", "attack 'pgd:steps=0': steps must be"),
        ("pgd:queries=3", "settings must be radius, norm, .*, got 'queries=3'"),
        ("apgd-ce:loss=dlr", "settings must be"),
        ("pgd:steps=1,,restarts=2", "settings must be .*, got ''"),
        ("fgsm:radius=nan", "radius must be in"),
        ("fgsm:radius=far", "radius must be a number, got 'far'"),
        ("fgsm:stochastic=maybe", "stochastic must be yes or no, got 'maybe'"),
        ("fgsm:norm=l1", "norm must be one of"),
    ],
)
def test_no_attack(string: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(string, radius=0.1)


def test_a_radius_is_needed() -> None:
    with pytest.raises(InputError, match=r"must have a radius, as in pgd:steps=3,radius=0\.1, got none"):
        parse("pgd:steps=3")


def test_an_attack_without_a_name() -> None:
    with pytest.raises(InputError, match="attack must be one that has a name"):
        text(APGD(radius=0.1, targeted=True))
