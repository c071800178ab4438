"""`exact` and `regex`: the answer as text."""

from __future__ import annotations

import pytest

import rewards
from rewards.text import ExactVerifier, RegexVerifier


@pytest.mark.parametrize(
    ("response", "truth", "options", "reason"),
    [
        ("Paris", "Paris", {}, "ok"),
        ("  Paris\n", "Paris", {}, "ok"),
        ("paris", "Paris", {}, "wrong_answer"),
        ("paris", "Paris", {"case_sensitive": False}, "ok"),
        ("STRASSE", "straße", {"case_sensitive": False}, "ok"),
        (" Paris", "Paris", {"strip": False, "normalise": False}, "wrong_answer"),
        ("New\u00a0 York", "New York", {}, "ok"),
        ("ﬁne", "fine", {}, "ok"),
        ("ﬁne", "fine", {"normalise": False}, "wrong_answer"),
        ("<think>Rome</think>Paris", "Paris", {}, "ok"),
        ("I think\nParis", "Paris", {}, "wrong_answer"),
        ("I think\nParis\n\n", "Paris", {"extract": "line"}, "ok"),
        (r"so \boxed{Paris}", "Paris", {"extract": "boxed"}, "ok"),
        ("so Paris", "Paris", {"extract": "boxed"}, "no_answer"),
        ("#### 5\nno, wait\n#### 6", "6", {"prefix": "####"}, "ok"),
        ("#### 5\nno, wait\n#### 6", "5", {"prefix": "####"}, "wrong_answer"),
        ("6", "6", {"prefix": "####"}, "no_answer"),
        ("", "6", {}, "no_answer"),
        ("6", " ", {}, "verifier_error"),
        ("6" * 20, "6", {"max_chars": 10}, "malformed"),
    ],
)
def test_exact(response: str, truth: str, options: dict, reason: str) -> None:
    assert ExactVerifier()(response, truth, **options).reason == reason


def test_exact_keeps_the_right_answer_to_itself() -> None:
    assert "Paris" not in ExactVerifier()("Rome", "Paris").feedback
    assert "Paris" in ExactVerifier()("Rome", "Paris", show_answer=True).feedback


@pytest.mark.parametrize(
    ("response", "pattern", "options", "reason"),
    [
        ("abc-12", r"[a-z]+-\d+", {}, "ok"),
        ("see abc-12", r"[a-z]+-\d+", {}, "wrong_answer"),
        ("see abc-12", r"[a-z]+-\d+", {"match": "search"}, "ok"),
        ("anything", r"(42)?", {"match": "search"}, "verifier_error"),
        ("ABC", "abc", {"ignore_case": True}, "ok"),
        ("x\nANSWER: 12 ", r"\d+", {"prefix": "ANSWER:"}, "ok"),
        ("12", "(", {}, "verifier_error"),
        ("12", "a{99999999999}", {}, "verifier_error"),
        ("12", "", {}, "verifier_error"),
        ("  ", ".*", {}, "no_answer"),
    ],
)
def test_regex(response: str, pattern: str, options: dict, reason: str) -> None:
    assert RegexVerifier()(response, pattern, **options).reason == reason


def test_a_value_that_an_option_has_not_is_an_error() -> None:
    with pytest.raises(ValueError, match="match='find'"):
        RegexVerifier()("a", "a", match="find")


def test_a_pattern_that_backtracks_without_end_is_ended() -> None:
    items = [
        ("regex", "a" * 40 + "!", r"(a+)+", {"seconds": 0.5}),
        ("regex", "aaa", r"(a+)+", {}),
        ("exact", "aaa", "aaa", {}),
    ]
    assert [verdict.reason for verdict in rewards.verify_batch(items)] == ["timeout", "ok", "ok"]
