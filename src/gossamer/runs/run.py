"""A run: every seed of the sparse network and of its dense twin, one after another, into one folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from gossamer import data as data_room
from gossamer.data import Dataset
from gossamer.device import find_device, threads
from gossamer.errors import InputError
from gossamer.io.tensor_file import load_weights
from gossamer.models import from_architecture
from gossamer.runs.checkpoint import final_state, restore, result_of
from gossamer.runs.folder import Job, RunFolder
from gossamer.runs.inputs import architecture_of, image_of, samples_of
from gossamer.runs.model_file import ModelFile, save_model
from gossamer.runs.options import Options
from gossamer.runs.results import describe_machine, measure, results
from gossamer.runs.schema import Machine, Network
from gossamer.training import Epoch, Fit

__all__ = ["Watch", "jobs_of", "load_data", "load_data_of", "resume", "train"]


class Watch:
    """Callbacks of a run; override those that you need. The defaults do nothing.

    Example:
        >>> class Losses(gs.runs.Watch):
        ...     def epoch(self, job, epoch):
        ...         print(job.network, job.seed, epoch.epoch)
    """

    def begin(self, folder: RunFolder, options: Options, data: Dataset, jobs: list[Job]) -> None:
        """Handle the beginning of training, when the folder is ready.

        Args:
            folder: of the run.
            options: of the run.
            data: the samples.
            jobs: the networks to train.
        """

    def machine(self, machine: Machine) -> None:
        """Handle the description of the machine at the start of training.

        Args:
            machine: the description.
        """

    def network(self, job: Job, done: int, steps: int) -> None:
        """Handle the beginning of a network's training.

        Args:
            job: the network.
            done: number of epochs that are done.
            steps: batches in an epoch.
        """

    def step(self, job: Job, epoch: int, step: int, loss: torch.Tensor) -> None:
        """Handle the end of a batch.

        Args:
            job: the network.
            epoch: number of the epoch, from 1.
            step: number of the batch, from 1.
            loss: mean loss of the batch.
        """

    def epoch(self, job: Job, epoch: Epoch) -> None:
        """Handle the end of an epoch, which is saved.

        Args:
            job: the network.
            epoch: the record of the epoch.
        """

    def measuring(self, job: Job) -> None:
        """Handle the end of training, before measurements start.

        Args:
            job: the network.
        """

    def result(self, job: Job, result: Network) -> None:
        """Handle the result of a network that is complete.

        Args:
            job: the network.
            result: the measurements.
        """


def jobs_of(options: Options) -> list[Job]:
    """Return the networks of a run, in the order of training."""
    seeds = range(options.seed, options.seed + options.seeds)
    return [
        Job(network, seed) for seed in seeds for network in ("sparse", "dense") if options.twin or network == "sparse"
    ]


def load_data(options: Options) -> Dataset:
    """Load the samples that the options of a run name, divided by their seed.

    Args:
        options: of the run.

    Returns:
        The data set.

    Raises:
        InputError: the data can't be used.

    Example:
        >>> options = gs.runs.Options(data="wine", hidden=(20,), epochs=3, batch_size=10, threads=1)
        >>> gs.runs.load_data(options).train.x.shape
        (124, 13)
    """
    if options.data == "-":
        raise InputError(
            "the rows came from standard input and can't be read again: save them in a file and train anew"
        )
    return data_room.load(options.data, target=options.target, seed=options.seed, reading=options.reading())


def load_data_of(folder: RunFolder, options: Options) -> Dataset:
    """Load the samples of a run; `InputError` if they are others than those that it began with."""
    data = load_data(options)
    if _fingerprint(data) != folder.fingerprint():
        raise InputError(
            f"the data {options.data!r} is not the data of the run in {folder.path}: its rows, or the way they are "
            "read, have changed. Bring the old file back, or train anew"
        )
    return data


def train(
    options: Options, data: Dataset, out: Path | None = None, watch: Watch | None = None, *, overwrite: bool = False
) -> RunFolder:
    """Train the networks of a run into a new folder.

    Args:
        options: of the run.
        data: the result of `load_data` for these options.
        out: the folder; None for the next free one in ``runs``.
        watch: callbacks.
        overwrite: remove a run that is in ``out``.

    Returns:
        The folder.

    Raises:
        InputError: ``out`` already holds a run.

    Example:
        >>> from pathlib import Path
        >>> options = gs.runs.Options(data="wine", hidden=(20,), epochs=2, batch_size=20, threads=1, twin=False)
        >>> folder = gs.runs.train(options, gs.runs.load_data(options), Path("run"))
        >>> (folder.path / "results.json").exists()
        True
    """
    device = find_device(options.device)
    arguments = architecture_of(options, data)
    first = _seeded(arguments, options.seed)  # mistakes show before there is a folder
    folder = RunFolder.create(out, data.name, overwrite=overwrite)
    with folder.locked():
        folder.begin(options, _fingerprint(data))
        _complete(folder, options, data, device, watch or Watch(), arguments, first)
    return folder


def resume(path: Path, watch: Watch | None = None) -> RunFolder:
    """Resume the run in a folder exactly where it was stopped.

    Args:
        path: of the folder.
        watch: callbacks.

    Returns:
        The folder.

    Raises:
        InputError: there is no run, a file of it is damaged, or its data has changed.

    Example:
        >>> from pathlib import Path
        >>> folder = gs.runs.resume(Path("runs/digits-1"))  # doctest: +SKIP
    """
    folder = RunFolder.open(path)
    with folder.locked():
        options = folder.options()
        device = find_device(options.device)
        data = load_data_of(folder, options)
        arguments = architecture_of(options, data)
        _complete(folder, options, data, device, watch or Watch(), arguments)
    return folder


def _seeded(arguments: Mapping[str, Any], seed: int) -> nn.Module:
    """The untrained network of a seed."""
    return from_architecture(arguments, torch.Generator().manual_seed(seed))


def _complete(
    folder: RunFolder,
    options: Options,
    data: Dataset,
    device: torch.device,
    watch: Watch,
    arguments: dict[str, Any],
    first: nn.Module | None = None,
) -> None:
    """Do all that remains to be done in the folder; files that follow from the checkpoints are written anew.

    ``arguments`` are those of the sparse networks, of which ``first`` is the untrained first one, if it has been made.
    """
    with threads(options.threads):
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


def _network(
    folder: RunFolder,
    options: Options,
    data: Dataset,
    device: torch.device,
    watch: Watch,
    job: Job,
    arguments: dict[str, Any],
    untrained: nn.Module | None,
) -> Network:
    """Train and measure one network, from its checkpoint on, and return the measurements."""
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
    untrained: nn.Module | None,
) -> tuple[dict[str, Any], Network]:
    """Train and measure a network; return its final state and the measurements."""
    image = image_of(options.model, data)
    train = samples_of(data.train, image, device)
    fit = Fit(
        options,
        sparse=job.network == "sparse",
        seed=job.seed,
        outputs=len(data.classes),
        train=train,
        validation=samples_of(data.validation, image, device),
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
    arguments = architecture_of(options, data, sparse=fit.sparse)
    result = measure(fit, samples_of(data.test, image, device), arguments)
    final = final_state(fit, result)
    folder.save(job, final)
    return final, result


def _fingerprint(data: Dataset) -> str:
    """Return a fingerprint of all samples, their division and their classes."""
    digest = hashlib.sha256(repr((data.classes, data.features)).encode())
    for split in (data.train, data.validation, data.test):
        arrays = (split.x,) if isinstance(split.x, np.ndarray) else (split.x.data, split.x.indices, split.x.indptr)
        for array in arrays:
            digest.update(np.ascontiguousarray(array).data)
        digest.update(split.y)  # type: ignore[arg-type]
    return digest.hexdigest()
