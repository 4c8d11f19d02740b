"""Progress of an evaluation: the current measurement, the share that is done, and the time that is left."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from gossamer.data import Dataset
from gossamer.report import text as words
from gossamer.runs import EvaluationWatch
from gossamer.runs.evaluation import Step
from gossamer.runs.robustness import Cell, Robustness

__all__ = ["Progress"]


class Progress(EvaluationWatch):
    """One live line on a terminal; elsewhere one plain line for each result. All on standard error."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[place]}"),
            TextColumn("{task.fields[left]}", style="dim"),
            console=self._console,
            transient=True,
            expand=True,
        )
        self._task = self._bar.add_task("", total=None, place="", left="")
        self._waiting: list[Step] = []
        self._count = 0
        self._begun = 0.0  # share of the current step
        self._start = 0.0
        self._spent: dict[str, list[float]] = {}  # by kind: passes and seconds

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begin(self, robustness: Robustness, data: Dataset, steps: list[Step], done: int) -> None:
        """Show the plan."""
        self._waiting, self._count = list(steps), len(steps)
        before = f", {done} of {len(steps) + done} measurements done before" if done else ""
        self._say(
            f"{data.name}: {words.count(robustness.rows)} of {words.count(len(data.test))} test rows, "
            f"{robustness.unit}{before}"
        )
        self._bar.update(self._task, total=max(1.0, sum(step.passes for step in steps)))
        if self._console.is_terminal and steps:
            self._bar.start()

    def start(self, step: Step) -> None:
        """Show the measurement that starts."""
        self._start, self._begun = time.perf_counter(), 0.0
        self._refresh(step)

    def part(self, step: Step, share: float) -> None:
        """Move the bar during a measurement."""
        self._begun = share
        self._refresh(step)

    def end(self, step: Step, cell: Cell | None) -> None:
        """Show a result."""
        seconds = time.perf_counter() - self._start
        spent = self._spent.setdefault(_kind(step), [0.0, 0.0])
        spent[0] += step.passes
        spent[1] += seconds
        self._waiting.remove(step)
        self._begun = 0.0
        if not self._console.is_terminal:
            result = "" if cell is None else f"  {words.percent(cell.accuracy)}"
            left = f"  {self._left()}" if self._left() else ""
            self._say(f"{self._done()}/{self._count}  {_name(step)}{result}  {words.duration(seconds)}{left}")
        elif self._waiting:
            self._refresh(self._waiting[0])

    def _done(self) -> int:
        return self._count - len(self._waiting)

    def _refresh(self, step: Step) -> None:
        behind = sum(s.passes for s in self._waiting) - self._begun * step.passes
        total = self._bar.tasks[0].total or 1.0
        self._bar.update(
            self._task,
            description=_name(step),
            completed=total - behind,
            place=f"{self._done() + 1}/{self._count}",
            left=self._left(),
        )

    def _left(self) -> str:
        """Estimate the time left by the pace of measurements of the same kind, or else of all."""
        if not self._waiting or not self._spent:
            return ""
        passes, seconds = (sum(part) for part in zip(*self._spent.values(), strict=True))
        left = 0.0
        for number, step in enumerate(self._waiting):
            own = self._spent.get(_kind(step), [passes, seconds])
            left += step.passes * (own[1] / own[0]) * (1 - self._begun if number == 0 else 1)
        return f"{words.duration(max(1.0, round(left)))} left"

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False)


def _kind(step: Step) -> str:
    """Steps of one kind take equally long for a pass."""
    return f"{step.job.network} {'checks' if step.checks else step.condition.kind}"


def _name(step: Step) -> str:
    job, condition = step.job, step.condition
    parts = (condition.name.replace("_", " "), condition.norm, f"{condition.strength:.3g}")
    what = "clean" if condition.kind == "clean" else " ".join(part for part in parts if part)
    return f"{job.network}, seed {job.seed}: {'checks of ' if step.checks else ''}{what}"
