"""The accuracy of a network under an attack, and under one that was made for another network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gossamer.errors import check_count
from gossamer.evaluate.attacks.attack import Attack
from gossamer.evaluate.attacks.box import Box
from gossamer.evaluate.attacks.victim import check_classes, check_samples

__all__ = ["AttackResult", "evaluate", "transfer"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class AttackResult:
    """The result of an attack.

    Args:
        correct: (N) whether a sample is still classified correctly after the attack.
        clean: (N) whether it was before. Other samples are not attacked.
        loss: (N) cross-entropy of ``adversarial``.
        adversarial: (N, …) inputs after the attack.
        gradient_zero_share: share of the attacked samples whose gradient of the attack's loss is zero in all features,
            at the sample itself; 0 if none was attacked.
        queries: number of forward passes, times samples, that the attack made.

    Example:
        >>> attack, box = gs.evaluate.attacks.FGSM(radius=0.1), gs.evaluate.attacks.Box(0, 1)
        >>> x, y, g = torch.tensor([[0.6, 0.5], [0.9, 0.1]]), torch.tensor([0, 0]), torch.Generator().manual_seed(0)
        >>> result = gs.evaluate.attacks.evaluate(nn.Identity(), x, y, attack, box=box, generator=g)
        >>> result.correct, result.accuracy
        (tensor([False,  True]), 0.5)
    """

    correct: Tensor
    clean: Tensor
    loss: Tensor
    adversarial: Tensor
    gradient_zero_share: float
    queries: int

    @property
    def accuracy(self) -> float:
        """Share of all samples that are classified correctly after the attack."""
        return float(self.correct.double().mean())

    @property
    def clean_accuracy(self) -> float:
        """Share of all samples that are classified correctly before it."""
        return float(self.clean.double().mean())


def evaluate(
    network: nn.Module,
    x: Tensor,
    y: Tensor,
    attack: Attack,
    *,
    box: Box,
    generator: torch.Generator,
    batch_size: int = 256,
    progress: Progress | None = None,
) -> AttackResult:
    """Attack the samples that a network classifies correctly, and count those that it still does.

    The search stops for a sample as soon as it is misclassified. The result is checked with a last forward pass.

    Args:
        network: returns logits (N, classes).
        x: samples (N, …), float32 or float64, finite.
        y: class numbers (N).
        attack: such as `APGD`.
        box: range of the inputs.
        generator: source of all random choices.
        batch_size: samples attacked at a time, ≥ 1.
        progress: called with the numbers of samples done and of all samples, after every batch.

    Returns:
        Correct samples, losses and adversarial inputs.

    Raises:
        InputError: an argument is invalid, or the network returns something else than finite logits.

    Example:
        >>> net, x, y = gs.SparseLinear(4, 3, density=0.5), torch.rand(5, 4), torch.tensor([0, 1, 2, 0, 1])
        >>> g, box = torch.Generator().manual_seed(0), gs.evaluate.attacks.Box(0, 1)
        >>> attack = gs.evaluate.attacks.APGD(radius=1, steps=10)
        >>> gs.evaluate.attacks.evaluate(net, x, y, attack, box=box, generator=g).accuracy
        0.0
    """
    return transfer(
        network, network, x, y, attack, box=box, generator=generator, batch_size=batch_size, progress=progress
    )


def transfer(
    source: nn.Module,
    target: nn.Module,
    x: Tensor,
    y: Tensor,
    attack: Attack,
    *,
    box: Box,
    generator: torch.Generator,
    batch_size: int = 256,
    progress: Progress | None = None,
) -> AttackResult:
    """Attack one network with inputs that were found for another.

    Samples that ``target`` classifies correctly are attacked. The search on ``source`` does not stop at the first
    misclassification, since inputs with a larger loss transfer better.

    Args:
        source: the network whose gradients are used, of as many classes.
        target: the network whose accuracy is measured.
        x: samples (N, …), float32 or float64, finite.
        y: class numbers (N).
        attack: such as `PGD`.
        box: range of the inputs.
        generator: source of all random choices.
        batch_size: samples attacked at a time, ≥ 1.
        progress: called with the numbers of samples done and of all samples, after every batch.

    Returns:
        Correct samples and losses of ``target``; ``gradient_zero_share`` is that of ``source``.

    Raises:
        InputError: an argument is invalid, or a network returns something else than finite logits.

    Example:
        >>> net, x, y = nn.Linear(4, 3), torch.rand(5, 4), torch.tensor([0, 1, 2, 0, 1])
        >>> g, box = torch.Generator().manual_seed(0), gs.evaluate.attacks.Box(0, 1)
        >>> attack = gs.evaluate.attacks.PGD(radius=0.5, steps=10)
        >>> result = gs.evaluate.attacks.transfer(nn.Linear(4, 3), net, x, y, attack, box=box, generator=g)
        >>> result.accuracy <= result.clean_accuracy
        True

    References:
        Athalye, Carlini, Wagner, "Obfuscated gradients give a false sense of security", ICML 2018; Carlini and others,
        "On evaluating adversarial robustness", arXiv 1902.06705, section 4.
    """
    x, y = check_samples(x, y)
    check_count("batch_size", batch_size, low=1)
    parts: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    flat = queries = done = 0
    for inputs, labels in zip(x.split(batch_size), y.split(batch_size), strict=True):
        with attack.prepare(target, inputs, generator) as victim:
            logits = victim.logits(inputs)
        check_classes(logits, labels)
        clean = logits.argmax(1) == labels
        adversarial = inputs.clone()
        if bool(clean.any()):
            chosen, wanted = inputs[clean], labels[clean]
            with attack.prepare(source, chosen, generator) as victim:
                check_classes(victim.logits(chosen), wanted)
                victim.queries = 0
                adversarial[clean] = attack.search(victim, chosen, wanted, box, generator, stop=source is target)
                queries += victim.queries
                gradient = victim.ascend(chosen, wanted, attack.objective)[1]
            flat += int((gradient == 0).flatten(1).all(1).sum())
            with attack.prepare(target, inputs, generator) as victim:
                logits = victim.logits(adversarial)
        correct = (logits.argmax(1) == labels) & clean
        parts.append((correct, clean, F.cross_entropy(logits, labels, reduction="none"), adversarial))
        done += len(inputs)
        if progress is not None:
            progress(done, len(x))
    correct, clean, loss, adversarial = (torch.cat(part) for part in zip(*parts, strict=True))
    return AttackResult(correct, clean, loss, adversarial, flat / max(1, int(clean.sum())), queries)
