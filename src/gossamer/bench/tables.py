"""The tables of a bench, as data that a terminal and Markdown show alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gossamer.bench.cells import OURS, Bench, BreakEven, Cell
from gossamer.bench.measure import NOISY, Sample
from gossamer.bench.training import CLASSES, HIDDEN
from gossamer.machine import busy

__all__ = [
    "Row",
    "Section",
    "Verdict",
    "best_of",
    "losses",
    "machine_lines",
    "markdown",
    "score",
    "sections",
    "verdict_of",
]

Verdict = Literal["won", "lost", "even", ""]

_EVEN = 1.05  # ratios nearer to 1 than this are called even


@dataclass(frozen=True)
class Row:
    """``best`` is the column of the fastest or smallest contender."""

    cells: tuple[str, ...]
    verdict: Verdict = ""
    best: int | None = None


@dataclass(frozen=True)
class Section:
    """One table. ``verdict_column`` is the column of the rows' verdicts, None if they have none."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[Row, ...]
    note: str = ""
    verdict_column: int | None = None


# ---- numbers ---------------------------------------------------------------------------------------------------------


def _scaled(value: float, units: Sequence[tuple[float, str]]) -> str:
    """Format with three significant digits in the largest unit that leaves at least 1."""
    scale, unit = next((entry for entry in units if value >= 0.9995 * entry[0]), units[-1])
    number = value / scale
    digits = max(0, 2 - math.floor(math.log10(float(f"{number:.3g}")))) if number > 0 else 0
    return f"{number:.{digits}f} {unit}"


