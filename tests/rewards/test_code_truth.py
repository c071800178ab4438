"""The verifier `code`: ground truths that are read, and those that cannot be."""

from __future__ import annotations

import json

import pytest
from code_tasks import BODY, PROMPT, RIGHT, asserts, judge, reasons


def test_helpers_of_the_prompt_are_not_the_answers_to_define() -> None:
    test = "def check(candidate):\n    assert distance(candidate([3]), 4) == 0\n"
    prompt = "def distance(a, b):\n    return abs(a - b)\n\n" + PROMPT
    truth = json.dumps(
        {"kind": "humaneval", "prompt": prompt, "test": test, "entry_point": "total"}
    )
    assert judge(BODY, truth).passed
    forged = "def distance(a, b): return 0\ndef total(xs): return 99"
    assert judge(forged, truth).reason == "wrong_answer"


@pytest.mark.parametrize(
    ("truth", "said"),
    [
        ("def f(): pass", "not JSON"),
        ("[]", "a JSON object is expected"),
        ('{"kind": "quiz"}', "none of humaneval, asserts, stdio"),
        ('{"kind": "asserts", "tests": []}', "at least one"),
        ('{"kind": "asserts", "tests": ["assert ("]}', "tests[0] is not Python"),
        ('{"kind": "asserts", "tests": ["assert 1 == 1"]}', "use nothing of the answer's"),
        ('{"kind": "asserts", "tests": ["assert f(1)"], "entry_point": "g"}', "entry_point 'g'"),
        ('{"kind": "humaneval", "prompt": "", "test": "x = 1", "entry_point": "f"}', "check"),
        ('{"kind": "stdio", "cases": [{"input": "1"}]}', "'output' must be text"),
    ],
)
def test_a_ground_truth_that_cannot_be_read_is_not_a_wrong_answer(truth: str, said: str) -> None:
    verdict = judge(RIGHT, truth)
    assert verdict.reason == "verifier_error" and said in verdict.feedback


@pytest.mark.parametrize(
    ("truth", "said"),
    [
        (asserts("def test_add():\n    assert add(1, 2) == 3"), "reaches no assert"),
        (asserts("if __name__ == '__main__':\n    assert add(1, 2) == 3"), "reaches no assert"),
        (
            asserts(
                "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n"
                "        assert add(1, 2) == 3"
            ),
            "reaches no assert",
        ),
        (
            asserts("assert add(1, 2) == 3", setup=RIGHT, entry_point="add"),
            "define entry_point 'add'",
        ),
        (asserts(f"{RIGHT}assert add(1, 2) == 3"), "define entry_point 'add'"),
    ],
)
def test_tests_that_check_nothing_of_the_answer_pass_nothing(truth: str, said: str) -> None:
    verdict = judge(RIGHT, truth)
    assert verdict.reason == "verifier_error" and said in verdict.feedback


def test_an_answer_that_leaves_nothing_to_check_is_wrong() -> None:
    truth = asserts("for x in add(1, 2):\n    assert x == 3")
    verdict = judge("def add(a, b): return []", truth)
    assert verdict.reason == "wrong_answer" and "without having reached" in verdict.feedback


def test_a_function_of_the_tests_that_they_call_is_run() -> None:
    truth = asserts("def test_add():\n    assert add(1, 2) == 3", "test_add()")
    assert judge(RIGHT, truth).passed
    assert judge("def add(a, b): return 0", truth).reason == "wrong_answer"


def test_helpers_of_the_tests_are_not_the_answers_to_define() -> None:
    forged = {
        "isclose": (
            "assert isclose(f(1), 0.5)",
            "def isclose(*a): return True\ndef f(x): return 9",
        ),
        "counter": (
            "assert Counter(f('aab')) == Counter('baa')",
            "Counter = lambda x: 0\ndef f(x): return ''",
        ),
        "set_up": ("pi = 3\nassert floor(f(1)) == pi", "floor = lambda x: 3\ndef f(x): return 9"),
        "imported": (
            "from math import isclose\nassert isclose(f(1), 0.5)",
            "def isclose(*a): return True\ndef f(x): return 9",
        ),
        "module": ("assert math.isclose(f(1), 2)", "class math:\n isclose = lambda *a: 1\nf = abs"),
    }
    assert {name: v for name, v in reasons(forged).items() if v[0] != "wrong_answer"} == {}


def test_a_helpers_name_may_be_what_is_asked_for() -> None:
    cases = {
        "isclose": ("assert isclose(f(1), 0.5)", "def f(x): return x / 2"),
        "counter": ("assert Counter(f('aab')) == Counter('baa')", "def f(x): return x[::-1]"),
        "asked_for": (
            "c = Counter()\nc.increment()\nassert c.value == 1",
            "class Counter:\n value = 0\n def increment(s): s.value += 1",
        ),
        "function": ("assert prod([2, 3]) == 6", "def prod(xs): return xs[0] * xs[1]"),
    }
    assert reasons(cases) == dict.fromkeys(cases, ("ok", ""))


def test_an_entry_point_says_which_name_is_the_answers() -> None:
    truth = asserts("e = Counter('ab')\nassert f('ab') == e", entry_point="f")
    forged = "class Counter:\n def __init__(s, x): 0\n def __eq__(s, o): return True\n"
    answer = forged + "def f(x): return Counter(x)"
    assert judge(answer, truth).reason != "ok"
    assert judge("from collections import *\nf = Counter", truth).passed


@pytest.mark.parametrize(
    ("truth", "name"),
    [
        (asserts("import numpy_of_nobody\nassert f(1) == 1"), "numpy_of_nobody"),
        (asserts("assert np.isclose(f(1), 1)"), "numpy"),
        (asserts("assert f(1) == 1", setup="from solution import f as g"), "solution"),
        (
            json.dumps(
                {
                    "kind": "humaneval",
                    "prompt": "import pandas as pd\ndef f(n):\n",
                    "test": "def check(candidate):\n    assert candidate(1) == 1",
                    "entry_point": "f",
                }
            ),
            "pandas",
        ),
    ],
)
def test_a_module_that_the_tests_lack_is_not_the_answers_fault(truth: str, name: str) -> None:
    verdict = judge("def f(n):\n    return n", truth)
    assert verdict.reason == "verifier_error" and name in verdict.feedback


def test_a_module_that_the_answer_lacks_is() -> None:
    answer = "def f(n):\n    import numpy_of_nobody\n    return n"
    verdict = judge(answer, asserts("assert f(1) == 1"))
    assert verdict.reason == "runtime_error" and "numpy_of_nobody" in verdict.feedback
