"""Small tasks of our own for the verifier `code`, with their right answers."""

from __future__ import annotations

import json

import pytest

import rewards
from rewards.code.sandbox import bubblewrap_missing

needs_bubblewrap = pytest.mark.skipif(bool(bubblewrap_missing()), reason=bubblewrap_missing())
ADD = json.dumps({"kind": "asserts", "tests": ["assert add(1, 2) == 3", "assert add(2, 2) == 4"]})
RIGHT = "def add(a, b):\n    return a + b\n"
PROMPT = (
    "from typing import List\n\n\ndef shift(n: int) -> int:\n    return n + 1\n\n\n"
    'def total(xs: List[int]) -> int:\n    """The sum of xs, each shifted."""\n'
)
CHECK = "def check(candidate):\n    assert candidate([1, 2]) == 5\n    assert candidate([]) == 0\n"
HUMANEVAL = json.dumps(
    {"kind": "humaneval", "prompt": PROMPT, "test": CHECK, "entry_point": "total"}
)
BODY = "    return sum(shift(x) for x in xs)\n"
SQUARE = json.dumps(
    {"kind": "stdio", "cases": [{"input": "3\n", "output": "9\n"}, {"input": "4", "output": "16"}]}
)


def judge(response: str, truth: str = ADD, **options) -> rewards.Verdict:
    """The verdict of `code` on one answer."""
    return rewards.verify("code", response, truth, **options)


def asserts(*tests: str, **more: str) -> str:
    """The ground truth of these tests."""
    return json.dumps({"kind": "asserts", "tests": list(tests), **more})


def reasons(cases: dict[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """(reason, feedback) for each of name → (tests, answer), judged as one batch."""
    items = [("code", answer, asserts(tests), {}) for tests, answer in cases.values()]
    verdicts = rewards.verify_batch(items)
    return {name: (v.reason, v.feedback) for name, v in zip(cases, verdicts, strict=True)}
