"""SFT's rows."""

from __future__ import annotations

from algorithms.base import Trajectory
from algorithms.sft import SFT


def test_each_response_is_trained_in_the_view_that_it_came_with():
    batch = [
        Trajectory("a", 4, sampled_view="student"),
        Trajectory("b", 4, sampled_view="teacher"),
        Trajectory("c", 4, sampled_view="student", score=0.0, has_privileged=True),
    ]
    rows, report = SFT().rows(batch)
    assert [row.view for row in rows] == ["student", "teacher", "student"]
    for row in rows:
        assert (row.nll, row.distill, row.policy_gradient) == (1.0, 0.0, 0.0)
    assert report.dropped == [] and report.metrics == {}


def test_an_empty_response_is_dropped():
    rows, report = SFT().rows([Trajectory("a", 0), Trajectory("b", 2)])
    assert [row.trajectory for row in rows] == [1]
    assert report.dropped == [(0, "empty_response")]


def test_the_view_is_a_setting_and_nothing_else_is_needed():
    assert SFT().sampling_view == "student"
    assert SFT(view="teacher").sampling_view == "teacher"
    assert not SFT().needs_old_log_probs
