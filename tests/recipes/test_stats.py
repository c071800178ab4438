"""Intervals against figures worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recipes.stats import (
    Estimate,
    align,
    hierarchical_interval,
    paired_difference,
    per_problem_means,
    rate_interval,
    seed_interval,
    wilson_interval,
)

Z = 1.959964  # the 97.5 % point of the normal distribution


def test_wilson_by_hand() -> None:
    # none of 10: [0, z² / (10 + z²)] = 3.841459 / 13.841459
    none = wilson_interval(0, 10)
    assert (none.low, none.high) == (0.0, pytest.approx(0.277533, abs=1e-6))
    # 5 of 10: centre 1/2, reach z·sqrt(10/4 + z²/4)/(10 + z²) = 1.959964·1.860211/13.841459
    half = wilson_interval(5, 10)
    assert (half.low, half.high) == pytest.approx((0.236593, 0.763407), abs=1e-6)
    # all of 10 mirrors none
    assert wilson_interval(10, 10).low == pytest.approx(1 - 0.277533, abs=1e-6)


@pytest.mark.parametrize(("passed", "n"), [(0, 0), (3, 2), (-1, 4)])
def test_wilson_refuses(passed: int, n: int) -> None:
    with pytest.raises(ValueError, match="0 <= passed <= n"):
        wilson_interval(passed, n)


def test_samples_are_averaged_per_problem_first() -> None:
    means = per_problem_means([("a", 1), ("a", 0), ("a", 1), ("a", 0), ("b", 1)])
    assert means == {"a": 0.5, "b": 1.0}
    # the mean over problems is 0.75, though 3 of 5 samples passed
    assert rate_interval(list(means.values())).value == 0.75


def test_rate_is_wilson_for_single_samples() -> None:
    assert rate_interval([1, 0] * 5) == wilson_interval(5, 10)
    assert rate_interval([0, 0, 0]) == wilson_interval(0, 3)
    single = rate_interval([0.5])
    assert (single.low, single.high) == (0.0, 1.0)


def test_equal_means_are_no_certainty() -> None:
    even = rate_interval([0.5] * 10)
    assert (even.value, even.low, even.high) == (0.5, *_ends(wilson_interval(5, 10)))
    quarter = rate_interval([0.25] * 10)  # between 2 and 3 of 10
    assert quarter.low == wilson_interval(2, 10).low
    assert quarter.high == wilson_interval(3, 10).high


def _ends(estimate: Estimate) -> tuple[float, float]:
    return estimate.low, estimate.high


def test_align_keeps_common_problems_in_one_order() -> None:
    uids, first, second = align({"b": 1.0, "a": 0.0, "c": 1.0}, {"a": 1.0, "b": 0.5, "d": 0.0})
    assert uids == ["a", "b"]
    assert first.tolist() == [0.0, 1.0] and second.tolist() == [1.0, 0.5]


def test_paired_difference_near_its_normal_limit() -> None:
    # 90 problems gained, 10 lost, 100 the same: mean 0.4, variance 0.5 - 0.16 = 0.34
    before = np.array([0] * 90 + [1] * 10 + [1] * 100)
    after = np.array([1] * 90 + [0] * 10 + [1] * 100)
    result = paired_difference(after, before)
    reach = Z * math.sqrt(0.34 / 200)
    assert result.value == pytest.approx(0.4)
    assert (result.low, result.high) == pytest.approx((0.4 - reach, 0.4 + reach), abs=0.01)
    assert result.excludes_zero


def test_pairing_matters() -> None:
    # every problem rises by 0.25: no doubt about the difference, whatever the problems' spread
    before = np.linspace(0, 0.75, 31)
    result = paired_difference(before + 0.25, before)
    assert (result.low, result.high) == pytest.approx((0.25, 0.25))


@pytest.mark.parametrize("values", [[0, 0, 0], [1, 1, 1], [1, 0, 1, 0], [0.5, 0.25]])
def test_identical_vectors_differ_by_exactly_nothing(values: list[float]) -> None:
    result = paired_difference(values, values)
    assert (result.value, result.low, result.high) == (0.0, 0.0, 0.0)
    assert not result.excludes_zero


def test_one_changed_problem_of_many_is_finite() -> None:
    result = paired_difference([1] + [0] * 199, [0] * 200)
    assert result.value == 0.005
    assert 0.0 <= result.low <= 0.005 <= result.high < 0.04


def test_one_pair_bounds_nothing() -> None:
    result = paired_difference([1], [0])
    assert (result.value, result.low, result.high) == (1.0, -1.0, 1.0)


@pytest.mark.parametrize(("a", "b"), [([], []), ([1, 0], [1]), ([math.nan], [0]), ([[1]], [[0]])])
def test_paired_difference_refuses(a: list[float], b: list[float]) -> None:
    with pytest.raises(ValueError):
        paired_difference(a, b)


def test_seeded() -> None:
    a, b = [1, 1, 0, 1, 0, 0.5], [0, 1, 0, 0, 1, 0]
    assert paired_difference(a, b, seed=3) == paired_difference(a, b, seed=3)
    assert hierarchical_interval([a, b], seed=3) == hierarchical_interval([a, b], seed=3)


def test_seed_interval_by_hand() -> None:
    # mean 0.7, standard deviation 0.1, t(0.975, 2) = 4.302653: reach 4.302653·0.1/√3 = 0.248414
    result = seed_interval([0.6, 0.7, 0.8])
    assert result is not None
    assert (result.low, result.high) == pytest.approx((0.451586, 0.948414), abs=1e-6)
    assert seed_interval([0.7]) is None
    same = seed_interval([0.7, 0.7])
    assert same is not None and (same.low, same.high) == pytest.approx((0.7, 0.7))


def test_hierarchical_counts_the_spread_between_seeds() -> None:
    # two seeds, 0 and 1 on every problem: a resample of seeds has mean 0, 1/2, 1/2 or 1
    result = hierarchical_interval([[0.0] * 50, [1.0] * 50])
    assert (result.value, result.low, result.high) == (0.5, 0.0, 1.0)


def test_hierarchical_of_one_seed_is_a_bootstrap_over_problems() -> None:
    values = np.array([1.0] * 80 + [0.0] * 120)
    result = hierarchical_interval(values[None])
    reach = Z * math.sqrt(0.4 * 0.6 / 200)
    assert (result.low, result.high) == pytest.approx((0.4 - reach, 0.4 + reach), abs=0.01)


@pytest.mark.parametrize("values", [[1.0, 0.0], [[]], [[math.nan]]])
def test_hierarchical_refuses(values: object) -> None:
    with pytest.raises(ValueError, match="seeds, problems"):
        hierarchical_interval(values)  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=40))
def test_intervals_hold_their_value_and_mirror(pairs: list[tuple[bool, bool]]) -> None:
    a, b = np.array(pairs, dtype=float).T
    forth, back = (paired_difference(x, y, resamples=2000) for x, y in ((a, b), (b, a)))
    assert -1 <= forth.low <= forth.value <= forth.high <= 1
    assert back.value == pytest.approx(-forth.value)
    assert (back.low, back.high) == pytest.approx((-forth.high, -forth.low), abs=0.12)


def test_coverage_of_the_paired_interval() -> None:
    # the interval is meant to hold the truth in 95 of 100 experiments
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        before, after = rng.random((2, 100)) < np.array([[0.4], [0.6]])
        result = paired_difference(after, before, resamples=999)
        held += result.low <= 0.2 <= result.high
    assert 180 <= held <= 198
