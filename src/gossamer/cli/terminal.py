"""Terminal output: progress during a run, tables at its end."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gossamer.data import Dataset
from gossamer.models import ModelName, title
from gossamer.report import Run, read, rows
from gossamer.report import compare as comparison
from gossamer.report import text as words
from gossamer.runs import Options, RunFolder, Watch
from gossamer.runs.folder import Job
from gossamer.runs.schema import Machine, Network
from gossamer.training import Epoch

__all__ = ["Progress", "show_comparison", "show_summary"]


_FEW = 10  # steps after which the remaining time is shown


class Progress(Watch):
    """Three live lines on a terminal; elsewhere one plain line for each epoch. All on standard error."""

    def __init__(self) -> None:
        self.folder: RunFolder | None = None
        self._console = Console(stderr=True, highlight=False, soft_wrap=False)
        self._jobs: list[Job] = []
        self._job: Job | None = None
        self._count = self._epochs = self._steps = self._epoch = self._step = 0
        self._loss: torch.Tensor | None = None
        self._last: Epoch | None = None
        self._doing = "training"
        self._spent = {"sparse": [0, 0.0], "dense": [0, 0.0]}  # steps and seconds of this process
        self._warm, self._clock = False, 0.0  # the first step of a network takes longer than those that follow
        self._live = Live(console=self._console, get_renderable=self._render, refresh_per_second=8, transient=True)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    # ---- callbacks ---------------------------------------------------------------------------------------------------

    def begin(self, folder: RunFolder, options: Options, data: Dataset, jobs: list[Job]) -> None:
        """Show the plan of the run."""
        self.folder, self._jobs, self._count, self._epochs = folder, jobs, len(jobs), options.epochs
        for line in _plan(folder, options, data):
            self._say(line)
        if self._console.is_terminal:
            self._live.start()

    def machine(self, machine: Machine) -> None:
        """Show why times may not be reliable."""
        if machine.busy is not None:
            self._say(machine.busy)

    def network(self, job: Job, done: int, steps: int) -> None:
        """Start the line of a network."""
        self._job, self._steps, self._epoch, self._step = job, steps, done, 0
        self._loss, self._last, self._doing, self._warm = None, None, "training", False
        if done:
            self._say(f"{_name(job)} continues after epoch {done}")

    def step(self, job: Job, epoch: int, step: int, loss: torch.Tensor) -> None:
        """Update the line after a batch."""
        now = time.perf_counter()
        spent = self._spent[job.network]
        if self._warm:
            spent[0] += 1
            spent[1] += now - self._clock
        self._warm = True
        self._clock, self._step, self._loss = now, step, loss

    def epoch(self, job: Job, epoch: Epoch) -> None:
        """Show the results of an epoch."""
        self._epoch, self._step, self._last = epoch.epoch, 0, epoch
        if not self._console.is_terminal:
            self._say(
                f"{_name(job)}  epoch {epoch.epoch}/{self._epochs}  loss {epoch.train_loss:.4f}  "
                f"validation {words.percent(epoch.validation_accuracy)}  {words.count(epoch.connections)} connections  "
                f"{words.duration(epoch.seconds)}"
            )

    def measuring(self, job: Job) -> None:
        """Show that measurements have started."""
        self._doing = "measuring"

    def result(self, job: Job, result: Network) -> None:
        """Show the result of a network."""
        self._job = None
        self._jobs = [other for other in self._jobs if other != job]
        accuracy, seconds = words.percent(result.test_accuracy), words.duration(result.training_seconds)
        step = "compiled step" if result.step == "compiled" else f"autograd ({result.fallback})"
        self._say(f"{_name(job)}  {accuracy} of the test rows  {seconds}  {step}")

    # ---- how it looks ----------------------------------------------------------------------------------------------

    def _say(self, line: str) -> None:
        self._console.print(Text(line), soft_wrap=not self._console.is_terminal)

    def _render(self) -> RenderableType:
        if self._job is None:
            return Text("")
        job, width = self._job, self._console.width
        head = Table.grid(expand=True)
        head.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        head.add_column(no_wrap=True, justify="right")
        left = "measuring" if self._doing == "measuring" else self._time_left()
        epoch = min(self._epoch + 1, self._epochs)
        place = f"  ({self._count - len(self._jobs) + 1} of {self._count})" if self._count > 1 else ""
        head.add_row(Text(f"{_name(job)}{place}  epoch {epoch}/{self._epochs}", style="bold"), Text(left, style="dim"))
        done = self._epoch * self._steps + self._step
        bar = ProgressBar(total=max(1, self._epochs * self._steps), completed=done, width=width)
        facts = [f"loss {float(self._loss):.4f}"] if self._loss is not None else []
        if self._last is not None:
            facts += [
                f"validation {words.percent(self._last.validation_accuracy)}",
                f"{words.count(self._last.connections)} connections",
            ]
        line = Table.grid()  # a bar alone doesn't end its line
        line.add_row(bar)
        return Group(head, line, Text("   ".join(facts) or " ", no_wrap=True, overflow="ellipsis"))

    def _time_left(self) -> str:
        """Estimate the time for all remaining networks, at the pace of their kind (or of the other, if unseen)."""
        paces = {kind: seconds / steps for kind, (steps, seconds) in self._spent.items() if steps >= _FEW}
        if not paces:
            return ""
        seconds = 0.0
        for job in self._jobs:
            behind = self._epoch * self._steps + self._step if job == self._job else 0
            pace = paces.get(job.network, next(iter(paces.values())))
            seconds += pace * (self._epochs * self._steps - behind)
        return f"{words.duration(max(1.0, round(seconds)))} left"


def _name(job: Job) -> str:
    return f"{job.network}, seed {job.seed}"


def _plan(folder: RunFolder, options: Options, data: Dataset) -> list[str]:
    """The data, the networks and all options, chosen ones included."""
    train, validation, test = (words.count(len(split)) for split in (data.train, data.validation, data.test))
    output = "dense" if options.output_density is None else f"at density {options.output_density:g}"
    connected = f"density {options.density_for(len(data.features)):.4g} ({options.allocate})"
    connected = "dense" if options.density == 1 else connected
    connected = connected if options.epsilon is None else f"epsilon {options.epsilon:g}, {connected}"
    rewire = "no rewiring" if options.rewire == "none" else f"{options.rewire} moving {options.fraction:g} an epoch"
    rewire += "" if options.constraint is None else f", constraint {options.constraint}"
    rewire += "" if options.prune is None else f", pruned by {options.prune}"
    if options.hebbian_blocks:
        rewire += f", Hebbian cost × {options.hebbian_cost:g} ({options.hebbian_gradient} gradient)"
    augmented = "" if options.augment is None else f", images changed by {options.augment}"
    epochs = f"{options.epochs} epoch{'s' * (options.epochs > 1)}"
    seeds = f"{options.seeds} seed{'s' * (options.seeds > 1)}"
    twin = ", each with its dense twin (ReLU)" if options.twin else ""
    return [
        f"{data.name}: {train} rows to train on, {validation} to validate, {test} to test; "
        f"{words.count(len(data.features))} features, {len(data.classes)} classes",
        *(f"  {notice}" for notice in data.notices),
        f"{_shape(options, data)}, {connected}, output {output}, {options.activation}, {rewire}",
        f"{epochs} in batches of {options.batch_size}, {options.optimizer} at {options.learning_rate:g} "
        f"({options.schedule}){augmented}, {seeds}{twin}, "
        f"{options.device} with {options.threads} thread{'s' * (options.threads > 1)}",
        f"into {folder.path}",
    ]


def _shape(options: Options, data: Dataset) -> str:
    """The layers of the network."""
    name = ModelName.parse(options.model)
    if name.kind == "mlp" or data.image is None:
        return "-".join(map(str, (len(data.features), *options.hidden, len(data.classes))))
    sizes = name.sized(*data.image[:2])
    return title({"model": name.kind, "hebbian_blocks": options.hebbian_blocks} | sizes)


def show_comparison(path: Path, page: Path | None) -> None:
    """Show the table of a finished run, and the path of its page."""
    console = Console(highlight=False)
    _print_comparison(console, read(path))
    if page is not None:
        console.print(Text(f"Report: {page}"), soft_wrap=True)  # one line, so that it can be clicked or copied


def show_summary(run: Run) -> None:
    """Show the table, and the layers of the first sparse network."""
    console = Console(highlight=False)
    _print_comparison(console, run)
    table = Table(
        box=None, pad_edge=False, title=f"The sparse network of seed {run.sparse[0].seed}", title_justify="left"
    )
    table.add_column("layer")
    for heading in ("size", "density", "connections", "active", "dead", "isolated"):
        table.add_column(heading, justify="right")
    for layer in run.sparse[0].layers:
        table.add_row(
            layer.name,
            f"{layer.in_features}→{layer.out_features}",
            words.share(layer.density),
            words.count(layer.connections),
            "–" if layer.active_fraction is None else words.share(layer.active_fraction),
            words.count(layer.dead_units),
            words.count(layer.isolated_units),
        )
    console.print(table)


def _print_comparison(console: Console, run: Run) -> None:
    console.print()
    console.print(Text(comparison.headline(run), style="bold"))
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for heading in ("sparse", "dense", "sparse is"):
        table.add_column(heading, justify="right" if heading != "sparse is" else "left")
    colours = {"sparse": "green", "dense": "red", "even": ""}
    for row in rows(run):
        label = Text(f"{'  ' if row.part else ''}{row.label}", style="dim" if row.part else "")
        table.add_row(label, Text(row.sparse), Text(row.dense), Text(row.ratio, style=colours[row.verdict]))
    console.print(table)
    console.print()
