"""Group-centred advantages against literals."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from algorithms.advantages import group_centred_advantages


def test_centred_within_groups_in_any_order():
    result = group_centred_advantages(
        torch.tensor([1.0, 5.0, 0.0, 5.0, 0.5]), ["a", "b", "a", "b", "a"]
    )
    assert result.advantages.tolist() == [0.5, 0.0, -0.5, 0.0, 0.0]
    # A response at its group's mean still belongs to an informative group.
    assert result.informative.tolist() == [True, False, True, False, True]
    assert result.metrics == {
        "reward_mean": pytest.approx(2.3),
        "groups": 2.0,
        "zero_advantage_groups": 1.0,
        "zero_advantage_share": 0.5,
    }


def test_division_by_std_is_a_switch():
    rewards, groups = torch.tensor([1.0, 3.0, 2.0, 6.0]), torch.tensor([4, 4, 9, 9])
    plain = group_centred_advantages(rewards, groups).advantages
    assert plain.tolist() == [-1.0, 1.0, -2.0, 2.0]
    scaled = group_centred_advantages(rewards, groups, divide_by_std=True).advantages
    expected = 1 / math.sqrt(2)  # (n - 1) in the denominator
    assert scaled.tolist() == pytest.approx([-expected, expected, -expected, expected], abs=1e-5)


def test_kl_enters_the_reward_before_centring():
    result = group_centred_advantages(
        torch.tensor([1.0, 1.0]), ["a", "a"], kl_B=torch.tensor([2.0, 4.0]), kl_weight=0.25
    )
    assert result.rewards.tolist() == [0.5, 0.0]
    assert result.advantages.tolist() == [0.25, -0.25]
    assert result.informative.all()
    assert result.metrics["kl_penalty_mean"] == 0.75


def test_equal_rewards_that_do_not_sum_exactly_are_still_no_signal():
    result = group_centred_advantages(torch.tensor([0.1] * 3, dtype=torch.float64), ["a"] * 3)
    assert result.advantages.tolist() == [0.0] * 3
    assert not result.informative.any()


def test_a_group_of_one_teaches_nothing():
    result = group_centred_advantages(torch.tensor([1.0]), ["a"], divide_by_std=True)
    assert (result.advantages.item(), result.informative.item()) == (0.0, False)


def test_no_response_at_all():
    result = group_centred_advantages(torch.zeros(0), [])
    assert result.advantages.shape == (0,)
    assert result.metrics["zero_advantage_share"] == 0.0


@given(
    rewards=st.lists(
        st.tuples(st.floats(-10, 10, width=32), st.integers(0, 3)), min_size=1, max_size=20
    ),
    shift=st.floats(-5, 5, width=32),
)
@settings(max_examples=50, deadline=None)
def test_sums_to_zero_and_ignores_a_shift(rewards, shift):
    values = torch.tensor([reward for reward, _ in rewards], dtype=torch.float64)
    groups = [group for _, group in rewards]
    result = group_centred_advantages(values, groups)
    for group in set(groups):
        members = torch.tensor([g == group for g in groups])
        assert abs(result.advantages[members].sum().item()) < 1e-9
    moved = group_centred_advantages(values + shift, groups)
    torch.testing.assert_close(moved.advantages, result.advantages, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: group_centred_advantages(torch.tensor([1.0, math.nan]), ["a", "a"]),
            r"rows \[1\]",
        ),
        (lambda: group_centred_advantages(torch.ones(2), ["a"]), "one id a response"),
        (lambda: group_centred_advantages(torch.ones(2, 1), ["a", "b"]), "rewards_B"),
        (lambda: group_centred_advantages(torch.ones(2), ["a"] * 2, kl_weight=0.1), "kl_B"),
        (lambda: group_centred_advantages(torch.ones(1), ["a"], kl_weight=-1.0), "negative"),
        (
            lambda: group_centred_advantages(
                torch.ones(2), ["a"] * 2, kl_B=torch.ones(3), kl_weight=0.1
            ),
            "kl_B",
        ),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
