"""The evaluation of a run: accuracy of its networks under noise, corruptions and attacks, into ``robustness.json``.

All networks see the same test rows and, where a condition is random, the same random numbers. Each result is saved when
it is there; results that the file already holds are not measured again, and a result does not depend on the others.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

import gossamer
from gossamer.data import Dataset
from gossamer.device import find_device, threads
from gossamer.errors import InputError
from gossamer.io.files import read_bytes, remove_partial
from gossamer.io.tensor_file import load_weights
from gossamer.models import from_architecture
from gossamer.runs.folder import Job, RunFolder
from gossamer.runs.inputs import architecture_of, image_of
from gossamer.runs.measurement import measured_cell, measured_checks, threads_for
from gossamer.runs.options import Options
from gossamer.runs.plan import Plan, attack_of, passes_of
from gossamer.runs.robustness import Cell, Condition, Measured, Robustness
from gossamer.runs.run import jobs_of, load_data_of
from gossamer.runs.units import UnitRows, unit_rows

__all__ = ["EvaluationWatch", "Step", "evaluate_run", "load_network"]

_CHECK_PASSES = 3000.0  # forward passes of the checks for each row, about


class Step(NamedTuple):
    """One measurement: of a network under a condition, or the checks of an attack on it.

    Attributes:
        job: the network.
        condition: the change of its inputs.
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
            robustness: the results so far.
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
        plan: the measurements.
        watch: callbacks.
        device: that computes.
        overwrite: forget earlier measurements.

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
                with threads(threads_for(network, inputs)):
                    if step.checks:
                        twin = twin or networks(_twin(job)) if _twin(job) in digests else None
                        checks = measured_checks(*step[:2], network, twin, inputs, plan, partial(watch.part, step))
                        known = replace(known, checks=(*known.checks, *checks))
                    else:
                        cell = measured_cell(*step[:2], network, inputs, plan, partial(watch.part, step))
                        known = replace(known, cells=(*known.cells, cell))
                folder.write_robustness(known)
                watch.end(step, cell)
    return known


def _twin(job: Job) -> Job:
    return Job("dense" if job.network == "sparse" else "sparse", job.seed)


def _comparable(folder: RunFolder, known: Robustness | None, plan: Plan, inputs: UnitRows) -> Robustness:
    """The earlier results for the rows of the plan; `InputError` if they are for other rows."""
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
    """The measurements of a network; the ``first`` seed's attacks are always checked."""
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
