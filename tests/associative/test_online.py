"""The online rule: compiled against plain, its stop conditions, and what it does not depend on."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from gossamer.associative.conditions import stop_conditions
from gossamer.associative.online import OnlineResult, OnlineState, learn_online
from gossamer.associative.philox import philox, random_bytes, random_words
from gossamer.associative.plain import plain_steps
from gossamer.associative.problem import Associations, random_associations, random_signs
from gossamer.associative.rule import Grid, OnlineRule
from gossamer.errors import InputError
from gossamer.kernels import _cpu

GAP: dict[str, Any] = {"robustness": 3.0, "gap": 1.5}


def problem(n: int = 60, m: int = 20, seed: int = 0, units: int | None = None) -> Associations:
    return random_associations(n, m, np.random.default_rng(seed), n_units=units)


@pytest.fixture(params=[0, 1, 2], ids=["baseline", "avx2", "avx512"])
def instruction_set(request: pytest.FixtureRequest) -> Iterator[None]:
    before = ["baseline", "avx2", "avx512"].index(_cpu.isa())
    try:
        _cpu.use_isa(request.param)
    except ValueError:
        pytest.skip("this processor lacks it")
    yield
    _cpu.use_isa(before)


def plain(associations: Associations, start: OnlineState, steps: int, **arguments: Any) -> list[NDArray[np.float64]]:
    """All weights of the first unit, step by step."""
    n = associations.n_inputs
    rule, w = arguments.pop("rule", OnlineRule()), float(arguments.pop("weight_norm", 1.0))
    gap = np.broadcast_to(np.asarray(arguments.pop("gap", 0.0), float), (n,))
    grid = Grid.of(rule, n, w, gap)
    signs, h = arguments.pop("signs", None), arguments.pop("threshold", 0.0)
    walk = plain_steps(
        associations.inputs,
        associations.targets,
        start.weights[0],
        int(start.seeds[0]),
        rule=rule,
        grid=grid,
        threshold=h,
        robustness=arguments.pop("robustness"),
        weight_norm=w,
        gap=grid.above(gap),
        signs=signs,
    )
    return list(islice(walk, steps + 1))


CASES: dict[str, tuple[int, int, dict[str, Any]]] = {
    "gap": (100, 40, {"robustness": 5.0, "gap": 2.5}),
    "gap and signs": (100, 20, {"robustness": 10.0, "gap": 2.5, "signs": 0.2}),
    "free": (70, 130, {"robustness": 2.0}),
    "signs": (64, 20, {"robustness": 6.0, "signs": 0.5}),
    "threshold and scale": (33, 65, {"robustness": 0.03, "gap": 0.015, "weight_norm": 0.011, "threshold": 0.05}),
    "gaps of several sizes": (50, 30, {"robustness": 3.0, "gap": np.linspace(0, 3, 50)}),
    "gap smaller than a kick": (50, 30, {"robustness": 6.0, "gap": 0.07}),
    "gap of a kick": (50, 30, {"robustness": 6.0, "gap": 0.1}),
    "bold": (50, 30, {"robustness": 6.0, "gap": 1.5, "rule": OnlineRule(1.0, 1.0, 0.3, 1e-6)}),
    "2019": (100, 40, {"robustness": 3.0, "signs": 0.2, "rule": OnlineRule.older()}),
    "one input": (1, 1, {"robustness": 0.5}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.usefixtures("instruction_set", "one_thread")
def test_compiled_is_plain_to_the_last_bit(case: str) -> None:
    n, m, arguments = CASES[case]
    if "signs" in arguments:
        arguments = arguments | {"signs": random_signs(n, arguments["signs"], np.random.default_rng(1))}
    associations = problem(n, m, 3)
    begin = learn_online(associations, **arguments, generator=5, max_steps=0)
    walk = plain(associations, begin.state, 400, **arguments)
    for step in (1, 2, 7, 60, 400):
        result = learn_online(associations, **arguments, generator=5, max_steps=step)
        taken = min(step, len(walk) - 1)
        assert result.steps[0] == taken
        assert_array_equal(result.weights[0], walk[taken])
        assert_same_conditions(associations, result, arguments)


def assert_same_conditions(associations: Associations, result: OnlineResult, arguments: dict[str, Any]) -> None:
    """What the rule reports is what its weights say."""
    own = {name: value for name, value in arguments.items() if name != "rule"}
    found = stop_conditions(associations, result.weights, **own)
    assert_array_equal(result.conditions.violated, found.violated)
    assert_array_equal(result.conditions.sign_violations, found.sign_violations)
    assert_array_equal(result.conditions.gap_violations, found.gap_violations)
    assert_array_equal(result.conditions.norm_error, found.norm_error)


@given(
    n=st.integers(1, 90),
    m=st.integers(0, 140),
    gap=st.sampled_from([0.0, 0.05, 1.5]),
    signed=st.booleans(),
    f_in=st.sampled_from([0.1, 0.5, 0.9]),
    seed=st.integers(0, 1000),
)
def test_compiled_is_plain_for_any_size(n: int, m: int, gap: float, signed: bool, f_in: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    associations = random_associations(n, m, rng, f_in=f_in)
    arguments = {"robustness": 0.3 * n**0.5, "gap": gap, "signs": random_signs(n, 0.3, rng) if signed else None}
    begin = learn_online(associations, **arguments, generator=seed, max_steps=0)
    result = learn_online(associations, **arguments, generator=seed, max_steps=60)
    assert_array_equal(result.weights[0], plain(associations, begin.state, 60, **arguments)[-1])


@pytest.mark.parametrize("gap", [0.0, 1.5, 2.5])
def test_four_of_four_at_low_load(gap: float) -> None:
    """N = 200, m = 60, κ̃ = 0.3, 3·10⁴ steps; the conditions are checked on the output alone."""
    rng = np.random.default_rng(int(2 * gap))
    given = [random_associations(200, 60, rng) for _ in range(4)]
    kappa = 0.3 * np.sqrt(200)
    result = learn_online(given, robustness=kappa, gap=gap, generator=1, max_steps=30_000)
    assert result.status == ["success"] * 4
    for associations, weights in zip(given, result.weights, strict=True):
        s, size = 2 * associations.targets - 1, np.abs(weights)
        assert (s * (associations.inputs @ weights) >= kappa).all()
        assert not ((size > 0) & (size < gap)).any()
        assert abs(size.mean() - 1) <= 1e-3
        assert (weights == 0).mean() == 0 if gap == 0 else (weights == 0).mean() >= 1 - 1 / gap - 0.01


def test_the_example_of_the_code() -> None:
    """N = 100, m = 20, κ = 10, 20 % inhibitory: about three of four are stored, at high sparsity with δ = 2.5."""
    rng = np.random.default_rng(0)
    given = [random_associations(100, 20, rng) for _ in range(20)]
    signs = np.stack([random_signs(100, 0.2, rng) for _ in range(20)])
    sparse = learn_online(given, robustness=10.0, gap=2.5, signs=signs, generator=0, max_steps=30_000)
    free = learn_online(given, robustness=10.0, signs=signs, generator=0, max_steps=30_000)
    assert 10 <= sparse.success.sum() <= 19
    assert free.success.sum() >= sparse.success.sum()
    assert 0.8 < np.median(sparse.sparsity[sparse.success]) < 0.91
    assert sparse.sparsity[sparse.success].min() > 1 - 1 / 2.5 - 0.01
    assert 0.4 < np.median(free.sparsity[free.success]) < 0.56
    assert (sparse.weights * signs >= 0)[sparse.success].all()
    assert (free.weights * signs >= 0).all()


def test_success_falls_with_load() -> None:
    """N = 200, κ̃ = 0.3, δ = 2.5: all at α = 0.3 and none at 0.7 in 3·10⁴ steps."""
    rng = np.random.default_rng(0)
    rates = []
    for m in (60, 140):
        given = [random_associations(200, m, rng) for _ in range(4)]
        result = learn_online(given, robustness=0.3 * np.sqrt(200), gap=2.5, generator=0, max_steps=30_000)
        assert_array_equal(result.conditions.violated == 0, result.success)
        rates.append(result.success.mean())
    assert rates == [1.0, 0.0]


def test_rounding_to_the_grid_matters_little() -> None:
    """Without any grid, the weights stay within 1e-8 for a while; after that, roundings are amplified by choices."""
    associations = problem(100, 20)
    start = learn_online(associations, **GAP, generator=0, max_steps=0).state
    rounded = plain(associations, start, 30, **GAP)
    grid = Grid.of(OnlineRule(), 100, 1.0, np.full(100, 1.5))
    assert grid.quantum < 2e-11
    fine = Grid(grid.quantum / 2**8, 0.1, grid.bound)
    walk = plain_steps(
        associations.inputs,
        associations.targets,
        start.weights[0],
        int(start.seeds[0]),
        rule=OnlineRule(),
        grid=fine,
        threshold=0.0,
        robustness=3.0,
        weight_norm=1.0,
        gap=np.full(100, 1.5),
        signs=None,
    )
    for a, b in zip(rounded, walk, strict=False):
        np.testing.assert_allclose(a, b, atol=1e-8)


@pytest.mark.usefixtures("threads")
def test_nothing_depends_on_threads_or_on_other_units() -> None:
    associations = problem(60, 25, units=7)
    torch.set_num_threads(1)
    alone = learn_online(associations, **GAP, generator=2, max_steps=2000)
    torch.set_num_threads(2)
    together = learn_online(associations, **GAP, generator=2, max_steps=2000)
    assert_array_equal(alone.weights, together.weights)
    start = learn_online(associations, **GAP, generator=2, max_steps=0).state
    third = learn_online(associations.unit(3), **GAP, state=start[3:4], max_steps=2000)
    assert_array_equal(third.weights[0], alone.weights[3])
    own = learn_online([associations.unit(i) for i in range(7)], **GAP, state=start, max_steps=2000)
    assert_array_equal(own.weights, alone.weights)  # with inputs of their own, which happen to be the same


def test_the_same_seed_gives_the_same_and_another_does_not() -> None:
    associations = problem()
    a, b = (learn_online(associations, **GAP, generator=np.random.default_rng(7)) for _ in range(2))
    assert_array_equal(a.weights, b.weights)
    assert not np.array_equal(a.weights, learn_online(associations, **GAP, generator=8).weights)


def test_a_resumed_run_is_the_uninterrupted_one() -> None:
    associations = problem(60, 40, units=5)
    whole = learn_online(associations, **GAP, generator=1, max_steps=3000, history=250)
    part = learn_online(associations, **GAP, generator=1, max_steps=1000, history=250)
    kept = OnlineState(part.weights.copy(), part.steps.copy(), part.state.seeds.copy())
    rest = learn_online(associations, **GAP, state=part.state, max_steps=3000, history=250)
    assert_array_equal(rest.weights, whole.weights)
    assert_array_equal(rest.steps, whole.steps)
    assert_array_equal(rest.codes, whole.codes)
    assert_array_equal(part.weights, kept.weights)  # a state is not changed by going on from it
    assert whole.history is not None
    assert rest.history is not None
    assert rest.history_steps is not None
    if rest.history_steps[0] == 1000:
        assert_array_equal(rest.history, whole.history[:, 4:])


def test_pauses_change_nothing() -> None:
    associations = problem(200, 160, units=4)
    kappa = 0.5 * np.sqrt(200)
    whole = learn_online(associations, robustness=kappa, gap=1.5, generator=3, max_steps=20_000)
    result = learn_online(associations, robustness=kappa, gap=1.5, generator=3, max_steps=20_000, time_limit=0)
    pauses = 0
    while "running" in result.status:
        pauses += 1
        result = learn_online(
            associations, robustness=kappa, gap=1.5, state=result.state, max_steps=20_000, time_limit=0
        )
    assert pauses > 0
    assert_array_equal(result.weights, whole.weights)


def test_history_is_what_the_weights_were() -> None:
    associations = problem(60, 40)
    start = learn_online(associations, **GAP, generator=1, max_steps=0).state
    result = learn_online(associations, **GAP, generator=1, max_steps=50, history=10)
    assert result.history is not None
    assert result.history_steps is not None
    assert_array_equal(result.history_steps, [0, 10, 20, 30, 40, 50])
    walk = plain(associations, start, 50, **GAP)
    for record, step in zip(result.history[0], result.history_steps, strict=True):
        found = stop_conditions(associations, walk[step][None], **GAP)
        assert_array_equal(record, [found.violated[0], (walk[step] == 0).mean(), found.norm_error[0] + 1])


def test_history_ends_with_the_unit() -> None:
    result = learn_online(problem(), **GAP, generator=1, max_steps=10_000, history=100)
    assert result.success[0]
    assert result.history is not None
    reached = result.steps[0] // 100 + 1
    assert np.isfinite(result.history[0, :reached]).all()
    assert np.isnan(result.history[0, reached:]).all()


def test_progress_ends_with_all_units() -> None:
    seen: list[tuple[int, int]] = []
    learn_online(problem(units=3), **GAP, generator=0, progress=lambda *numbers: seen.append(numbers))
    assert seen[-1] == (3, 3)


def test_contradictions_are_out_of_steps() -> None:
    result = learn_online(
        Associations(np.array([[1, 0, 1]] * 2, bool), np.array([0, 1], bool)),
        robustness=0.1,
        generator=0,
        max_steps=500,
    )
    assert result.status == ["out of steps"]
    assert result.steps[0] == 500
    assert result.conditions.violated[0] >= 1


@pytest.mark.parametrize("m", [0, 1])
def test_nothing_to_store_is_only_brought_to_its_norm(m: int) -> None:
    associations = Associations(np.zeros((m, 30), bool), np.zeros(m, bool))  # an empty pattern, silent at h = 0
    result = learn_online(associations, robustness=0.0, gap=1.2, generator=0)
    assert result.conditions.violated[0] == 0
    assert result.status[0] in ("success", "out of steps")
    assert not ((np.abs(result.weights) > 0) & (np.abs(result.weights) < 1.2)).any()


def test_no_units() -> None:
    result = learn_online(Associations(np.ones((2, 3), bool), np.ones((2, 0), bool)), robustness=0.1, generator=0)
    assert result.weights.shape == (0, 3)
    assert result.status == []


def test_weights_may_be_given() -> None:
    associations = Associations(np.eye(2, dtype=bool), np.array([True, False]))
    result = learn_online(associations, robustness=1.0, weights=[[1.0, -1.0]], generator=0)
    assert result.steps[0] == 0
    assert result.success[0]
    assert_array_equal(result.weights, [[1, -1]])


def test_random_words_are_those_of_philox() -> None:
    """Known answers of Random123."""
    ones = np.full(4, 0xFFFFFFFF, np.uint64)
    pi = np.array([0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], np.uint64)
    found = [
        philox(np.zeros(4, np.uint64), np.uint64(0)),
        philox(ones, np.uint64(0xFFFFFFFFFFFFFFFF)),
        philox(pi, np.uint64(0x299F31D0A4093822)),
    ]
    assert_array_equal(found[0], [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8])
    assert_array_equal(found[1], [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD])
    assert_array_equal(found[2], [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1])


@pytest.mark.parametrize("count", [0, 1, 4, 15, 16, 17])
def test_random_bytes_are_those_of_the_words(count: int) -> None:
    words = random_words(7, 2**32 + 5, 2, (count + 3) // 4)
    assert random_bytes(7, 2**32 + 5, 2, count).tolist() == list(words.astype("<u4").tobytes())[:count]


def test_weights_in_the_gap_are_kept_and_flipped_with_the_same_chance() -> None:
    """One step without any association, all weights in the gap: ε of them are kept and ε flipped, also at ε = 2⁻⁹."""
    for chance in (0.02, 2.0**-9, 0.25, 0.4999):
        result = learn_online(
            Associations(np.zeros((0, 40_000), bool), np.zeros(0, bool)),
            robustness=0.0,
            gap=2.0,
            weights=np.full((1, 40_000), 1.0),
            rule=OnlineRule(exploration=chance),
            generator=0,
            max_steps=1,
        )
        error = 4.5 * np.sqrt(chance * (1 - chance) / 40_000)
        assert abs((result.weights == 2).mean() - chance) < error
        assert abs((result.weights == -2).mean() - chance) < error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"robustness": -0.1}, "robustness must be finite and ≥ 0, got -0.1"),
        ({"robustness": np.nan}, "robustness must be finite"),
        ({"robustness": "much"}, "robustness must be a number"),
        ({"robustness": [1.0, 2.0]}, r"robustness must be a number or have shape \(1,\)"),
        ({"weight_norm": 0.0}, "weight_norm must be finite and > 0, got 0"),
        ({"weight_norm": np.inf}, "weight_norm must be finite"),
        ({"threshold": np.nan}, "threshold must be finite"),
        ({"gap": -1.0}, "gap must be finite and ≥ 0, got -1"),
        ({"gap": np.zeros(3)}, "gap must be a number or have shape"),
        ({"gap": 1e15}, "must be of comparable size"),
        ({"signs": np.zeros(60)}, "signs must be of −1 and 1"),
        ({"signs": np.ones(3)}, "signs must be of −1 and 1"),
        ({"rule": OnlineRule.older()}, "signs must be given"),
        ({"max_steps": -1}, "max_steps must be a whole number"),
        ({"history": 0.5}, "history must be a whole number"),
        ({"time_limit": -1}, "time_limit must be in"),
        ({"generator": None}, "generator must be a numpy.random.Generator or a seed"),
        ({"weights": np.zeros((2, 60))}, "weights must have shape"),
        ({"weights": np.full((1, 60), np.nan)}, "weights must be finite"),
        ({"weights": np.full((1, 60), 1e9)}, r"weights must have Σ\|J\| ≤"),
        (
            {"state": OnlineState(np.zeros((1, 60)), np.zeros(1, int), np.zeros(1, np.uint64))},
            "must be None where state",
        ),
    ],
)
def test_what_is_wrong_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        learn_online(problem(), **({"robustness": 1.0, "generator": 0} | arguments))


@pytest.mark.parametrize(
    "given", [[], [problem(units=2)], [problem(60), problem(61)], [problem(60, 20), problem(60, 21)], ["patterns"]]
)
def test_units_have_associations_of_one_shape(given: Any) -> None:
    with pytest.raises(InputError, match="associations must"):
        learn_online(given, robustness=1.0, generator=0)


@pytest.mark.parametrize(
    "arguments", [{"step": 0}, {"l1_step": 1.5}, {"exploration": 0.5}, {"tolerance": 0}, {"variant": "2020"}]
)
def test_constants_have_ranges(arguments: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(arguments))} must be"):
        OnlineRule(**arguments)
