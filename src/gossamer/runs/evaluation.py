"""The evaluation of a run: accuracy of its networks under noise, corruptions and attacks, into ``robustness.json``.

All networks see the same test rows and, where a condition is random, the same random numbers. Each result is saved when
it is there; what the file already holds is not measured again, and a result does not depend on the others.
"""

from __future__ import annotations

import hashlib
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

import gossamer
from gossamer.connectivity import SparseConv2d
from gossamer.data import Dataset
from gossamer.device import find_device, threads
from gossamer.errors import InputError
from gossamer.evaluate import accuracy_under, add_noise, attacks, corruptions, layer_snr
from gossamer.io.files import read_bytes, remove_partial
from gossamer.io.tensor_file import load_weights
from gossamer.models import from_architecture
from gossamer.runs.folder import Job, RunFolder
from gossamer.runs.inputs import architecture_of, image_of
from gossamer.runs.options import Options
from gossamer.runs.plan import Plan, attack_of, passes_of
from gossamer.runs.robustness import Cell, Check, Condition, Measured, Robustness
from gossamer.runs.run import jobs_of, load_data_of
from gossamer.runs.units import UnitRows, unit_rows

__all__ = ["EvaluationWatch", "Step", "evaluate_run", "load_network"]

_BATCH = 256
_SMALL = 1 << 23  # multiply-adds of a pass through linear layers that are not worth a second thread
_CHECKED = 100  # rows of the quick checks
_CHECK_PASSES = 3000.0  # forward passes of the checks for each row, about


class Step(NamedTuple):
    """One measurement: of a network under a condition, or the checks of an attack on it.

    Attributes:
        job: the network.
        condition: what its inputs go through.
        checks: whether the attack ``condition`` is checked.
        passes: about how many forward passes it takes for each row.
    """

    job: Job
    condition: Condition
    checks: bool
    passes: float


class EvaluationWatch:
    """Callbacks of an evaluation; override those that you need. The defaults do nothing.

    Example:
        >>> class Accuracies(gs.runs.EvaluationWatch):
        ...     def end(self, step, cell):
        ...         print(step.job.network, None if cell is None else cell.accuracy)
    """

    def begin(self, robustness: Robustness, data: Dataset, steps: list[Step], done: int) -> None:
        """Handle the beginning.

        Args:
            robustness: what is known.
            data: of the run.
            steps: the measurements to make.
            done: number of measurements that the file already holds.
        """

    def start(self, step: Step) -> None:
        """Handle the beginning of a measurement.

        Args:
            step: the measurement.
        """

    def part(self, step: Step, share: float) -> None:
        """Handle the progress of a measurement.

        Args:
            step: the measurement.
            share: of its rows that are done, in [0, 1].
        """

    def end(self, step: Step, cell: Cell | None) -> None:
        """Handle a result, which is saved.

        Args:
            step: the measurement.
            cell: the result; None of checks.
        """


def load_network(folder: RunFolder, options: Options, data: Dataset, job: Job) -> nn.Module:
    """Load a trained network of a run from its checkpoint.

    Args:
        folder: of the run.
        options: of the run.
        data: of the run.
        job: the network.

    Returns:
        The network, in evaluation mode on the CPU.

    Raises:
        InputError: there is no checkpoint, or it is damaged.

    Example:
        >>> from gossamer.runs.folder import Job
        >>> options = gs.runs.Options(data="wine", hidden=(20,), epochs=2, batch_size=20, threads=1, twin=False)
        >>> data = gs.runs.load_data(options)
        >>> folder = gs.runs.train(options, data)
        >>> gs.runs.load_network(folder, options, data, Job("sparse", 0))(torch.zeros(1, 13)).shape
        torch.Size([1, 3])
    """
    state = folder.load(job)
    if state is None:
        raise InputError(f"{folder.checkpoint(job)} doesn't exist: resume the run, which trains the network again")
    model = from_architecture(
        architecture_of(options, data, sparse=job.network == "sparse"), torch.Generator().manual_seed(0)
    )
    with folder.reading(job):
        load_weights(model, {name: tensor.cpu() for name, tensor in state["model"].items()})
    return model.eval()


