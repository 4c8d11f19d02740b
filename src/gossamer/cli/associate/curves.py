"""``gossamer associate theory`` and ``fit``: curves of the theory, and its constraints fitted to measured weights."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from gossamer.associative import theory
from gossamer.cli.associate import drawings as pictures
from gossamer.cli.associate.output import Result, progress_bar, to_csv
from gossamer.errors import InputError, check_choice, check_count
from gossamer.studies.findings import Table

__all__ = ["fit", "theory_curve"]

_CURVES = ("robustness", "load", "density", "gap", "inhibitory")


def theory_curve(arguments: argparse.Namespace) -> Result:
    """``gossamer associate theory``: capacity and sparsity over one parameter."""
    if arguments.robustness is not None and arguments.load is not None:
        raise InputError("--robustness and --load must not both be given: each is computed from the other")
    if arguments.robustness is None and arguments.load is None:
        arguments.robustness = tuple(np.linspace(0.05, 1, 40).tolist())
    given = {name: getattr(arguments, name) for name in _CURVES if getattr(arguments, name) is not None}
    long = [name for name, value in given.items() if len(value) > 1]
    if len(long) > 1:
        raise InputError(f"only one option must have several numbers, got --{' and --'.join(long)}")
    varied = long[0] if long else ("load" if "load" in given else "robustness")
    known: dict[str, Any] = {name: value if name == varied else value[0] for name, value in given.items()}
    known |= {"threshold": arguments.threshold, "f_in": arguments.f_in, "f_out": arguments.f_out}
    x = np.atleast_1d(np.asarray(known[varied], float))
    known[varied] = x
    start = known.pop("load") if "load" in known else None
    try:
        curve = (
            theory.capacity(known.pop("robustness"), **known)
            if start is None
            else theory.max_robustness(start, **known)
        )
    except theory.ConvergenceError as error:
        raise InputError(f"the equations of the theory were not solved: {error}; try a smaller range") from None
    columns: tuple[str, ...] = ("robustness", "load", "density", "sparsity", "margin", "gap", "variance")
    values = {name: 1 - curve.density if name == "sparsity" else getattr(curve, name) for name in columns}
    columns = (*columns, "inhibitory") if "inhibitory" in given else columns
    if "inhibitory" in given:
        values["inhibitory"] = np.broadcast_to(np.asarray(known["inhibitory"], float), curve.shape)
    rows = [[float(values[name][i]) for name in columns] for i in range(len(x))]
    bound = "" if not {"density", "gap"} & set(given) else " With --density or --gap it is an upper bound."
    name = "capacity" if start is None else "largest robustness"
    shown = [rows[i] for i in sorted(set(np.linspace(0, len(rows) - 1, 12).round().astype(int).tolist()))]
    return Result(
        title=f"The {name} over {varied}",
        summary=f"Replica theory at {len(x)} {'points' if len(x) > 1 else 'point'}.{bound}",
        values={"varied": varied, **{column: [row[i] for row in rows] for i, column in enumerate(columns)}},
        tables=[
            Table("Theory", columns, shown, "" if len(shown) == len(rows) else f"{len(shown)} of {len(rows)} points.")
        ],
        shown=lambda: [pictures.curves(x, varied, curve)] if len(x) > 1 else [],
        files={"curve.csv": to_csv(columns, rows)},
        settings={n: v for n, v in known.items() if n != varied},
    )


def fit(arguments: argparse.Namespace) -> Result:
    """``gossamer associate fit``: the constraint that explains measured weights best."""
    from gossamer.associative.fit import MeasuredWeights, fit_statistics, read_weights
    from gossamer.associative.fit.fitted import COLUMNS

    check_choice("scale", arguments.scale, ("all", "cell"))
    signs = arguments.signs
    matrix = read_weights(arguments.weights)
    measured = MeasuredWeights.from_matrix(
        matrix, None if signs is None else (signs[0] if len(signs) == 1 else signs), scale=arguments.scale
    )
    with progress_bar(arguments, "fitting", 1) as progress:
        found = fit_statistics(
            measured,
            inhibitory=arguments.inhibitory,
            threshold=arguments.threshold,
            f_in=arguments.f_in,
            f_out=arguments.f_out,
            noise=arguments.noise,
            bootstrap=arguments.bootstrap,
            generator=check_count("seed", arguments.seed),
            progress=progress,
        )
    best = list(found.fits).index(found.best)
    note = (
        "Robustness, gap and load are the theory's; ΔBIC is the difference to the best constraint, support how often "
        "a constraint is the best in bootstrap samples, distance how far the weights are from the law in mean weights, "
        "p how often weights drawn from the law are as far."
    )
    bold = frozenset((best, column) for column in range(len(COLUMNS)))
    rows = found.rows()
    name = rows[best][0]
    estimates = found.fit.estimates
    text = ", ".join(
        f"{key.replace('_', ' ')} {estimates[key]}" for key in ("robustness", "gap", "load") if key in estimates
    )
    ends = [key for key, fit in found.fits.items() if fit.at_bound]
    return Result(
        title=f"{measured.n_cells} cells, {len(measured.values)} connections",
        summary=f"Connection probability {found.connection_probability:.3g}. The best constraint is {name}: {text}."
        + (f" At the end of the range that was searched: {', '.join(ends)}." if ends else ""),
        values=found.to_json(),
        tables=[Table("Constraints", COLUMNS, rows, note, bold)],
        shown=lambda: [pictures.fitted(measured.values, found)],
        settings={"threshold": arguments.threshold, "f_in": arguments.f_in, "f_out": arguments.f_out,
                  "bootstrap": arguments.bootstrap, "seed": arguments.seed},
    )  # fmt: skip