def _seconds(value: float) -> str:
    return _scaled(value, ((1, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")))


def _bytes(value: float) -> str:
    return _scaled(value, ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))) if value >= 1000 else f"{value:.0f} B"


def _cache(size: int) -> str:
    return f"{size / 2**20:g} MiB" if size >= 2**20 else f"{size / 2**10:g} KiB"


def verdict_of(cell: Cell) -> tuple[str, Verdict]:
    """Return the winner and its lead, in words."""
    if cell.ratio is None:
        return "–", ""
    times = max(cell.ratio, 1 / cell.ratio)
    factor = f"{times:.0f}×" if times >= 99.5 else f"{times:.1f}×" if times >= 1.05 else f"{times:.2f}×"
    better = "smaller" if cell.task == "memory" else "faster"
    if times < _EVEN:
        return "even", "even"
    if cell.ratio > 1:
        return f"{factor} {better}", "won"
    return f"{cell.baseline} is {factor} {better}", "lost"


def best_of(cell: Cell) -> str | None:
    """The fastest or smallest contender of all."""
    found = {name: sample.median for name, sample in cell.results.items() if isinstance(sample, Sample)}
    return min(found, key=found.__getitem__) if found else None


def score(cells: Sequence[Cell]) -> str:
    """Return the number of comparisons that gossamer loses, in a sentence."""
    compared = [cell for cell in cells if cell.ratio is not None]
    rivals = [cell for cell in compared if best_of(cell) not in (OURS, "zeros", cell.baseline)]
    return (
        f"Of {len(compared)} comparisons, the baseline (dense or softmax) wins {len(losses(compared))}; "
        f"in {len(rivals)} another rival is best of all."
    )


def losses(cells: Sequence[Cell]) -> list[Cell]:
    """Return the cells where the baseline wins."""
    return [cell for cell in cells if verdict_of(cell)[1] == "lost"]


# ---- layout of tables ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Form:
    """How the cells of a task become sections: one for each value of ``title``, its rows led by ``leading``."""

    title: Callable[[Mapping[str, Any]], str]
    leading: Mapping[str, Callable[[Mapping[str, Any]], str]]
    contenders: tuple[str, ...]
    note: str


def _number(key: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda setting: f"{setting[key]:g}"


_FORMS = {
    "layer": _Form(
        lambda s: f"Layer, {s['width']} → {s['width']}, forward",
        {"batch": _number("batch"), "density": _number("density")},
        ("masked", "CSR", "SparseLab"),
        "One layer with a bias, in evaluation mode, on a dense input.",
    ),
    "training": _Form(
        lambda s: f"Training step, {'-'.join([str(s['width'])] * 4)}-{CLASSES}, batch {s['batch']}",
        {"density": _number("density")},
        ("masked", "SparseLab"),
        f"{HIDDEN} hidden layers with ReLU, cross entropy, fused Adam. The output layer is dense; torch.sparse has no "
        "training.",
    ),
    "spspmm": _Form(
        lambda s: f"Sparse input into a sparse layer, {s['width']} → {s['width']}, forward",
        {"batch": _number("batch"), "code": _number("code density"), "density": _number("density")},
        ("zeros", "CSR", "SparseLab"),
        "“code” is the active fraction of the input. gossamer is given the active units; “zeros” is gossamer with the "
        "dense input, where it has to find them.",
    ),
    "convolution": _Form(
        lambda s: f"Convolution 3 × 3, {s['channels']} → {s['channels']} channels, forward",
        {"images": lambda s: f"{s['batch']} × {s['size']}²", "density": _number("density")},
        (),
        "One layer with padding 1, in evaluation mode.",
    ),
    "projection": _Form(
        lambda s: "Hoyer projection",
        {
            "rows × units": lambda s: f"{s['rows']} × {s['units']}",
            "sparseness": _number("sparseness"),
            "pass": lambda s: str(s["pass"]),
        },
        ("sort",),
        "The cost of the activation function, beside softmax along the same dimension, which does less. “sort” is the "
        "same projection in torch operations, by sorting and cumulative sums.",
    ),
    "memory": _Form(
        lambda s: f"Memory of a training step, {'-'.join([str(s['width'])] * 4)}-{CLASSES}, batch {s['batch']}",
        {
            "density": _number("density"),
            "per connection": lambda s: "",  # filled in by _memory_row
        },
        ("masked", "SparseLab"),
        "Most resident memory at once: weights, gradients, Adam's state, indices, temporary arrays, and the "
        "activations of a small batch. Per connection: gossamer / dense.",
    ),
}


def _shown(found: Sample | str | None, task: str, spread: bool) -> str:
    if not isinstance(found, Sample):
        return found or "–"
    text = _bytes(found.median) if task == "memory" else _seconds(found.median)
    if spread and task != "memory":
        text += f" ({100 * (found.high - found.low) / found.median:.0f} %)"
    return f"~{text}" if found.noisy else text


def _per_connection(cell: Cell) -> str:
    numbers = []
    for name, count in ((OURS, "connections"), (cell.baseline, "dense connections")):
        found = cell.results.get(name)
        numbers.append(f"{found.median / cell.setting[count]:.0f} B" if isinstance(found, Sample) else "–")
    return " / ".join(numbers)


def sections(bench: Bench, spread: bool = False) -> list[Section]:
    """Make one table for each task and width.

    With ``spread``, the interquartile range follows each median, as a share of it; noisy ones are marked by a
    tilde in any case.
    """
    found = []
    titles: dict[str, list[Cell]] = {}
    for cell in bench.cells:
        titles.setdefault(_FORMS[cell.task].title(cell.setting), []).append(cell)
    for title, cells in titles.items():
        form, task, baseline = _FORMS[cells[0].task], cells[0].task, cells[0].baseline
        headings = (*form.leading, OURS, baseline, "gossamer is", *form.contenders)
        rows = []
        for cell in cells:
            lead = [show(cell.setting) for show in form.leading.values()]
            if task == "memory":
                lead[-1] = _per_connection(cell)
            text, verdict = verdict_of(cell)
            both = [_shown(cell.results.get(name), task, spread) for name in (OURS, baseline)]
            others = [_shown(cell.results.get(name), task, spread) for name in form.contenders]
            columns = [*lead, *both, text, *others]
            best = best_of(cell)
            rows.append(Row(tuple(columns), verdict, None if best is None else headings.index(best)))
        found.append(Section(title, headings, tuple(rows), form.note, len(form.leading) + 2))
    lines = bench.break_evens
    if lines:
        rows = [Row(_break_even_row(line)) for line in lines]
        note = "gossamer is faster than dense below this density, by interpolation between those that were measured."
        found.append(Section("Break-even density", ("task", "setting", "density"), tuple(rows), note))
    return found


def _break_even_row(line: BreakEven) -> tuple[str, str, str]:
    names = {"width": "width {}", "channels": "{} channels", "batch": "batch {}"}
    setting = ", ".join(text.format(line.setting[key]) for key, text in names.items() if key in line.setting)
    if line.density is None:
        return line.task, setting, f"none: dense is faster down to {line.tried[0]:g}"
    return line.task, setting, f"{line.density:.2g} or above" if line.beyond else f"{line.density:.2g}"


def machine_lines(bench: Bench) -> list[str]:
    """Hardware and software, in two or three lines."""
    machine = bench.machine
    caches = ", ".join(f"{name} {_cache(size)}" for name, size in (machine["caches"] or {}).items())
    cores = f"{machine['cores'] or '?'} cores ({machine['logical_cpus']} logical)"
    hardware = [machine["processor"] or "unknown processor", cores, *([caches] if caches else [])]
    if machine["memory_bytes"]:
        hardware.append(f"{machine['memory_bytes'] / 2**30:.0f} GiB")
    rival = f"SparseLab {machine['sparselab']}" if machine["sparselab"] else "SparseLab not installed"
    lines = [
        ", ".join(hardware),
        f"{machine['threads']} thread{'s' * (machine['threads'] > 1)}, {bench.plan.dtype}, "
        f"{machine['instruction_set']} kernels, torch {machine['torch']} "
        f"({machine['torch_cpu_capability']}{', MKL' * machine['mkl']}{', oneDNN' * machine['onednn']}), "
        f"gossamer {machine['gossamer']}, {rival}, Python {machine['python']}, {machine['system']}",
    ]
    if (warning := busy(machine["load"], machine["available_cpus"])) is not None:
        lines.append(warning)
    return lines


# ---- Markdown --------------------------------------------------------------------------------------------------------


def markdown(bench: Bench, figure: str | None = None) -> str:
    """All tables on one page; ``figure`` is the address of the plot."""
    page = ["# Break-even map", "", "  \n".join(machine_lines(bench)), ""]
    facts = [f"Measured {bench.date}"] if bench.date else []
    facts += [f"by `{bench.command}`"] if bench.command else []
    if facts:
        page += [" ".join(facts) + (", stopped before its end." if bench.stopped else "."), ""]
    page += [
        "Medians of rounds in which the contenders take turns; in brackets the interquartile range as a share of the "
        f"median, ~ where it exceeds {100 * NOISY:.0f} %. Bold: the best of a row, and where the baseline wins. "
        + score(bench.cells),
        "",
    ]
    if figure:
        page += [f"![Speed against density, dense = 1]({figure})", ""]
    every = sections(bench, spread=True)
    for section in [
        *(s for s in every if s.verdict_column is None),
        *(s for s in every if s.verdict_column is not None),
    ]:
        page += [f"## {section.title}", "", section.note, ""]
        page += [_line(section.headings), _line(["---" if i == 0 else "---:" for i in range(len(section.headings))])]
        for row in section.rows:
            bold = [
                f"**{cell}**" if i == row.best or (row.verdict == "lost" and i == section.verdict_column) else cell
                for i, cell in enumerate(row.cells)
            ]
            page.append(_line(bold))
        page.append("")
    return "\n".join(page)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
