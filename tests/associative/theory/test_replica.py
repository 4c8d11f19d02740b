"""The replica theory: reference values, identities, limits, order of the constraints, and what is refused."""

from __future__ import annotations

import re
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf

from gossamer.associative.theory import (
    ConvergenceError,
    Solution,
    balanced_l1,
    capacity,
    continuation,
    max_robustness,
    replica,
    without_robustness,
)
from gossamer.errors import InputError

CASES: list[dict[str, Any]] = [
    {},
    {"inhibitory": 0.2},
    {"density": 0.3},
    {"gap": 1.5},
    {"inhibitory": 0.2, "gap": 2.5},
    {"inhibitory": 0.2, "density": 0.15},
    {"f_in": [0.1, 0.2, 0.4], "threshold": 0.05, "f_out": 0.3},
    {"f_in": [0.1, 0.2, 0.4], "threshold": 0.05, "f_out": 0.3, "gap": 1.5},
    {"f_in": [0.1, 0.2, 0.4], "signs": [1, 1, -1], "threshold": 0.05, "f_out": 0.3, "density": 0.1},
]


def one(x: Any) -> float:
    return float(x)


def test_reference_values() -> None:
    l1, sign = capacity(0.1), capacity(0.1, inhibitory=0.2)
    assert (one(l1.load), 1 - one(l1.density)) == pytest.approx((1.574183, 0.120016), abs=1e-5)
    assert (one(sign.load), 1 - one(sign.density)) == pytest.approx((0.647109, 0.652781), abs=1e-5)
    l0, gap = capacity(0.3, density=0.3), capacity(0.3, gap=1.0)
    assert (one(l0.load), one(l0.cut)) == pytest.approx((0.976568, 0.46442), abs=1e-5)
    assert (one(gap.load), 1 - one(gap.density)) == pytest.approx((1.044637, 0.479005), abs=1e-5)
    more = capacity([1e-3, 0.3, 0.8])
    assert more.load == pytest.approx([1.9949, 1.0523, 0.5097], abs=1e-4)
    assert 1 - more.density == pytest.approx([0.0013, 0.3150, 0.6022], abs=1e-4)


def test_closed_form_is_the_solution() -> None:
    a = np.array([-0.01, -0.2, -0.7, -1.5])
    assert tuple(map(float, balanced_l1(-0.2))) == pytest.approx((0.1978014, 1.2784515, 1 - 0.2227026), abs=1e-7)
    for f in (0.5, 0.2):
        closed = balanced_l1(a, f)
        found = capacity(closed.robustness, f_in=f)
        assert found.load == pytest.approx(closed.load, abs=1e-8)
        assert found.density == pytest.approx(closed.density, abs=1e-8)


def E(x: Any) -> Any:  # noqa: N802
    return (1 + erf(x)) / 2


def F(x: Any) -> Any:  # noqa: N802
    return np.exp(-x * x) / np.sqrt(np.pi) + x * (1 + erf(x))


def D(x: Any) -> Any:  # noqa: N802
    return x * F(x) + E(x)


