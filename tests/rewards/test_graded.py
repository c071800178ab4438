"""`graded`: the share of steps found and tests passed, beside its binary twin."""

from __future__ import annotations

import json

import pytest

import rewards
from rewards.graded import split_tests

STEPS = json.dumps({"of": "steps", "steps": ["48/2=24", "48+24=72"], "answer": "72"})


@pytest.mark.parametrize(
    ("response", "score", "reason"),
    [
        ("48 / 2 = 24, then 48 + 24 = 72.\n#### 72", 1.0, "ok"),
        ("48 / 2 = 24.\n#### 72", 2 / 3, "wrong_answer"),
        ("48 / 2 = 24.\n#### 70", 1 / 3, "wrong_answer"),
        ("48 + 24 = 72, since 48 / 2 = 24.\n#### 72", 2 / 3, "wrong_answer"),
        ("148 / 2 = 24 and 48 / 2 = 244\n#### 3", 0.0, "wrong_answer"),
        ("<think>48/2=24, 48+24=72</think>#### 72", 1 / 3, "wrong_answer"),
        ("nothing", 0.0, "wrong_answer"),
        ("", 0.0, "no_answer"),
    ],
)
def test_steps_in_their_order_and_the_answer(response: str, score: float, reason: str) -> None:
    graded = rewards.verify("graded", response, STEPS)
    assert (graded.score, graded.reason) == (pytest.approx(score), reason)
    binary = rewards.verify("graded", response, STEPS, binary=True)
    assert (binary.score, binary.passed) == (float(reason == "ok"), graded.passed)


def test_steps_without_an_answer() -> None:
    truth = json.dumps({"of": "steps", "steps": [6, "x = 7"]})
    assert rewards.verify("graded", "6 and X=7", truth).passed
    assert rewards.verify("graded", "6 and x=8", truth).score == 0.5


@pytest.mark.parametrize("text", ["0.5", "5.5", "1,5", "-5", "1/5", "5/7", "so −5", "55", "is .5"])
def test_a_step_is_no_part_of_a_longer_number(text: str) -> None:
    truth = json.dumps({"of": "steps", "steps": ["5"]})
    assert rewards.verify("graded", f"it is {text} then", truth).score == 0.0


@pytest.mark.parametrize(
    ("text", "step", "score"),
    [
        ("-2+3=5", "2+3=5", 0.0),
        ("- 2+3=5", "2+3=5", 1.0),
        ("1+1=2, 2+3=5, 5+1=6.", "2+3=5", 1.0),
        ("8 - 5", "5", 1.0),
        ("it is -5.", "-5", 1.0),
    ],
)
def test_signs_lists_and_commas_around_a_step(text: str, step: str, score: float) -> None:
    truth = json.dumps({"of": "steps", "steps": [step]})
    assert rewards.verify("graded", text, truth).score == score


def test_the_answer_is_found_as_math_finds_it() -> None:
    truth = json.dumps({"of": "steps", "steps": ["x"], "answer": "5"})
    assert rewards.verify("graded", "x. The answer is $5$.", truth).passed
    assert rewards.verify("graded", "x. The answer is $5$ or $6$.", truth).score == 0.5
    assert rewards.verify("graded", r"x = 5, so \boxed{5", truth).score == 0.5


def test_asserts_and_cases_are_split_one_by_one() -> None:
    truth = {"kind": "asserts", "setup": "import math", "tests": ["assert f(1)", "assert f(2)"]}
    assert split_tests(truth) == [
        {"kind": "asserts", "setup": "import math", "tests": ["assert f(1)"]},
        {"kind": "asserts", "setup": "import math", "tests": ["assert f(2)"]},
    ]
    cases = [{"input": "1", "output": "2"}, {"input": "2", "output": "4"}]
    assert [part["cases"] for part in split_tests({"kind": "stdio", "cases": cases})] == [
        [case] for case in cases
    ]


@pytest.mark.parametrize(
    "truth",
    [
        "no json",
        "[]",
        '{"of": "proofs"}',
        '{"of": "steps", "steps": []}',
        '{"of": "steps", "steps": [null]}',
        '{"of": "steps", "steps": ["x"], "answer": {}}',
        '{"of": "steps", "steps": ["x"], "answer": "???"}',
        "[" * 100_000,
        '{"of": "code", "truth": "assert f(1)"}',
        '{"of": "code", "truth": {"kind": "humaneval", "test": "x"}}',
        '{"of": "code", "truth": {"kind": "asserts", "tests": []}}',
    ],
)
def test_a_ground_truth_that_cannot_be_read(truth: str) -> None:
    assert rewards.verify("graded", "x", truth).reason == "verifier_error"
