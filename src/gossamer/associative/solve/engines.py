"""Other solvers of the mixed-integer program, where they are installed: they start from given weights."""

from __future__ import annotations

import math
from importlib import import_module

import numpy as np

from gossamer.associative.solve.constraints import Floats
from gossamer.associative.solve.integer import Incumbent, Program

__all__ = ["highspy_program", "pyscipopt_program"]


def highspy_program(program: Program, n: int, start: Floats | None, time_limit: float | None) -> Incumbent:
    """Solve with HiGHS through its own interface."""
    highspy = import_module("highspy")
    matrix = program.matrix.tocsc()
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = len(program.cost), matrix.shape[0]
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = program.cost, program.low, program.high
    lp.row_lower_, lp.row_upper_ = program.row_low, program.row_high
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = matrix.indptr, matrix.indices, matrix.data
    kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
    lp.integrality_ = [kinds[int(integer)] for integer in program.integer]
    model = highspy.Highs()
    model.silent()
    model.setOptionValue("mip_rel_gap", 1e-7)
    if time_limit is not None:
        model.setOptionValue("time_limit", float(time_limit))
    model.passModel(lp)
    if start is not None:
        known = highspy.HighsSolution()
        known.col_value = program.variables(start, program.low[0] * math.sqrt(n)).tolist()
        model.setSolution(known)
    model.run()
    status, info = model.getModelStatus(), model.getInfo()
    ended = {
        highspy.HighsModelStatus.kOptimal: "optimal",
        highspy.HighsModelStatus.kInfeasible: "infeasible",
    }.get(status, "time limit")
    value = np.asarray(model.getSolution().col_value)
    found = info.primal_solution_status == 2 and len(value) == len(program.cost)  # 2: feasible
    bound = -info.mip_dual_bound * math.sqrt(n)
    return Incumbent(program.weights(value, n) if found else None, bound if math.isfinite(bound) else math.inf, ended)


def pyscipopt_program(program: Program, n: int, start: Floats | None, time_limit: float | None) -> Incumbent:
    """Solve with SCIP."""
    scip = import_module("pyscipopt")
    model = scip.Model()
    model.hideOutput()
    model.setRealParam("limits/gap", 1e-7)
    if time_limit is not None:
        model.setRealParam("limits/time", float(time_limit))
    variables = [
        model.addVar(
            vtype="B" if integer else "C",
            lb=float(low) if math.isfinite(low) else None,
            ub=float(high) if math.isfinite(high) else None,
            obj=float(cost),
        )
        for integer, low, high, cost in zip(program.integer, program.low, program.high, program.cost, strict=True)
    ]
    matrix = program.matrix
    for row, (low, high) in enumerate(zip(program.row_low, program.row_high, strict=True)):
        inside = slice(matrix.indptr[row], matrix.indptr[row + 1])
        total = scip.quicksum(
            float(value) * variables[column]
            for column, value in zip(matrix.indices[inside], matrix.data[inside], strict=True)
        )
        if low == high:
            model.addCons(total == float(high))
        else:
            if math.isfinite(low):
                model.addCons(total >= float(low))
            if math.isfinite(high):
                model.addCons(total <= float(high))
    if start is not None:
        known = model.createSol()
        for variable, value in zip(variables, program.variables(start, program.low[0] * math.sqrt(n)), strict=True):
            model.setSolVal(known, variable, float(value))
        model.addSol(known)
    model.optimize()
    ended = {"optimal": "optimal", "gaplimit": "optimal", "infeasible": "infeasible"}.get(
        model.getStatus(), "time limit"
    )
    weights = None
    if model.getNSols() > 0:
        best = model.getBestSol()
        weights = program.weights(np.array([best[variable] for variable in variables]), n)
    bound = -model.getDualbound() * math.sqrt(n)
    return Incumbent(weights, bound if abs(bound) < 1e19 else math.inf, ended)
