"""One measurement of an evaluation: the accuracy of a network under a condition, or the checks of an attack."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from gossamer.connectivity import SparseConv2d
from gossamer.evaluate import accuracy_under, add_noise, attacks, corruptions, layer_snr
from gossamer.runs.folder import Job
from gossamer.runs.plan import Plan, attack_of
from gossamer.runs.robustness import Cell, Check, Condition
from gossamer.runs.units import UnitRows

__all__ = ["measured_cell", "measured_checks", "threads_for"]

_BATCH = 256
_SMALL = 1 << 23  # multiply-adds of a pass through linear layers that are not worth a second thread
_CHECKED = 100  # rows of the quick checks

Progress = Callable[[float], None]
"""Called with the share of a measurement that is done, in [0, 1]."""


def threads_for(network: nn.Module, inputs: UnitRows) -> int | None:
    """One thread for a small network, in which several would wait for each other longer than they compute."""
    if any(isinstance(module, nn.Conv2d | SparseConv2d) for module in network.modules()):
        return None
    work = sum(parameter.numel() for parameter in network.parameters()) * min(_BATCH, len(inputs.y))
    return 1 if work < _SMALL else None


def measured_cell(
    job: Job, condition: Condition, network: nn.Module, inputs: UnitRows, plan: Plan, progress: Progress
) -> Cell:
    """The accuracy of a network under a condition."""
    start = time.perf_counter()
    seed, rows, draws = plan.seed or 0, len(inputs.y), 1
    snr: dict[str, float | None] | None = None
    zero: float | None = None
    if condition.kind == "attack":
        result = attacks.evaluate(
            network,
            inputs.x,
            inputs.y,
            attack_of(condition.name, condition.norm, condition.strength),
            box=attacks.Box(inputs.low, inputs.high),
            generator=torch.Generator().manual_seed(seed),
            batch_size=_BATCH,
            progress=lambda done, total: progress(done / total),
        )
        correct, zero = int(result.correct.sum()), result.gradient_zero_share
    else:
        draws = plan.draws or 1 if condition.kind == "noise" else 1

        def change(x: Tensor, generator: torch.Generator) -> Tensor:
            return _changed(condition, x, generator, inputs)

        share = accuracy_under(network, inputs.x, inputs.y, change, seed, draws, _BATCH)
        correct = round(share * draws * rows)
        if condition[:2] == ("noise", "gaussian"):
            noisy = change(inputs.x, torch.Generator().manual_seed(seed))
            found = layer_snr(network, inputs.x, noisy, _BATCH)
            snr = {name.removeprefix("1."): v if math.isfinite(v) else None for name, v in found.items()}
    return Cell(
        **job._asdict(),
        **condition._asdict(),
        rows=rows,
        draws=draws,
        correct=correct,
        seconds=time.perf_counter() - start,
        snr=snr,
        zero_gradients=zero,
    )


def measured_checks(
    job: Job,
    condition: Condition,
    network: nn.Module,
    twin: nn.Module | None,
    inputs: UnitRows,
    plan: Plan,
    progress: Progress,
) -> tuple[Check, ...]:
    """The checks of an attack; ``twin`` is the network whose adversarial inputs are tried too."""
    _, name, norm, radius = condition
    rows = slice(None) if plan.sanity == "full" else slice(_CHECKED)
    report = attacks.sanity(
        network,
        inputs.x[rows],
        inputs.y[rows],
        box=attacks.Box(inputs.low, inputs.high),
        radius=radius,
        norm=norm,  # type: ignore[arg-type]
        generator=torch.Generator().manual_seed(plan.seed or 0),
        budget=plan.sanity,  # type: ignore[arg-type]
        attack=attack_of(name, norm, radius),
        source=twin,
        batch_size=_BATCH,
        progress=lambda done, total: progress(done / total),
    )
    return tuple(
        Check(
            *job, name, norm, radius, plan.sanity,
            check.name, check.passed, check.measured, check.limit, check.explanation,
        )
        for check in report.checks
    )  # fmt: skip


def _changed(condition: Condition, x: Tensor, generator: torch.Generator, inputs: UnitRows) -> Tensor:
    if condition.kind == "clean":
        return x
    if condition.kind == "noise":
        law = "gaussian" if condition.name == "gaussian" else "uniform"
        bounds = attacks.Box(inputs.low, inputs.high).around(x)
        return add_noise(x, condition.strength, generator, law, bounds)  # type: ignore[arg-type]
    severity = int(condition.strength)
    if inputs.fill is None:
        return corruptions.corrupt(condition.name, x, severity, generator)
    assert inputs.columns is not None
    fill = inputs.fill if condition.name == "missing_values" else torch.zeros_like(inputs.fill)
    return corruptions.corrupt_table(x, severity, generator, fill, inputs.columns)
