"""A run: every seed of the sparse network and of its dense twin, one after another, into one folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gossamer import data as data_room
from gossamer.data import Dataset, Split
from gossamer.device import find_device
from gossamer.errors import InputError
from gossamer.io.tensor_file import load_weights
from gossamer.models import MLP
from gossamer.runs.checkpoint import final_state, restore, result_of
from gossamer.runs.folder import Job, RunFolder
from gossamer.runs.model_file import ModelFile, save_model
from gossamer.runs.options import Options
from gossamer.runs.results import describe_machine, measure, results
from gossamer.runs.schema import Machine, Network
from gossamer.training.loop import Epoch, Fit, architecture
from gossamer.training.samples import Samples, SparseRows

__all__ = ["Watch", "jobs_of", "load_data", "resume", "train"]


class Watch:
    """Callbacks of a run; override those that you need. The defaults do nothing."""

    def begin(self, folder: RunFolder, options: Options, data: Dataset, jobs: list[Job]) -> None:
        """The folder is ready, training starts."""

    def machine(self, machine: Machine) -> None:
        """The machine at the start of training."""

    def network(self, job: Job, done: int, steps: int) -> None:
        """Training of ``job`` starts after ``done`` epochs; each takes ``steps`` steps."""

    def step(self, job: Job, epoch: int, step: int, loss: torch.Tensor) -> None:
        """A batch is done."""

    def epoch(self, job: Job, epoch: Epoch) -> None:
        """An epoch is done and saved."""

    def measuring(self, job: Job) -> None:
        """Training is over, measuring starts."""

    def result(self, job: Job, result: Network) -> None:
        """The network is complete."""


def jobs_of(options: Options) -> list[Job]:
    """The networks of a run, in the order of training."""
    seeds = range(options.seed, options.seed + options.seeds)
    return [
        Job(network, seed) for seed in seeds for network in ("sparse", "dense") if options.twin or network == "sparse"
    ]


def load_data(options: Options) -> Dataset:
    """The samples that ``options`` name, divided by their seed."""
    if options.data == "-":
        raise InputError(
            "the rows came from standard input and can't be read again: save them in a file and train anew"
        )
    return data_room.load(options.data, target=options.target, seed=options.seed, reading=options.reading())


def train(
    options: Options, data: Dataset, out: Path | None = None, watch: Watch | None = None, *, overwrite: bool = False
) -> RunFolder:
    """Train what ``options`` say into the new folder ``out`` (default: the next free one in ``runs``).

    ``data`` is what `load_data` gives for these options. With ``overwrite``, a run that is in ``out`` is removed.
    """
    device = find_device(options.device)
    arguments = architecture(options, len(data.features), len(data.classes))
    first = _seeded(arguments, options.seed)  # mistakes show before there is a folder
    folder = RunFolder.create(out, data.name, overwrite=overwrite)
    with folder.locked():
        folder.begin(options, _fingerprint(data))
        _complete(folder, options, data, device, watch or Watch(), arguments, first)
    return folder


def resume(path: Path, watch: Watch | None = None) -> RunFolder:
    """Go on with the run in the folder ``path`` where it was stopped, exactly as if it had not been."""
    folder = RunFolder.open(path)
    with folder.locked():
        options = folder.options()
        device = find_device(options.device)
        data = load_data(options)
        if _fingerprint(data) != folder.fingerprint():
            raise InputError(
                f"the data {options.data!r} is not what the run in {path} began with: its rows, or the way they are "
                "read, have changed. Bring the old file back, or train anew"
            )
        arguments = architecture(options, len(data.features), len(data.classes))
        _complete(folder, options, data, device, watch or Watch(), arguments)
    return folder


def _seeded(arguments: Mapping[str, Any], seed: int) -> MLP:
    """The untrained sparse network of a seed."""
    return MLP(**arguments, generator=torch.Generator().manual_seed(seed))


def _complete(
    folder: RunFolder,
    options: Options,
    data: Dataset,
    device: torch.device,
    watch: Watch,
    arguments: dict[str, Any],
    first: MLP | None = None,
) -> None:
    """Do all that is still to be done in the folder; what follows from the checkpoints is written anew.

    ``arguments`` are those of the sparse networks, of which ``first`` is the untrained first one, if it has been made.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(options.threads)
    try:
        jobs = jobs_of(options)
        folder.prepare(jobs)
        watch.begin(folder, options, data, jobs)
        machine = describe_machine(options.threads, device)
        watch.machine(machine)
        measured = []
        for job in jobs:
            measured.append(_network(folder, options, data, device, watch, job, arguments, first))
            first = None  # nor is it kept in memory
        folder.write_results(results(data, measured, machine))
    finally:
        torch.set_num_threads(threads)