@pytest.mark.parametrize("case", CASES)
def test_equations_as_published(case: dict[str, Any]) -> None:
    """The equations in their usual form, written out once more from the order parameters."""
    s = capacity(0.2, **case)
    f, sign = s.f[:, None], np.array([1.0, -1.0])
    sigma = np.sqrt(f * (1 - f))
    a = -sign * f / sigma * s.z - s.eta / (2 * sigma)
    if "density" in case:
        t, x = a - s.cut, s.cut
        P, m1, m2 = E(t), F(t) + 2 * x * E(t), D(t) + 2 * x * F(t) + 2 * x**2 * E(t)
        R = 0 * t
    else:
        y = s.gap * sigma * s.Q
        P = E(a - y / 2)
        m1, m2 = F(a - y) + 2 * y * P, D(a - y) + 2 * y * F(a - y) + 2 * y**2 * P
        R = y * (F(a - y) - F(a - y / 2)) + y**2 * P

    def mean(part: Any) -> float:
        return float((s.share * part).sum())

    fo, up, um, U = s.f_out, s.u_plus, s.u_minus, s.u_plus + s.u_minus
    Eb, Fb, Db = (fo * g(um) + (1 - fo) * g(up) for g in (E, F, D))
    scale = 2 * 0.2 * s.Q / U
    assert fo * F(um) == pytest.approx((1 - fo) * F(up), abs=1e-10)
    assert mean(m1 / sigma) == pytest.approx(2 * s.Q, rel=1e-8)
    assert mean(f / sigma * sign * m1) == pytest.approx(2 * s.threshold * s.Q, abs=1e-8)
    assert mean(m2) == pytest.approx(scale**2, rel=1e-8)
    assert mean(R) == pytest.approx(s.Q * (2 * s.threshold * s.z + s.eta - 0.2 * scale * Fb / Eb), abs=1e-8)
    assert s.load == pytest.approx(Db / Eb**2 * scale**2, rel=1e-8)
    assert s.density == pytest.approx(mean(P), rel=1e-9)
    assert s.margin == pytest.approx(Eb, rel=1e-9)
    assert s.variance == pytest.approx(2 * 0.2**2 / U**2, rel=1e-9)
    if "density" in case:
        assert s.density == pytest.approx(case["density"], rel=1e-8)
        assert s.binding
        assert s.cut > 0


def test_tight_inequalities_equal_nonzero_weights_where_the_problem_is_convex() -> None:
    k = np.linspace(0, 1.5, 7)
    for case in CASES:
        s = capacity(k, **case)
        if "density" in case or "gap" in case:
            assert (s.load * s.margin > s.density)[s.binding].all()
        else:
            assert s.load * s.margin == pytest.approx(s.density, abs=1e-9)


def test_no_robustness() -> None:
    p, phi, f_out = np.array([1.0, 0.5, 0.1]), np.array([0.5, 0.3, 0.2, 0.1]), np.array([0.5, 0.2, 0.9])
    assert without_robustness(density=p).load == pytest.approx([2, 1.85735, 0.87857], abs=1e-5)
    signs = without_robustness(inhibitory=phi)
    assert 1 - signs.density == pytest.approx([0.5, 0.55279, 0.62513, 0.74444], abs=1e-5)
    assert signs.load == pytest.approx([1, 0.89441, 0.74974, 0.51113], abs=1e-5)
    assert capacity(0.0, density=p).load == pytest.approx(without_robustness(density=p).load, abs=1e-8)
    assert capacity(0.0, inhibitory=phi).load == pytest.approx(signs.load, abs=1e-8)
    assert capacity(0.0, f_out=f_out).load == pytest.approx(without_robustness(f_out=f_out).load, abs=1e-8)
    for case in CASES:
        s = capacity([0.0, 1e-7], **case)
        assert s.load[0] == pytest.approx(s.load[1], rel=1e-5)
        assert s.u_plus[0] == pytest.approx(-s.u_minus[0], abs=1e-12)
        if "gap" not in case:
            assert s.eta[0] == pytest.approx(-2 * s.threshold[0] * s.z[0], abs=1e-9)


def test_where_constraints_meet() -> None:
    for robustness in (0.0, 0.3):
        l1 = capacity(robustness)
        assert capacity(robustness, gap=[0.0, 1e-6]).load == pytest.approx(one(l1.load), abs=1e-5)
        near = capacity(robustness, density=one(l1.density) * (1 - 1e-9))
        assert (one(near.load), one(near.cut)) == pytest.approx((one(l1.load), 0.0), abs=1e-6)
    s = capacity(0.3, density=[0.2, 0.686, 0.69, 1.0])
    assert s.binding.tolist() == [True, False, False, False]
    assert s.load[1:] == pytest.approx(one(capacity(0.3).load))
    assert s.density[1:] == pytest.approx(one(capacity(0.3).density))
    assert (s.cut[1:] == 0).all()


