"""Length and leak penalties against numbers worked out by hand, and where they must be nothing."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algorithms.base import Trajectory, Turn, View
from algorithms.shaping import LENGTH_FLOOR, Shaping

PAPER = Shaping(length_penalty=0.1, leak_penalty=0.1)


def trajectory(*turns: Turn, score: float | None = 1.0, view: View = "teacher") -> Trajectory:
    return Trajectory(
        "a", sum(t.tokens for t in turns), score=score, turns=turns, sampled_view=view
    )


@pytest.mark.parametrize(
    ("tokens", "penalty"),
    [
        (0, 0.0),
        (2000, 0.0),
        (3500, -0.05),  # half of the way: half of the cosine
        (2000 + 1000, -0.1 * (1 - math.cos(math.pi / 3)) / 2),
        (5000, -0.1),
        (6500, -0.15),
        (8000, -0.2),
        (50_000, -0.2),
    ],
)
def test_the_length_of_a_message_costs_along_two_half_cosines(tokens, penalty):
    assert PAPER.turn_penalty(tokens) == pytest.approx(penalty, abs=1e-12)


def test_length_is_a_mean_over_messages_and_has_a_floor():
    assert PAPER.length_term(trajectory(Turn(100), Turn(5000))) == pytest.approx(-0.05)
    assert Shaping(length_penalty=1.0).length_term(trajectory(Turn(9000))) == LENGTH_FLOOR


@pytest.mark.parametrize("score", [0.0, None])
def test_only_an_answer_that_earned_something_pays_for_its_length(score):
    assert PAPER.length_term(trajectory(Turn(9000), score=score)) == 0.0


@pytest.mark.parametrize(
    ("text", "leaks"),
    [
        ("by the HINT, omega", 1),
        ("hinting at nothing, unhinted", 0),
        ("the privileged information and the hint", 2),
        ("hint. hint! (hints)", 3),
        ("Correct tool calls are given", 1),
        ("", 0),
    ],
)
def test_leak_words_count_on_word_boundaries_whatever_their_case(text, leaks):
    assert PAPER.leaks(text) == leaks


def test_every_leak_of_every_message_costs():
    leaking = trajectory(Turn(5, "a hint and a hint"), Turn(5, "secret information"), score=0.0)
    assert PAPER.reward(leaking) == pytest.approx(-0.3)


def test_the_words_are_a_setting():
    own = Shaping(leak_penalty=0.5, leak_words=("c++", "sorry"))
    assert own.leaks("c++ and sorry, c++11") == 2
    assert Shaping(leak_words=()).leaks("hint") == 0


@given(
    score=st.floats(0.0, 1.0),
    lengths=st.lists(st.integers(1, 2000), min_size=1, max_size=4),
    text=st.text("abc xyz.\n", max_size=30),
)
def test_leaking_nothing_and_reaching_no_threshold_changes_no_reward(score, lengths, text):
    turns = [Turn(length, text) for length in lengths]
    assert PAPER.reward(trajectory(*turns, score=score)) == score


def test_metrics_tell_the_views_apart():
    seen = [
        trajectory(Turn(1, "a hint"), view="teacher"),
        trajectory(Turn(1, "omega"), view="teacher"),
        trajectory(Turn(1, "omega"), view="student"),
    ]
    metrics = PAPER.metrics(seen)
    assert metrics["leak_rate/teacher"] == 0.5 and metrics["leak_rate/student"] == 0.0
    assert metrics["shaping/leak"] == pytest.approx(-0.1 / 3)
    assert metrics["shaping/length"] == 0.0


@pytest.mark.parametrize(
    "settings", [{"length_penalty": -1.0}, {"length_free": 10, "length_full": 10}]
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match="length_"):
        Shaping(**settings)


def test_no_score_cannot_be_shaped():
    with pytest.raises(ValueError, match="no score"):
        PAPER.reward(trajectory(Turn(1), score=None))
