"""The page of a run: one file that opens without a network, with style, script and data inside."""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from gossamer.errors import InputError
from gossamer.io.files import write_atomically

from . import compare, robustness, text
from .read import Layer, NetworkName, Run, read
from .series import comparison_series, run_series

__all__ = ["render", "render_comparison", "render_template", "table", "write"]


def _resource(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")


def _embed(values: dict[str, Any]) -> Markup:
    """JSON that can't end its script element: <, > and & occur only inside strings, where escapes stand for them."""
    code = json.dumps(values, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        code = code.replace(character, f"\\u{ord(character):04x}")
    return Markup(code)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_resource),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["text"] = text
    environment.filters["log2"] = math.log2
    return environment


def render_template(template: str, **context: Any) -> str:
    """A page from the template of that name: style and script inside, ``data`` for the charts if it has any."""
    script = _resource("charts.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template(template)
        .render(
            style=Markup(_resource("style.css")),
            script=Markup(script),
            script_digest=digest,
            **context,
        )
    )


def _layers(run: Run) -> list[dict[str, Any]]:
    """The layers of both networks side by side, averaged over the seeds; a dense twin's layer is found by name."""

    def mean(layers: Sequence[Layer], field: str) -> float | None:
        values = [getattr(layer, field) for layer in layers]
        return float(np.mean(values)) if values and None not in values else None

    def side(name: NetworkName, layer: str) -> dict[str, float | None]:
        layers = [found for network in run.networks(name) for found in network.layers if found.name == layer]
        fields = ("density", "connections", "active_fraction", "dead_units", "isolated_units")
        return {field: mean(layers, field) for field in fields}

    return [
        {"name": layer.name, "shape": (layer.in_features, layer.out_features)}
        | {"sparse": side("sparse", layer.name), "dense": side("dense", layer.name)}
        for layer in run.sparse[0].layers
    ]


def render(run: Run) -> str:
    """The page of one run."""
    values, rows = run_series(run), compare.rows(run)
    sure = compare.accuracy(run, "sparse")
    return render_template(
        "run.html.j2",
        data=_embed(values),
        run=run,
        title=f"{run.data.name}: sparse against dense",
        headline=compare.headline(run),
        summary=compare.summary(run),
        rows=rows,
        scale=max([3.0, *(abs(math.log2(row.factor)) for row in rows if row.factor)]),
        method=sure.method if sure else "",
        layers=_layers(run),
        values=values,
        claims=robustness.claims(run),
        checks=robustness.check_rows(run),
        snr=robustness.snr_rows(run),
        rewired=any(values["rewired"]["grown"]) or any(values["rewired"]["dropped"]),
    )


def _differing(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """The options in which the runs differ, with each run's value."""
    keys = dict.fromkeys(key for run in runs for key in run.config)
    table = [(key, [run.config.get(key, "–") for run in runs]) for key in keys]
    return [(key, values) for key, values in table if len(set(values)) > 1]


def render_comparison(runs: Sequence[Run]) -> str:
    """The page of several runs."""
    values = comparison_series(runs)
    return render_template(
        "comparison.html.j2",
        data=_embed(values),
        values=values,
        runs=[
            (run, {row.label: row for row in compare.rows(run)}, compare.connection_share(run), compare.headline(run))
            for run in runs
        ],
        doubts=[
            (run.name, reason)
            for run in runs
            for reason in dict.fromkeys(reason for claim in robustness.claims(run) for reason in claim.doubts)
        ],
        title=f"{len(runs)} runs compared",
        labels=["Test accuracy", "Connections", "Memory to train", "Multiply-adds per sample", "Training time"],
        differing=_differing(runs),
        datasets=sorted({run.data.name for run in runs}),
    )


def write(run: Path | str | Sequence[Path | str], destination: Path | str | None = None) -> Path:
    """Write the page of a run, or the comparison of several.

    Args:
        run: the folder of a finished run, or several.
        destination: of the page; None for ``report.html`` in the run's folder, or ``comparison.html`` in the first
            run's.

    Returns:
        The path of the page.

    Raises:
        InputError: a run is missing, unfinished, damaged or of a newer format, or the page can't be written.

    Example:
        >>> from gossamer import report
        >>> options = gs.runs.Options(data="wine", hidden=(20,), epochs=2, batch_size=20, threads=1, twin=False)
        >>> folder = gs.runs.train(options, gs.runs.load_data(options))
        >>> report.write(folder.path).name
        'report.html'
    """
    folders = [Path(run)] if isinstance(run, (str, Path)) else [Path(folder) for folder in run]
    if not folders:
        raise InputError("run must name at least one run folder, got none")
    runs = [read(folder) for folder in folders]
    path = Path(destination) if destination else folders[0] / ("report.html" if len(runs) == 1 else "comparison.html")
    content = render(runs[0]) if len(runs) == 1 else render_comparison(runs)
    write_atomically(path, content)
    return path


def table(run: Path | str) -> list[tuple[str, str, str, str]]:
    """Make the comparison for a terminal.

    Args:
        run: the folder of a finished run.

    Returns:
        Rows (label, sparse, dense, ratio); parts of the row above are indented.

    Raises:
        InputError: the run is missing, unfinished, damaged or of a newer format.

    Example:
        >>> from gossamer import report
        >>> label, sparse, dense, ratio = report.table("runs/digits-1")[0]  # doctest: +SKIP
    """
    return [
        (f"{'  ' if row.part else ''}{row.label}", row.sparse, row.dense, row.ratio)
        for row in compare.rows(read(Path(run)))
    ]
