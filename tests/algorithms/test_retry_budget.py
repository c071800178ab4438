"""Budgets sum to what the reference arm generated, to the token."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algorithms.retry.budget import BudgetError, evenly, frontier, per_task, spent


def test_what_a_task_took_is_the_sum_of_its_attempts():
    attempts = [{"uid": u, "tokens": n} for u, n in [("a", 3), ("b", 5), ("a", 4)]]
    assert spent(attempts) == {"a": 7, "b": 5}


def test_each_task_gets_what_the_reference_took_on_it():
    assert per_task({"a": 7, "b": 5, "c": 1}, ["b", "a"]) == {"b": 5, "a": 7}
    with pytest.raises(BudgetError, match=r"did not attempt 1 tasks \(z\)"):
        per_task({"a": 7}, ["a", "z"])


@given(st.integers(0, 10_000), st.integers(1, 50))
def test_an_even_share_sums_to_the_total_and_differs_by_one_at_most(total, tasks):
    given_out = evenly(total, [str(i) for i in range(tasks)])
    assert sum(given_out.values()) == total
    assert max(given_out.values()) - min(given_out.values()) <= 1


def test_nothing_can_be_given_to_nobody():
    with pytest.raises(BudgetError, match="0 tasks"):
        evenly(5, [])


def test_the_frontier_is_the_band_of_pass_rates():
    tried = {"never": [0, 0, 0, 0], "some": [1, 0, 0, 1], "few": [1, 0, 0, 0], "all": [1, 1, 1, 1]}
    attempts = [{"uid": u, "passed": p} for u, passes in tried.items() for p in passes]
    # Of these nothing can be told: with them `few` would be in the band, and `some` out of it.
    attempts += [{"uid": "some", "passed": False, "cut_by_budget": True}] * 9
    attempts += [{"uid": "some", "passed": False, "reason": "verifier_error"}] * 9
    assert frontier(attempts, [*tried, "untried"], (0.3, 0.5)) == ["some"]