def test_capacity_falls_with_robustness_and_with_constraints() -> None:
    k = np.linspace(0, 2, 9)
    for case in CASES:
        assert (np.diff(capacity(k, **case).load) < 0).all()
    for robustness in (1e-3, 0.1, 0.3, 0.8):
        gap = capacity(robustness, gap=np.array([0.1, 0.5, 1, 2, 3, 5]))
        l0 = capacity(robustness, density=gap.density)
        assert (1 - gap.density >= 1 - 1 / gap.gap).all()
        at = l0.binding
        assert (gap.load[at] <= l0.load[at] + 1e-9).all()
        assert (l0.load <= one(capacity(robustness).load) + 1e-9).all()


def test_a_gap_loses_little() -> None:
    """Relative loss of capacity against l0 at equal density, over δ̃ in [0.05, 5]."""
    rows = {1e-3: (0.0259, 0.75), 0.1: (0.0242, 0.80), 0.3: (0.0211, 0.81), 0.5: (0.0177, 0.82), 0.8: (0.0125, 0.83)}
    for robustness, (most, where) in rows.items():
        gap = capacity(robustness, gap=np.geomspace(0.05, 5, 60))
        l0 = capacity(robustness, density=gap.density)
        loss = np.where(l0.binding, 1 - gap.load / l0.load, 0)
        assert loss.max() == pytest.approx(most, abs=2e-4)
        assert 1 - gap.density[loss.argmax()] == pytest.approx(where, abs=0.02)
    assert capacity(0.3, density=[0.3, 0.2]).load == pytest.approx([0.977, 0.874], abs=1e-3)


@settings(max_examples=15)
@given(
    k=st.floats(0, 5),
    f=st.floats(0.05, 0.95),
    f_out=st.floats(0.02, 0.98),
    h=st.floats(-0.9, 0.9),
    phi=st.none() | st.floats(0.02, 0.98),
    constraint=st.sampled_from([{}, {"density": 0.5}, {"density": 0.01}, {"gap": 0.3}, {"gap": 4.0}]),
)
def test_every_point_is_solved_and_inverted(
    k: float, f: float, f_out: float, h: float, phi: float | None, constraint: dict[str, float]
) -> None:
    case: dict[str, Any] = {"f_in": f, "f_out": f_out, "threshold": h * f, "inhibitory": phi, **constraint}
    s = capacity(k, **case)
    assert 0 < s.load < 1 / min(f_out, 1 - f_out) + 2
    assert 0 < s.density <= 1
    if k > 0.01:
        assert max_robustness(s.load, **case).robustness == pytest.approx(k, rel=1e-6)


def test_permuted_and_repeated_inputs_are_the_same() -> None:
    f = np.array([0.1, 0.3, 0.3, 0.5])
    one_way = capacity(0.2, f_in=f, signs=[1, 1, -1, 1], threshold=0.05)
    other = capacity(0.2, f_in=np.tile(f[::-1], 2), signs=np.tile([1, -1, 1, 1], 2), threshold=0.05)
    assert one_way.load == pytest.approx(float(other.load), rel=1e-10)
    flipped = capacity(0.2, f_in=f, signs=[-1, -1, 1, -1], threshold=-0.05)  # J → −J, y → 1 − y
    assert flipped.load == pytest.approx(float(one_way.load), rel=1e-9)


