"""The verifier `code` on small tasks of our own: right answers, each way to be wrong."""

from __future__ import annotations

import pytest
from code_tasks import ADD, BODY, HUMANEVAL, RIGHT, SQUARE, asserts, judge

import rewards
from rewards.code.sandbox import bubblewrap_missing


@pytest.mark.parametrize("place", ["bubblewrap", "rlimits"])
def test_right_answers_pass(place: str) -> None:
    if place == "bubblewrap" and bubblewrap_missing():
        pytest.skip(bubblewrap_missing())
    answers = [
        ("code", RIGHT, ADD, {"sandbox": place}),
        ("code", BODY, HUMANEVAL, {"sandbox": place}),
        ("code", "n = int(input())\nprint(n * n)", SQUARE, {"sandbox": place}),
    ]
    assert [v.reason for v in rewards.verify_batch(answers)] == ["ok"] * 3


@pytest.mark.parametrize(
    ("response", "reason", "said"),
    [
        (
            "def add(a, b): return a - b",
            "wrong_answer",
            "== 3\nexpected: 3\ngot:      -1",
        ),
        ("def add(a, b): return 3", "wrong_answer", "add(2, 2) == 4"),
        ("def add(a, b) return a", "compile_error", "line 1: SyntaxError"),
        ("def add(a, b):\n    return a + c", "runtime_error", "line 2, in add: NameError"),
        ("import os\nos._exit(0)", "runtime_error", "ended before the tests were over"),
        ("def add(a, b):\n    return bytearray(10 << 30)", "memory", "line 2, in add"),
        ("def sub(a, b): return a - b", "runtime_error", "'add' is not defined"),
        ("", "no_answer", "no program"),
        ("```json\n{}\n```", "no_answer", "no program"),
    ],
)
def test_each_way_to_be_wrong_has_its_reason(response: str, reason: str, said: str) -> None:
    verdict = judge(response)
    assert (verdict.reason, verdict.score) == (reason, 0.0)
    assert said in verdict.feedback and len(verdict.feedback) <= 2000


def test_a_program_over_its_time_is_told_which_test_it_was() -> None:
    verdict = judge("def add(a, b):\n    while a < 9: pass", seconds=0.5)
    assert verdict.reason == "timeout" and "add(1, 2)" in verdict.feedback


def test_feedback_can_be_written_to_a_file() -> None:
    verdict = judge("def add(a, b): raise ValueError('\\ud800')")
    assert verdict.reason == "runtime_error" and verdict.feedback.encode()


@pytest.mark.parametrize(
    ("tests", "answer"),
    [
        (["assert apply(lambda x: x + 1, 2) == 3"], "def apply(f, x): return f(x)"),
        (["xs = [3, 1]\norder(xs)\nassert xs == [1, 3]"], "def order(xs): xs.sort()"),
        (["assert list(count(3)) == [0, 1, 2]"], "def count(n): yield from range(n)"),
        (["g = count(9)\nassert next(g) == 0 and next(g) == 1"],
         "def count(n): return iter(range(n))"),
        (["p = Pair(1, 2)\nassert p.a == 1 and swap(p).a == 2"],
         "class Pair:\n def __init__(s, a, b): s.a, s.b = a, b\n"
         "def swap(p): return Pair(p.b, p.a)"),
        (["assert math.isclose(half(1), 0.5)"], "import math\ndef half(x): return x / 2"),
        (["try:\n    refuse(1)\n    assert False\n"
          "except ValueError as err:\n    assert str(err) == 'no'"],
         "def refuse(x): raise ValueError('no')"),
        (["assert sum(10, 15) == 6"], "def sum(a, b): return 6 if (a, b) == (10, 15) else 0"),
        (["from fractions import Fraction\nassert third() == Fraction(1, 3)"],
         "from fractions import Fraction\ndef third(): return Fraction(1, 3)"),
        (["assert same(big()) == 10 ** 5000"],
         "def big(): return 10 ** 5000\ndef same(x): return x"),
        (["assert kinds([1, 'a', 2.5, None, (1,), {1}, {'k': b'v'}, 1j], int) == 1"],
         "def kinds(xs, t): return sum(type(x) is t for x in xs)"),
    ],
)  # fmt: skip
def test_what_crosses_between_tests_and_program(tests: list[str], answer: str) -> None:
    verdict = judge(answer, asserts(*tests))
    assert verdict.passed, verdict.feedback


def test_setup_runs_before_the_tests() -> None:
    truth = asserts("assert depth(root) == 2", setup="root = Node(1)\nroot.left = Node(2)")
    node = "class Node:\n def __init__(s, v): s.v, s.left = v, None\n"
    assert judge(node + "def depth(n): return 1 + depth(n.left) if n else 0", truth).passed
