"""On published data: solutions against their own answers, and against other rows' answers."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest

import rewards
from rewards.answers import after_marker, last_boxed

pytestmark = pytest.mark.conformance


def _rows(name: str) -> list[dict]:
    path = Path(os.environ["VERL_PI_DATA"]) / name / "train.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _math() -> tuple[list[str], list[str]]:
    solutions = [row["solution"] for row in _rows("math")]
    return solutions, [last_boxed(solution) or "" for solution in solutions]


def _gsm8k() -> tuple[list[str], list[str]]:
    solutions = [row["answer"] for row in _rows("gsm8k")]
    return solutions, [after_marker(solution, "####") or "" for solution in solutions]


def _derangement(answers: list[str]) -> list[str]:
    """Every row gets another row's answer: a seeded cycle through all of them."""
    order = list(range(len(answers)))
    random.Random(7).shuffle(order)
    shuffled = [""] * len(answers)
    for here, there in zip(order, [*order[1:], order[0]], strict=True):
        shuffled[here] = answers[there]
    return shuffled


def _passed(solutions: list[str], answers: list[str]) -> float:
    items = [("math", text, truth, {}) for text, truth in zip(solutions, answers, strict=True)]
    verdicts = rewards.verify_batch(items)
    return sum(verdict.passed for verdict in verdicts) / len(verdicts)


@pytest.mark.parametrize(("load", "rows"), [(_math, 7500), (_gsm8k, 7473)])
def test_solutions_pass_with_their_own_answers(load, rows: int) -> None:
    solutions, answers = load()
    assert len(solutions) == rows
    share = _passed(solutions, answers)
    print(f"{load.__name__}: {share:.2%} pass with their own answer")
    assert share >= 0.995


@pytest.mark.parametrize("load", [_math, _gsm8k])
def test_solutions_hardly_ever_pass_with_another_rows_answer(load) -> None:
    solutions, answers = load()
    other = _derangement(answers)
    # Two rows may have the same answer, above all small numbers: those are no false passes.
    differ = [place for place, answer in enumerate(answers) if answer != other[place]]
    share = _passed([solutions[i] for i in differ], [other[i] for i in differ])
    print(f"{load.__name__}: {share:.2%} of {len(differ)} pass with another row's answer")
    assert share <= 0.01