def test_curves_in_any_parameter() -> None:
    grid = capacity(np.array([[0.1], [0.5]]), threshold=np.array([0.0, 0.1, 0.2]), f_out=0.3, gap=1.0)
    assert grid.shape == (2, 3)
    alone = capacity(0.5, threshold=0.2, f_out=0.3, gap=1.0)
    assert grid.load[1, 2] == pytest.approx(float(alone.load), rel=1e-9)
    point = grid[1, 2]
    assert isinstance(point, Solution)
    assert (point.shape, point.fields().shape) == ((), (1, 2))
    along_f = capacity(0.2, f_in=np.array([[0.1], [0.2], [0.5]]))
    assert along_f.load == pytest.approx([float(capacity(0.2, f_in=f).load) for f in (0.1, 0.2, 0.5)], rel=1e-9)
    assert along_f[1:].shape == (2,)
    assert along_f[1:].f.shape == (2, 1)
    for name, values in {"inhibitory": [0.1, 0.5], "f_out": [0.1, 0.5], "density": [0.1, 0.2]}.items():
        curve = capacity(0.2, **{name: np.array(values)})
        assert curve.load[0] == pytest.approx(float(capacity(0.2, **{name: values[0]}).load), rel=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_fifty_points_take_less_than_a_second(case: dict[str, Any]) -> None:
    times = []
    for _ in range(3):
        start = time.process_time()
        capacity(np.linspace(0.01, 1, 50), **case)
        times.append(time.process_time() - start)
    assert min(times) < 1


BAD: list[tuple[dict[str, Any], str]] = [
    ({"robustness": -0.1}, "robustness must be in [0, inf), got -0.1"),
    ({"robustness": float("nan")}, "robustness must be in [0, inf), got nan"),
    ({"robustness": float("inf")}, "robustness must be in [0, inf), got inf"),
    ({"robustness": []}, "robustness must hold at least one number"),
    ({"robustness": "much"}, "robustness must be a number or an array of numbers, got 'much'"),
    ({"f_in": 0.0}, "f_in must be in (0, 1), got 0"),
    ({"f_in": [0.5, 1.0]}, "f_in must be in (0, 1), got 1"),
    ({"f_in": []}, "f_in must hold at least one"),
    ({"f_out": 1.0}, "f_out must be in (0, 1), got 1"),
    ({"density": 0.0}, "density must be in (0, 1], got 0"),
    ({"density": 1.1}, "density must be in (0, 1], got 1.1"),
    ({"gap": -1.0}, "gap must be in [0, inf), got -1"),
    ({"inhibitory": 1.2}, "inhibitory must be in [0, 1], got 1.2"),
    ({"density": 0.5, "gap": 1.0}, "density and gap exclude each other"),
    ({"signs": [1], "inhibitory": 0.2}, "signs and inhibitory exclude each other"),
    ({"signs": [1, -1]}, "signs must have shape (1,)"),
    ({"threshold": 0.5}, "threshold must be in (-0.5, 0.5)"),
    ({"threshold": float("nan")}, "threshold must be finite, got nan"),
    ({"inhibitory": 0.0}, "threshold must be in (0.5, 0.5)"),
    ({"inhibitory": 1.0, "f_in": [0.2, 0.4]}, "threshold must be in (-0.4, -0.2)"),
    ({"robustness": [0.1, 0.2], "f_out": [0.1, 0.2, 0.3]}, "parameters must broadcast to one shape"),
]


@pytest.mark.parametrize(("case", "message"), BAD)
def test_bad_input(case: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        capacity(**({"robustness": 0.1} | case))


def test_loads_above_the_capacity_are_refused() -> None:
    with pytest.raises(InputError, match=r"load must be below 2, .*, got 2 at point \(1,\)"):
        max_robustness([1.0, 2.0])
    for constraint in ({"gap": 5.0}, {"density": 0.1}):
        with pytest.raises(InputError, match="load must be below the capacity without robustness"):
            max_robustness(1.9, **constraint)
    with pytest.raises(InputError, match=r"load must be in \(0, inf\), got 0"):
        max_robustness(0.0)


def test_a_failure_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    follow = continuation.follow

    def stuck(*args: Any, **options: Any) -> Any:
        unknowns, t, residual = follow(*args, **options)
        t[1], residual[1] = 0.25, 0.5
        return unknowns, t, residual

    monkeypatch.setattr(replica, "follow", stuck)
    with pytest.raises(ConvergenceError, match=r"at point \(1,\): the continuation in .* stopped 25.0 % .* 0.5$"):
        capacity([0.1, 0.2])

    def wrong(*args: Any, **options: Any) -> Any:
        unknowns, t, residual = follow(*args, **options)
        unknowns[1, 2] += 1e-6
        return unknowns, t, residual

    monkeypatch.setattr(replica, "follow", wrong)
    with pytest.raises(ConvergenceError, match=r"at point \(1,\): the residual of the equation of the"):
        capacity([0.1, 0.2])
