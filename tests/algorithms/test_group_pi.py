"""What the teacher is shown of the group."""

from __future__ import annotations

import pytest

from algorithms.group_pi import Answer, contents


def answer(text, passed, group="a", feedback=""):
    return Answer(group, text, passed, feedback)


def test_the_shortest_other_success_of_the_same_task_is_shown():
    batch = [
        answer("wrong", False),
        answer("long right", True),
        answer("right", True),
        answer("alone", False, "b"),
        answer("its own", True, "c"),
    ]
    shown = ["right", "right", "long right", None, None]
    assert contents("sibling_success", batch) == shown


def test_a_success_of_the_same_words_is_no_news():
    assert contents("sibling_success", [answer("x", True), answer("x", True)]) == [None, None]


def test_feedback_goes_to_the_answer_that_failed():
    batch = [
        answer("x", False, feedback="error: unknown identifier"),
        answer("y", True, feedback="ok"),
        answer("z", False, feedback=" "),
    ]
    assert contents("environment_feedback", batch) == ["error: unknown identifier", None, None]


def test_other_kinds_are_not_made_in_the_run():
    with pytest.raises(ValueError, match="sibling_success"):
        contents("skeleton", [])
