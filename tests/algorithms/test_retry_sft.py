"""Which responses self-SFT keeps."""

from __future__ import annotations

import pytest

from algorithms.base import TrainingRow, Trajectory, Turn
from algorithms.registry import InvalidAlgorithmSetting
from algorithms.retry_sft import RetrySFT


def response(text="x", score: float | None = 1.0, group="a", **other):
    return Trajectory(group, 5, score=score, turns=(Turn(5, text),), **other)


def test_what_passes_is_kept_once_and_not_too_often():
    batch = [
        response("x"),
        response("x"),
        response("y", 0.0),
        response("z"),
        response("w"),
        response("x", group="b"),
        response("v", None, unjudged=True),
        Trajectory("a", 0, score=1.0),
    ]
    rows, report = RetrySFT(per_task=2).rows(batch)
    assert rows == [TrainingRow(index, nll=1.0) for index in (0, 3, 5)]
    assert report.dropped == [
        (1, "duplicate"),
        (2, "failed"),
        (4, "over_cap"),
        (6, "verifier_error"),
        (7, "empty_response"),
    ]
    assert report.metrics["retry/kept_share"] == 3 / 8


def test_what_the_teacher_sampled_is_learnt_from_the_bare_prompt():
    rows, _ = RetrySFT(view="teacher").rows([response(sampled_view="teacher")])
    assert [row.view for row in rows] == ["student"]


def test_partial_credit_is_a_threshold():
    batch = [response("x", 0.5), response("y", 0.4)]
    assert [row.trajectory for row in RetrySFT(threshold=0.5).rows(batch)[0]] == [0]


@pytest.mark.parametrize("settings", [{"threshold": 0.0}, {"per_task": 0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(InvalidAlgorithmSetting, match="threshold must lie"):
        RetrySFT(**settings)


def test_nothing_that_judges_is_an_error():
    with pytest.raises(ValueError, match="no score"):
        RetrySFT().rows([response("x", None)])
