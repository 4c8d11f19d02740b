"""Progress of a study on a terminal: the current trial, the share that is done, and the time that is left."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from gossamer.report import text as words
from gossamer.studies.trials import Record, Trial, Watch

__all__ = ["Terminal"]


class Terminal(Watch):
    """One live line on a terminal, elsewhere one plain line for each trial; all on standard error."""

    def __init__(self, name: str) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[left]}", style="dim"),
            console=self._console,
            transient=True,
            expand=True,
        )
        self._name, self._task = name, self._progress.add_task(name, total=None, left="")
        self._waiting: list[Trial] = []
        self._done: list[Record] = []
        self._jobs, self._last = 1, 0.0

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, trials: Sequence[Trial], done: Sequence[Record], jobs: int) -> None:
        """Show the number of trials."""
        finished = {(record["variant"], record["dataset"], record["seed"]) for record in done}
        self._waiting = [t for t in trials if (t.variant, t.dataset, t.seed) not in finished]
        self._done, self._jobs = list(done), jobs
        before = f", {len(done)} of them done before" if done else ""
        self._console.print(f"{self._name}: {len(trials)} trials{before}", markup=False)
        self._progress.update(self._task, total=len(trials), completed=len(done), left=self._left())
        if self._console.is_terminal and self._waiting:
            self._progress.start()

    def start(self, trial: Trial) -> None:
        """Show the trial that starts."""
        self._last = time.perf_counter()
        self._progress.update(self._task, description=f"{self._name}: {trial}", left=self._left())

    def end(self, trial: Trial, record: Record) -> None:
        """Show the result of a trial."""
        self._done.append(record)
        self._waiting.remove(trial)
        self._progress.update(self._task, advance=1, left=self._left())
        if not self._console.is_terminal:
            total = len(self._done) + len(self._waiting)
            line = f"{len(self._done)}/{total}  {trial}  {words.duration(record['seconds'])}"
            self._console.print(line + (f"  {left}" if (left := self._left()) else ""), markup=False)

    def _left(self) -> str:
        """Estimate the time left from trials of the same kind, or else of the same data set, or else any."""
        if not self._done:
            return ""
        seconds = sum(self._pace(trial) for trial in self._waiting) / self._jobs
        return f"{words.duration(max(1.0, round(seconds)))} left" if self._waiting else ""

    def _pace(self, trial: Trial) -> float:
        alike = [r["seconds"] for r in self._done if r["dataset"] == trial.dataset]
        same = [r["seconds"] for r in self._done if (r["dataset"], r["variant"]) == (trial.dataset, trial.variant)]
        found = same or alike or [r["seconds"] for r in self._done]
        return float(sum(found) / len(found))
