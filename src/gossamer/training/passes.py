"""A pass over samples: one that trains on each of them once, and one that measures a network."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from gossamer.evaluate.mode import evaluating
from gossamer.evaluate.predictor import Predictor
from gossamer.noise import Noise
from gossamer.training.augment import Augment
from gossamer.training.compiled import CompiledSteps, Refused
from gossamer.training.epoch import random_order
from gossamer.training.samples import Samples, SparseRows
from gossamer.training.task import MULTICLASS, Tally, Task

__all__ = ["OnStep", "Pass", "evaluate", "one_pass"]

_PIXELS = 1 << 18  # that are measured at a time

OnStep = Callable[[int, Tensor], None]
"""Called with the number of a step, from 1, and its loss."""


class Pass(NamedTuple):
    """Mean loss and summed credit of the batches of an epoch, each taken before its step.

    ``fallback`` is the reason why autograd computed it; None if the compiled step did.
    """

    loss: float
    credit: float
    fallback: str | None


def evaluate(
    model: nn.Module, samples: Samples, task: Task = MULTICLASS, *, amp: bool = False, batch_size: int = 4096
) -> tuple[float, float]:
    """Measure mean loss and summed credit over samples, in evaluation mode; modes of all modules are restored.

    Args:
        model: the network.
        samples: the samples.
        task: the task of the outputs.
        amp: compute in bfloat16 where that is safe.
        batch_size: samples run at a time.

    Returns:
        The mean loss and the summed credit; for classes, the number of samples that are right.

    Example:
        >>> samples = gs.training.Samples(torch.eye(3), torch.tensor([0, 1, 1]))
        >>> gs.training.evaluate(nn.Identity(), samples)[1]
        2
    """
    tally, predict = Tally(task), model if amp else Predictor(model)
    if isinstance(samples.x, SparseRows):
        batch_size = min(batch_size, samples.x.page)
    elif samples.x.dim() == 4:  # a network of images holds many maps of their size
        batch_size = max(1, min(batch_size, _PIXELS // max(1, math.prod(samples.x.shape[1:]))))
    with evaluating(model), torch.inference_mode():
        for x, y, weight in samples.batches(batch_size):
            outputs = _outputs(predict, x, amp)
            tally.add(task.loss(outputs, y, weight), outputs, y, weight)
    return tally.totals()


def one_pass(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    samples: Samples,
    task: Task,
    *,
    batch_size: int,
    seed: tuple[int, int],
    step: str = "compiled",
    amp: bool = False,
    max_grad_norm: float | None = None,
    augment: Augment | None = None,
    before_step: Callable[[int], None] | None = None,
    on_step: OnStep | None = None,
    report: OnStep | None = None,
) -> Pass:
    """Train on every sample once, in an order drawn by ``seed``, as are augmentation and dropout.

    ``before_step`` is called with the number 0, 1, … of each batch and may set learning rates. ``on_step`` is called
    after each step with its number from 1 and its loss, and may change the network. So is ``report``, which may not:
    the compiled step calls it for several batches at a time, some hundredths of a second later. Without ``on_step``
    it returns to Python less often.
    """
    order_seed, noise_seed, augment_seed = np.random.SeedSequence(seed).generate_state(3, np.uint64).tolist()
    order = random_order(samples, torch.Generator().manual_seed(order_seed))
    noisy = [module for module in model.modules() if isinstance(module, Noise) and module.generator is None]
    noise = torch.Generator(samples.x.device).manual_seed(noise_seed) if noisy else None
    changes = torch.Generator().manual_seed(augment_seed)
    tally, done, fallback = Tally(task), 0, None

    def take(number: int, x: Tensor, y: Tensor, weight: Tensor | None) -> None:
        if before_step is not None:
            before_step(number)
        outputs = _outputs(model, x if augment is None else augment(x, changes), amp)
        loss = task.loss(outputs, y, weight)
        optimizer.zero_grad()
        (loss if task.cost is None else loss + task.cost()).backward()
        if max_grad_norm is not None:
            nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
        optimizer.step()
        tally.add(loss, outputs, y, weight)
        notify(number + 1, loss.detach())

    def notify(number: int, loss: Tensor) -> None:
        for callback in (on_step, report):
            if callback is not None:
                callback(number, loss)

    model.train()
    try:
        for module in noisy:
            module.generator = noise
        try:
            if augment is not None:
                raise Refused("the samples are augmented")
            if step != "compiled" or amp:
                raise Refused("the compiled step is turned off" if step != "compiled" else "it does without bfloat16")
            steps = CompiledSteps(model, optimizer, samples, task, noise=noise, max_grad_norm=max_grad_norm)
            for done, rows, losses, credits in steps.run(order, batch_size, before_step, singly=on_step is not None):
                tally.add_sums(rows, losses, credits)
                if on_step is not None or report is not None:
                    for number, loss in enumerate((losses / rows).unbind(), start=done - len(rows) + 1):
                        notify(number, loss)
        except Refused as reason:
            fallback = str(reason)
            for number, batch in enumerate(samples.batches(batch_size, order[done * batch_size :]), start=done):
                take(number, *batch)
    finally:
        for module in noisy:
            module.generator = None
    return Pass(*tally.totals(), fallback)


def _outputs(model: nn.Module, x: Tensor, amp: bool) -> Tensor:
    if not amp:
        return model(x)  # type: ignore[no-any-return]
    with torch.autocast(x.device.type, torch.bfloat16):
        return model(x).float()  # type: ignore[no-any-return]
