from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gossamer.errors import InputError
from gossamer.studies.statistics import friedman, gains, holm, paired

scores = st.lists(st.floats(-10, 10, allow_nan=False), min_size=2, max_size=12)


def test_paired_by_hand() -> None:
    found = paired([0.9, 0.8, 0.7, 0.9], [0.8, 0.75, 0.72, 0.8])
    d = np.array([0.1, 0.05, -0.02, 0.1])
    half = stats.t.ppf(0.975, 3) * d.std(ddof=1) / 2
    assert found.n == 4
    assert found.difference.center == pytest.approx(0.0575)
    assert (found.difference.low, found.difference.high) == pytest.approx((0.0575 - half, 0.0575 + half))
    assert found.t_p == pytest.approx(stats.ttest_rel([0.9, 0.8, 0.7, 0.9], [0.8, 0.75, 0.72, 0.8]).pvalue)
    assert found.wilcoxon_p == pytest.approx(4 / 16)  # rank sums 0 and 10 are as far or farther, with 1 and 9


@given(st.integers(2, 12).flatmap(lambda n: st.tuples(*[st.lists(st.integers(-50, 50), min_size=n, max_size=n)] * 2)))
def test_both_tests_agree_with_scipy_and_brute_force(pair: tuple[list[int], list[int]]) -> None:
    a, b = map(np.array, pair)
    found, back = paired(a, b), paired(b, a)
    d = (a - b).astype(float)
    assert found.difference.center == pytest.approx(-back.difference.center)
    assert (found.t_p, found.wilcoxon_p) == pytest.approx((back.t_p, back.wilcoxon_p))
    if d.std() > 0:
        assert found.t_p == pytest.approx(stats.ttest_rel(a, b).pvalue)
    d = d[d != 0]
    ranks = stats.rankdata(np.abs(d))
    observed = abs(ranks[d > 0].sum() - ranks.sum() / 2)
    sums = [ranks[np.array(signs, dtype=bool)].sum() for signs in itertools.product([0, 1], repeat=len(d))]
    far = [abs(total - ranks.sum() / 2) >= observed - 1e-9 for total in sums]
    assert found.wilcoxon_p == pytest.approx(np.mean(far))


def test_wilcoxon_without_ties_is_scipys() -> None:
    a, b = [1.1, 2.5, 3.7, 0.2, 5.0, 1.0], [1.0, 2.0, 4.0, 0.9, 4.0, 2.6]
    assert paired(a, b).wilcoxon_p == pytest.approx(stats.wilcoxon(a, b, method="exact").pvalue)


def test_differences_that_are_all_the_same() -> None:
    same = paired([0.5, 0.6, 0.7], [0.5, 0.6, 0.7])
    assert (same.t_p, same.wilcoxon_p, same.difference.center) == (1.0, 1.0, 0.0)
    constant = paired([0.6, 0.7, 0.8], [0.5, 0.6, 0.7])
    assert constant.t_p == 0
    assert constant.wilcoxon_p == pytest.approx(0.25)


@pytest.mark.parametrize(("a", "b"), [([1.0], [1.0]), ([1.0, 2.0], [1.0]), ([1.0, math.nan], [1.0, 2.0])])
def test_pairs_that_cannot_be_compared(a: list[float], b: list[float]) -> None:
    with pytest.raises(InputError):
        paired(a, b)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []
    with pytest.raises(InputError):
        holm([1.5])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_lies_between_p_and_bonferroni_and_keeps_the_order(p: list[float]) -> None:
    found = holm(p)
    assert all(raw <= adjusted <= min(1, len(p) * raw) + 1e-12 for raw, adjusted in zip(p, found, strict=True))
    assert [found[i] for i in np.argsort(p, kind="stable")] == sorted(found)


def test_friedman_of_a_published_example() -> None:
    # Demsar 2006, table 6: AUC of C4.5 and its variants with parameters m and cf on 14 data sets
    table = [
        [0.763, 0.768, 0.771, 0.798], [0.599, 0.591, 0.590, 0.569], [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657], [0.882, 0.888, 0.886, 0.898], [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685], [0.583, 0.583, 0.563, 0.625], [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000], [0.940, 0.962, 0.965, 0.962], [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975], [0.957, 0.978, 0.946, 0.970],
    ]  # fmt: skip
    found = friedman(table)
    assert found.ranks == pytest.approx((3.143, 2.000, 2.893, 1.964), abs=5e-4)
    assert found.critical_difference == pytest.approx(2.569 * math.sqrt(20 / 84), abs=2e-3)
    assert found.chi2 == pytest.approx(stats.friedmanchisquare(*np.transpose(table)).statistic)
    assert found.p < 0.05


def test_friedman_without_ties_is_scipys_and_follows_its_formula() -> None:
    table = np.random.default_rng(0).normal(size=(9, 5))
    found, expected = friedman(table), stats.friedmanchisquare(*table.T)
    assert (found.chi2, found.chi2_p) == pytest.approx((expected.statistic, expected.pvalue))
    assert found.f == pytest.approx(8 * found.chi2 / (9 * 4 - found.chi2))
    assert found.p == pytest.approx(stats.f.sf(found.f, 4, 32))


def test_friedman_of_methods_that_never_or_always_differ() -> None:
    never = friedman(np.ones((4, 3)))
    assert (never.ranks, never.p, never.chi2_p) == ((2.0, 2.0, 2.0), 1.0, 1.0)
    always = friedman(np.tile([3.0, 2.0, 1.0], (4, 1)))
    assert (always.ranks, always.p) == ((1.0, 2.0, 3.0), 0.0)
    assert always.chi2 == pytest.approx(8.0)


@pytest.mark.parametrize("table", [np.ones((1, 3)), np.ones((3, 1)), np.ones(3), [[1.0, math.inf], [1.0, 2.0]]])
def test_tables_that_cannot_be_ranked(table: object) -> None:
    with pytest.raises(InputError):
        friedman(table)  # type: ignore[arg-type]


def test_gains_over_data_sets_are_adjusted_together() -> None:
    rng = np.random.default_rng(0)
    base = rng.uniform(0.5, 0.9, 8)
    found = gains({"better": (base + 0.01, base), "mixed": (base + rng.normal(0, 0.01, 8), base), "same": (base, base)})
    raw = [paired(base + 0.01, base).wilcoxon_p, 1.0]
    assert found["better"].mean == pytest.approx(0.01)
    assert (found["better"].won, found["better"].lost) == (8, 0)
    assert found["better"].p == pytest.approx(holm([raw[0], raw[1], raw[1]])[0])
    assert (found["same"].won, found["same"].lost, found["same"].p) == (0, 0, 1.0)
    assert gains({"alone": ([0.6], [0.5])})["alone"].p == 1
    assert gains({}) == {}
