"""pi-Distill's rows: who is trained with what weight, and what enters the reward."""

from __future__ import annotations

import pytest

from algorithms import registry
from algorithms.base import Trajectory, Turn
from algorithms.grpo import GRPO
from algorithms.pi_distill import PiDistill, StudentObjective, TeacherObjective
from algorithms.registry import InvalidAlgorithmSetting


def sampled(group="a", score: float | None = 1.0, kl=0.0, privileged=True, **other):
    return Trajectory(
        group,
        5,
        score=score,
        has_privileged=privileged,
        sampled_view="teacher",
        sequence_kl=kl if privileged else None,
        turns=(Turn(5, "omega"),),
        **other,
    )


PAIR = [sampled(score=1.0), sampled(score=0.0)]


def weights(rows):
    return [(r.trajectory, r.view, r.policy_gradient, r.distill, r.advantage) for r in rows]


def test_both_views_learn_from_the_same_advantages():
    rows, report = PiDistill(alpha=0.3).rows(PAIR)
    assert weights(rows) == [
        (0, "teacher", 0.3, 0.0, 0.5),
        (0, "student", 0.7, 0.0, 0.5),
        (1, "teacher", 0.3, 0.0, -0.5),
        (1, "student", 0.7, 0.0, -0.5),
    ]
    assert report.dropped == [] and report.metrics["pi_distill/alpha"] == 0.3


@pytest.mark.parametrize("placement", ["loss", "reward"])
@pytest.mark.parametrize(
    ("alpha", "single", "view"),
    [(1.0, TeacherObjective, "teacher"), (0.0, StudentObjective, "student")],
)
def test_at_both_ends_one_objective_is_left(alpha, single, view, placement):
    mixed = PiDistill(alpha=alpha, kl_placement=placement)
    alone = single(kl_placement=placement)
    batch = [sampled(kl=2.0), sampled(score=0.0, kl=1.0), sampled("b", kl=4.0)]
    assert mixed.rows(batch) == alone.rows(batch)
    assert mixed.loss_settings() == alone.loss_settings()
    assert {row.view for row in mixed.rows(batch)[0]} == {view}


def test_the_kl_enters_the_reward_before_it_is_centred():
    rows, report = TeacherObjective(kl_weight=0.25).rows([sampled(kl=2.0), sampled(kl=0.0)])
    # Rewards 1 - 0.5 and 1: mean 0.75.
    assert [row.advantage for row in rows] == pytest.approx([-0.25, 0.25])
    assert report.metrics["reward/kl_penalty"] == pytest.approx(0.25)


def test_in_the_loss_each_view_has_the_kl_of_its_objective():
    algorithm = PiDistill(alpha=0.25, kl_placement="loss", kl_weight=2.0)
    assert algorithm.sequence_kl is None
    settings = algorithm.loss_settings()
    # Named from the trained view: KL(pi_T || sg pi_S) and KL(sg pi_T || pi_S).
    assert (settings.teacher_divergence, settings.divergence) == ("reverse_kl", "forward_kl")
    rows, _ = algorithm.rows([sampled(kl=9.0), sampled(kl=0.0)])
    # No group tells right from wrong here: the KL term alone is left.
    assert weights(rows) == [
        (0, "teacher", 0.0, 0.5, 0.0),
        (0, "student", 0.0, 1.5, 0.0),
        (1, "teacher", 0.0, 0.5, 0.0),
        (1, "student", 0.0, 1.5, 0.0),
    ]


def test_a_task_without_pi_is_plain_grpo():
    bare = [sampled("b", 1.0, privileged=False), sampled("b", 0.0, privileged=False)]
    rows, report = PiDistill(kl_placement="loss").rows(bare)
    assert rows == GRPO().rows(bare)[0]
    assert report.metrics["tasks/privileged_share"] == 0.0


def test_alpha_rises_over_epochs():
    algorithm = PiDistill(alpha=0.5, alpha_epochs=10)
    assert [algorithm.alpha_at(e) for e in (0, 5, 10, 99)] == [0.0, 0.25, 0.5, 0.5]
    rows, _ = algorithm.rows(PAIR, epoch=0.0)
    assert {row.view for row in rows} == {"student"}


def test_groups_without_a_signal_are_dropped_and_counted():
    rows, report = PiDistill().rows([sampled(), sampled(), sampled("b", None, unjudged=True)])
    assert rows == []
    assert report.dropped == [(0, "zero_advantage"), (1, "zero_advantage"), (2, "verifier_error")]
    assert report.metrics["groups/zero_advantage_share"] == 1.0


def test_penalties_enter_both_terms():
    leaking = sampled(score=1.0)
    leaking = Trajectory(**{**leaking.__dict__, "turns": (Turn(5, "as the hint says"),)})
    rows, report = PiDistill(leak_penalty=0.1).rows([leaking, sampled(score=1.0)])
    assert [row.advantage for row in rows] == pytest.approx([-0.05, -0.05, 0.05, 0.05])
    assert report.metrics["leak_rate/teacher"] == 0.5


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"alpha": 1.5}, "alpha must lie"),
        ({"kl_placement": "both"}, "unknown kl_placement"),
        ({"student_divergence": "k1"}, "score function"),
        ({"support": "student", "student_divergence": "k3"}, "sampled token alone"),
        ({"clip_low": 2.0}, "clip_low"),
        ({"max_importance_ratio": 2.0}, "no setting max_importance_ratio"),
        ({"sequence_kl_estimator": "k3"}, "unknown sequence_kl_estimator"),
    ],
)
def test_what_makes_no_sense_is_refused(settings, words):
    with pytest.raises(InvalidAlgorithmSetting, match=words):
        registry.build("pi_distill", **settings)


def test_who_was_shown_nothing_gains_nothing_by_it():
    """Within one group: a KL that is not there must not look like a KL of zero."""
    batch = [sampled(kl=1.0), sampled(kl=3.0), sampled(privileged=False)]
    rows, _ = TeacherObjective(kl_weight=0.5).rows(batch)
    advantages = {row.trajectory: row.advantage for row in rows}
    assert advantages == pytest.approx({0: 0.5, 1: -0.5, 2: 0.0})
