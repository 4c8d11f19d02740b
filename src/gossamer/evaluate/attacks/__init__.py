"""Adversarial attacks: inputs close to a sample that a network misclassifies, and checks that they were strong enough.

`FGSM`, `PGD`, `APGD` and `Square` are attacks, within a radius in the maximum or the Euclidean norm and within a `Box`.
`evaluate` measures the accuracy under one of them, `transfer` that under inputs made for another network, and `sanity`
whether such an accuracy can be trusted.
"""

from gossamer.evaluate.attacks.apgd import APGD
from gossamer.evaluate.attacks.attack import Attack
from gossamer.evaluate.attacks.box import Box
from gossamer.evaluate.attacks.gates import has_gates, straight_through
from gossamer.evaluate.attacks.notation import parse, text
from gossamer.evaluate.attacks.pgd import FGSM, PGD
from gossamer.evaluate.attacks.result import AttackResult, evaluate, transfer
from gossamer.evaluate.attacks.sanity import Check, SanityReport, sanity
from gossamer.evaluate.attacks.square import Square

__all__ = [
    "APGD",
    "FGSM",
    "PGD",
    "Attack",
    "AttackResult",
    "Box",
    "Check",
    "SanityReport",
    "Square",
    "evaluate",
    "has_gates",
    "parse",
    "sanity",
    "straight_through",
    "text",
    "transfer",
]
