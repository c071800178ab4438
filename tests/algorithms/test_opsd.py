"""OPSD's rows against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest

from algorithms.base import Trajectory
from algorithms.opsd import OPSD
from algorithms.registry import InvalidAlgorithmSetting


def trajectory(group="a", score=None, has_privileged=True, tokens=5):
    return Trajectory(group, tokens, score=score, has_privileged=has_privileged)


def test_pure_distillation_trains_the_student_view_toward_the_teacher_view():
    rows, report = OPSD(distill_weight=0.5).rows([trajectory("a"), trajectory("b")])
    assert [row.trajectory for row in rows] == [0, 1]
    for row in rows:
        assert row.view == "student"
        assert (row.distill, row.policy_gradient, row.nll, row.advantage) == (0.5, 0.0, 0.0, 0.0)
    assert report.dropped == []
    assert report.metrics == {"tasks/privileged_share": 1.0, "leak_rate/student": 0.0}


def test_without_a_reward_a_task_without_pi_teaches_nothing():
    rows, report = OPSD().rows([trajectory(has_privileged=False), trajectory("b")])
    assert [row.trajectory for row in rows] == [1]
    assert report.dropped == [(0, "no_privileged_information")]
    assert report.metrics["tasks/privileged_share"] == 0.5


def test_without_a_reward_scores_are_neither_needed_nor_used():
    algorithm = OPSD()
    assert not algorithm.needs_old_log_probs
    with_scores, _ = algorithm.rows([trajectory(score=1.0), trajectory(score=0.0)])
    without, _ = algorithm.rows([trajectory(), trajectory()])
    assert with_scores == without


def test_rewards_are_centred_within_the_group():
    # Group a: 1, 0, 0 with mean 1/3. Group b: 0, 1 with mean 1/2. Interleaved on purpose.
    batch = [
        trajectory("a", 1.0),
        trajectory("b", 0.0),
        trajectory("a", 0.0),
        trajectory("b", 1.0),
        trajectory("a", 0.0),
    ]
    rows, report = OPSD(reward_weight=2.0, distill_weight=0.25).rows(batch)
    assert [row.advantage for row in rows] == pytest.approx([2 / 3, -1 / 2, -1 / 3, 1 / 2, -1 / 3])
    assert {row.policy_gradient for row in rows} == {2.0}
    assert {row.distill for row in rows} == {0.25}
    assert report.metrics["groups/zero_advantage_share"] == 0.0


def test_division_by_the_standard_deviation_is_a_switch():
    batch = [trajectory("a", 1.0), trajectory("a", 0.0)]
    rows, _ = OPSD(reward_weight=1.0, divide_by_std=True).rows(batch)
    # Advantages 1/2 and -1/2; standard deviation sqrt(1/2).
    assert rows[0].advantage == pytest.approx(0.5 / math.sqrt(0.5), rel=1e-4)
    assert rows[1].advantage == pytest.approx(-rows[0].advantage)


def test_groups_without_a_signal_leave_the_policy_gradient_and_are_counted():
    batch = [
        trajectory("equal", 1.0),
        trajectory("equal", 1.0),
        trajectory("equal", 1.0),
        trajectory("mixed", 1.0),
        trajectory("mixed", 0.0),
    ]
    rows, report = OPSD(reward_weight=1.0).rows(batch)
    # They stay for the distill term: there is privileged information.
    assert [row.policy_gradient for row in rows] == [0.0, 0.0, 0.0, 1.0, 1.0]
    assert {row.distill for row in rows} == {1.0}
    assert report.dropped == []
    # One of two groups, though it holds three of five responses.
    assert report.metrics["groups/zero_advantage_share"] == 0.5


def test_without_pi_and_without_a_signal_a_row_is_dropped():
    batch = [
        trajectory("equal", 0.0, has_privileged=False),
        trajectory("equal", 0.0, has_privileged=False),
        trajectory("mixed", 1.0, has_privileged=False),
        trajectory("mixed", 0.0, has_privileged=False),
    ]
    rows, report = OPSD(reward_weight=1.0).rows(batch)
    assert [row.trajectory for row in rows] == [2, 3]
    assert all(row.distill == 0.0 for row in rows)
    assert report.dropped == [(0, "zero_advantage"), (1, "zero_advantage")]


def test_reward_alone_is_grpo_even_where_there_is_pi():
    rows, _ = OPSD(distill_weight=0.0, reward_weight=1.0).rows(
        [trajectory("a", 1.0), trajectory("a", 0.0)]
    )
    assert [(row.distill, row.advantage) for row in rows] == [(0.0, 0.5), (0.0, -0.5)]


def test_an_empty_response_is_dropped_but_counts_in_its_groups_mean():
    batch = [trajectory("a", 1.0), trajectory("a", 0.0, tokens=0)]
    rows, report = OPSD(reward_weight=1.0).rows(batch)
    assert [(row.trajectory, row.advantage) for row in rows] == [(0, 0.5)]
    assert report.dropped == [(1, "empty_response")]


def test_the_share_of_tasks_with_pi_is_of_tasks():
    batch = [
        trajectory("a"),
        trajectory("a"),
        trajectory("a"),
        trajectory("b", has_privileged=False),
    ]
    _, report = OPSD().rows(batch)
    assert report.metrics["tasks/privileged_share"] == 0.5


def test_a_reward_needs_a_score_for_every_response():
    algorithm = OPSD(reward_weight=1.0)
    assert algorithm.needs_old_log_probs
    with pytest.raises(
        ValueError, match=r"2 trajectories have no score \(task b\).*reward_weight=0"
    ):
        algorithm.rows([trajectory("a", 1.0), trajectory("b"), trajectory("b")])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"distill_weight": -1.0}, "must not be negative"),
        ({"reward_weight": -0.5}, "must not be negative"),
        ({"distill_weight": 0.0}, "both 0"),
        ({"divergence": "reverse"}, "choose one of reverse_kl, forward_kl, jsd"),
    ],
)
def test_settings_that_cannot_learn_are_refused(settings, message):
    with pytest.raises(InvalidAlgorithmSetting, match=message):
        OPSD(**settings)


def test_loss_settings_are_passed_on():
    settings = OPSD(
        divergence="jsd", jsd_weight=0.3, divergence_temperature=2.0, clip_low=0.1, clip_high=0.4
    ).loss_settings()
    assert (settings.divergence, settings.jsd_weight) == ("jsd", 0.3)
    assert (settings.divergence_temperature, settings.clip_low, settings.clip_high) == (2, 0.1, 0.4)


def test_what_the_verifier_could_not_judge_stays_out_of_the_mean():
    seen = [
        Trajectory("a", 5, score=1.0),
        Trajectory("a", 5, score=0.0),
        Trajectory("a", 5, score=None, unjudged=True),
    ]
    rows, report = OPSD(reward_weight=1.0).rows(seen)
    assert [(row.trajectory, row.advantage) for row in rows] == [(0, 0.5), (1, -0.5)]
    assert report.dropped == [(2, "verifier_error")]


def with_kl(kl, score=None, **other):
    return Trajectory("a", 5, score=score, has_privileged=True, sequence_kl=kl, **other)


def test_the_kl_may_enter_the_reward_instead_of_the_loss():
    algorithm = OPSD(kl_placement="reward", distill_weight=0.5, reward_weight=2.0)
    assert algorithm.sequence_kl == "exact" and algorithm.needs_old_log_probs
    rows, report = algorithm.rows([with_kl(1.0, 1.0), with_kl(3.0, 0.0)])
    # Rewards 2 - 0.5 and 0 - 1.5: mean 0.
    assert [(r.advantage, r.policy_gradient, r.distill) for r in rows] == [
        (1.5, 1.0, 0.0),
        (-1.5, 1.0, 0.0),
    ]
    assert report.metrics["reward/token_kl"] == pytest.approx(4.0 / 10)


def test_without_a_reward_the_kl_alone_is_centred():
    rows, _ = OPSD(kl_placement="reward").rows([with_kl(1.0), with_kl(3.0)])
    assert [row.advantage for row in rows] == [1.0, -1.0]


def test_k1_may_stand_in_for_the_exact_kl_in_the_reward_alone():
    algorithm = OPSD(kl_placement="reward", sequence_kl_estimator="k1")
    assert algorithm.sequence_kl == "k1"
    assert OPSD(sequence_kl_estimator="k1").sequence_kl is None
    with pytest.raises(InvalidAlgorithmSetting, match="score function"):
        OPSD(divergence="k1")


def test_importance_weights_want_the_log_probs_of_sampling_time():
    assert not OPSD().needs_old_log_probs
    assert OPSD(max_importance_ratio=2.0).needs_old_log_probs
    with pytest.raises(InvalidAlgorithmSetting, match="max_importance_ratio must be positive"):
        OPSD(max_importance_ratio=0.0)
