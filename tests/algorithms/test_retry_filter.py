"""What is learnt from, and why everything else is not."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algorithms.retry.filter import REASONS, Candidate, FilterSettings, InvalidFilter, choose
from algorithms.retry.metrics import ladder_metrics


def candidate(text="x", score: float | None = 1.0, task="a", tokens=5, **other) -> Candidate:
    return Candidate(task, text, tokens, score, **other)


def test_every_reason_is_told_and_the_rest_is_kept():
    pool = [
        candidate("kept"),
        candidate("", tokens=0),
        candidate("u", None),
        candidate("f", 0.9),
        candidate("cut", complete=False),
        candidate("long", tokens=50),
        candidate("s", tokens=1),
        candidate("no format"),
        candidate("kept  "),
        candidate("kept", task="b"),
        candidate("kept too", number=3),
        candidate("kept over"),
    ]
    settings = FilterSettings(per_task=2, min_tokens=2, max_tokens=9, must_match="kept|cut|long")
    assert choose(pool, settings) == [
        None, "empty_response", "verifier_error", "failed", "incomplete", "too_long", "too_short",
        "bad_format", "duplicate", None, None, "over_cap",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("train_on", "reasons"),
    [
        ("first_and_retries", [None, None]),
        ("retries", ["first_attempt", None]),
        ("first", [None, "retry_attempt"]),
    ],
)
def test_which_attempts_train(train_on, reasons):
    pool = [candidate("x", number=1), candidate("y", number=2)]
    assert choose(pool, FilterSettings(train_on=train_on)) == reasons


def test_partial_credit_from_a_threshold_on():
    pool = [candidate("x", 0.5), candidate("y", 0.49)]
    assert choose(pool, FilterSettings(threshold=0.5)) == [None, "failed"]


def test_answers_cut_by_a_limit_can_be_kept_if_asked_for():
    assert choose([candidate(complete=False)], FilterSettings(complete=False)) == [None]


@given(
    st.lists(
        st.builds(
            Candidate,
            task=st.sampled_from("ab"),
            text=st.sampled_from(["x", "y", "x ", ""]),
            tokens=st.integers(0, 6),
            score=st.sampled_from([None, 0.0, 0.5, 1.0]),
            number=st.integers(1, 3),
            complete=st.booleans(),
        )
    ),
    st.builds(
        FilterSettings,
        train_on=st.sampled_from(["first_and_retries", "retries", "first"]),
        threshold=st.sampled_from([0.5, 1.0]),
        per_task=st.integers(1, 3),
        min_tokens=st.integers(1, 2),
    ),
)
def test_every_candidate_is_kept_or_dropped_for_a_known_reason(pool, settings):
    reasons = choose(pool, settings)
    assert len(reasons) == len(pool) and set(reasons) <= {None, *REASONS}
    kept = [c for c, reason in zip(pool, reasons, strict=True) if reason is None]
    assert all(c.tokens and c.score is not None and c.score >= settings.threshold for c in kept)
    assert max(Counter(c.task for c in kept).values(), default=0) <= settings.per_task
    texts = [(c.task, c.text.strip()) for c in kept if c.text.strip()]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train_on": "all"}, "train_on is one of"),
        ({"threshold": 0}, "threshold must lie"),
        ({"per_task": 0}, "per_task"),
        ({"max_tokens": 1, "min_tokens": 2}, "below min_tokens"),
        ({"must_match": "("}, "no regular expression"),
        ({"keep": 1}, "no setting keep"),
    ],
)
def test_settings_that_keep_nothing_are_refused(settings, message):
    with pytest.raises(InvalidFilter, match=message):
        FilterSettings.of(settings)


def test_what_is_counted_of_ladders():
    def attempt(number, passed, response):
        return {"number": number, "passed": passed, "response": response}

    counts = ladder_metrics(
        [
            ([attempt(1, True, "a")], "passed"),
            ([attempt(1, False, "a"), attempt(2, False, "a "), attempt(3, True, "b")], "passed"),
            ([attempt(1, False, "a"), attempt(2, False, "b")], "context_full"),
            ([], "budget"),
            ([attempt(5, False, "after a probe")], "budget"),
            (
                [
                    attempt(1, False, "x"),
                    {**attempt(2, False, "x"), "reason": "verifier_error"},
                    {**attempt(3, False, "x"), "cut_by_budget": True},
                ],
                "budget",
            ),
        ]
    )
    found = {name.removeprefix("retry/"): int(n) for name, n in counts.items()}
    assert found == {
        "tasks": 5, "attempts": 10, "retries": 3, "repeated": 1, "cut_by_budget": 1, "unjudged": 1,
        "asked_1": 4, "asked_2": 2, "asked_3": 1, "asked_5": 1,
        "passed_1": 1, "passed_2": 0, "passed_3": 1, "passed_5": 0,
        "stopped_passed": 2, "stopped_context_full": 1, "stopped_budget": 3,
    }  # fmt: skip