def _network(
    folder: RunFolder,
    options: Options,
    data: Dataset,
    device: torch.device,
    watch: Watch,
    job: Job,
    arguments: dict[str, Any],
    untrained: MLP | None,
) -> Network:
    """Train and measure one network, from wherever its checkpoint stands; what was measured."""
    state = folder.load(job)
    result = None
    if state is not None:
        with folder.reading(job):
            result = result_of(state, options.epochs)
    if state is None or result is None:
        if untrained is None and job.network == "sparse":
            untrained = _seeded(arguments, job.seed)
        state, result = _trained(folder, options, data, device, watch, job, state, untrained)
    if job == Job("sparse", options.seed):
        model = _seeded(arguments, 0)
        with folder.reading(job):
            load_weights(model, {name: tensor.cpu() for name, tensor in state["model"].items()})
            folder.write_connectivity({epoch: (pair[0], pair[1]) for epoch, pair in state["connectivity"].items()})
        file = ModelFile(model, arguments, data.classes, data.preprocessing, options.data, options.seed)
        save_model(folder.model, file)
    watch.result(job, result)
    return result


def _trained(
    folder: RunFolder,
    options: Options,
    data: Dataset,
    device: torch.device,
    watch: Watch,
    job: Job,
    state: Mapping[str, Any] | None,
    untrained: MLP | None,
) -> tuple[dict[str, Any], Network]:
    """The final state of a network, and what was measured."""
    train = _tensors(data.train, device)
    fit = Fit(
        options,
        sparse=job.network == "sparse",
        seed=job.seed,
        outputs=len(data.classes),
        train=train,
        validation=_tensors(data.validation, device),
        model=None if untrained is None else untrained.to(device, train.x.dtype),
    )
    if state is not None:
        with folder.reading(job):
            restore(fit, state)
    watch.network(job, len(fit.history), fit.steps)

    def on_step(step: int, loss: torch.Tensor) -> None:
        watch.step(job, len(fit.history) + 1, step, loss)

    for epoch in fit.run(on_step):
        folder.save(job, fit.state_dict())
        folder.add_metrics(job, epoch)
        watch.epoch(job, epoch)

    watch.measuring(job)
    result = measure(fit, _tensors(data.test, device))
    final = final_state(fit, result)
    folder.save(job, final)
    return final, result


def _tensors(split: Split, device: torch.device) -> Samples:
    if not isinstance(split.x, np.ndarray):
        return Samples(SparseRows(split.x, device), torch.from_numpy(split.y).to(device))
    return Samples(torch.from_numpy(split.x).to(device), torch.from_numpy(split.y).to(device))


def _fingerprint(data: Dataset) -> str:
    """Of all samples, their division and their classes."""
    digest = hashlib.sha256(repr((data.classes, data.features)).encode())
    for split in (data.train, data.validation, data.test):
        arrays = (split.x,) if isinstance(split.x, np.ndarray) else (split.x.data, split.x.indices, split.x.indptr)
        for array in arrays:
            digest.update(np.ascontiguousarray(array).data)
        digest.update(split.y)  # type: ignore[arg-type]
    return digest.hexdigest()