def evaluate_run(
    path: Path,
    plan: Plan | None = None,
    watch: EvaluationWatch | None = None,
    *,
    device: str = "cpu",
    overwrite: bool = False,
) -> Robustness:
    """Measure the accuracy of a run's networks under noise, corruptions and attacks; continue where it was stopped.

    Args:
        path: the folder of a finished run.
        plan: what to measure.
        watch: callbacks.
        device: that computes.
        overwrite: forget what was measured before.

    Returns:
        All that is known now, which ``robustness.json`` holds too.

    Raises:
        InputError: the run is not finished, its data has changed, the plan does not suit it, or other rows were
            measured before.

    Example:
        >>> options = gs.runs.Options(data="wine", hidden=(20,), epochs=2, batch_size=20, threads=1)
        >>> folder = gs.runs.train(options, gs.runs.load_data(options))
        >>> found = gs.runs.evaluate_run(folder.path, gs.runs.Plan(noise=(0.1, 0.3)))
        >>> [(cell.network, cell.kind, cell.strength) for cell in found.cells][:2]
        [('sparse', 'clean', 0.0), ('sparse', 'noise', 0.1)]
    """
    plan, watch, place = plan or Plan(), watch or EvaluationWatch(), find_device(device)
    folder = RunFolder.open(path)
    with folder.locked():
        if not folder.results.exists():
            raise InputError(f"{path} holds no results.json: its training isn't finished. Resume it first")
        remove_partial(path)
        options = folder.options()
        known = None if overwrite else folder.read_robustness()
        data = load_data_of(folder, options)
        rows, seed, draws = plan.rows, plan.seed, plan.draws
        if known is not None:
            rows, seed, draws = (
                getattr(known, name) if getattr(plan, name) is None else getattr(plan, name)
                for name in ("rows", "seed", "draws")
            )
        inputs = unit_rows(data, rows, seed or 0, place)
        plan = replace(plan.completed(inputs), rows=len(inputs.y), seed=seed or 0, draws=draws or 3)
        known = _comparable(folder, known, plan, inputs)
        digests = {job: hashlib.sha256(read_bytes(folder.checkpoint(job))).hexdigest() for job in jobs_of(options)}
        for job, digest in digests.items():
            if Measured(*job, digest) not in known.measured:  # another network, or none before
                known = known.without(*job)
                known = replace(known, measured=(*known.measured, Measured(*job, digest)))
        steps = [step for job in digests for step in _steps(job, job.seed == options.seed, plan)]
        left = [step for step in steps if not _is_known(step, known, plan)]

        def networks(job: Job) -> nn.Module:
            model = load_network(folder, options, data, job).to(place)
            return inputs.network(model, reads_images=image_of(options.model, data) is not None)

        watch.begin(known, data, left, len(steps) - len(left))
        for job in digests:
            todo = [step for step in left if step.job == job]
            if not todo:
                continue
            network, twin = networks(job), None
            for step in todo:
                watch.start(step)
                cell = None
                with threads(_threads_for(network, inputs)):
                    if step.checks:
                        twin = twin or networks(_twin(job)) if _twin(job) in digests else None
                        checks = _checks(step, network, twin, inputs, plan, watch)
                        known = replace(known, checks=(*known.checks, *checks))
                    else:
                        cell = _cell(step, network, inputs, plan, watch)
                        known = replace(known, cells=(*known.cells, cell))
                folder.write_robustness(known)
                watch.end(step, cell)
    return known


def _threads_for(network: nn.Module, inputs: UnitRows) -> int | None:
    """One thread for a small network, in which several would wait for each other longer than they compute."""
    if any(isinstance(module, nn.Conv2d | SparseConv2d) for module in network.modules()):
        return None
    work = sum(parameter.numel() for parameter in network.parameters()) * min(_BATCH, len(inputs.y))
    return 1 if work < _SMALL else None


def _twin(job: Job) -> Job:
    return Job("dense" if job.network == "sparse" else "sparse", job.seed)


def _comparable(folder: RunFolder, known: Robustness | None, plan: Plan, inputs: UnitRows) -> Robustness:
    """What is known of the rows of the plan; `InputError` if it is of others."""
    assert plan.rows is not None and plan.seed is not None and plan.draws is not None  # noqa: PT018
    new = Robustness(Robustness.newest, gossamer.__version__, plan.rows, plan.seed, plan.draws, inputs.unit)
    if known is None:
        return new
    for name in ("rows", "seed", "draws"):
        if getattr(known, name) != getattr(plan, name):
            raise InputError(
                f"{name} must be {getattr(known, name)}, as in {folder.robustness}, got {getattr(plan, name)}: "
                f"leave out --{name}, or measure everything anew with --overwrite"
            )
    return replace(known, gossamer=new.gossamer)


def _steps(job: Job, first: bool, plan: Plan) -> list[Step]:
    """What to measure of a network; the ``first`` seed's attacks are always checked."""
    steps = []
    for condition in plan.conditions():
        passes = 2.0
        if condition.kind == "noise":
            passes = 2.0 + (plan.draws or 0)
        elif condition.kind == "attack":
            passes = passes_of(attack_of(condition.name, condition.norm, condition.strength))
        steps.append(Step(job, condition, False, passes))
    if plan.attacks and (plan.sanity == "full" or (plan.sanity == "quick" and first)):
        checked = [Condition("attack", name, plan.norm, plan.checked_radius) for name in plan.attack_names]
        steps += [Step(job, condition, True, _CHECK_PASSES) for condition in checked]
    return steps


def _is_known(step: Step, known: Robustness, plan: Plan) -> bool:
    if not step.checks:
        return any((*step.job, *step.condition) == (c.network, c.seed, *c.condition) for c in known.cells)
    wanted = (*step.job, *step.condition[1:], plan.sanity)
    return any(wanted == (c.network, c.seed, c.attack, c.norm, c.radius, c.budget) for c in known.checks)


def _cell(step: Step, network: nn.Module, inputs: UnitRows, plan: Plan, watch: EvaluationWatch) -> Cell:
    start, condition = time.perf_counter(), step.condition
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
            progress=lambda done, total: watch.part(step, done / total),
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
        network=step.job.network,
        seed=step.job.seed,
        **condition._asdict(),
        rows=rows,
        draws=draws,
        correct=correct,
        seconds=time.perf_counter() - start,
        snr=snr,
        zero_gradients=zero,
    )


def _checks(
    step: Step, network: nn.Module, twin: nn.Module | None, inputs: UnitRows, plan: Plan, watch: EvaluationWatch
) -> tuple[Check, ...]:
    """The checks of an attack; ``twin`` is the network whose adversarial inputs are tried too."""
    _, name, norm, radius = step.condition
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
        progress=lambda done, total: watch.part(step, done / total),
    )
    return tuple(
        Check(
            *step.job, name, norm, radius, plan.sanity,
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
