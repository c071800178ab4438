"""The verifier `code` on small tasks of our own: right answers, each way to be wrong."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rewards
from rewards.code import sandbox
from rewards.code.inside import wire
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


def _judge(response: str, truth: str = ADD, **options) -> rewards.Verdict:
    return rewards.verify("code", response, truth, **options)


def _asserts(*tests: str, **more: str) -> str:
    return json.dumps({"kind": "asserts", "tests": list(tests), **more})


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
    verdict = _judge(response)
    assert (verdict.reason, verdict.score) == (reason, 0.0)
    assert said in verdict.feedback and len(verdict.feedback) <= 2000


def test_a_program_over_its_time_is_told_which_test_it_was() -> None:
    verdict = _judge("def add(a, b):\n    while a < 9: pass", seconds=0.5)
    assert verdict.reason == "timeout" and "add(1, 2)" in verdict.feedback


@pytest.mark.parametrize(
    ("response", "reason", "said"),
    [
        ("print(9)", "wrong_answer", "case 2 of 2, input '4': line 1: expected '16', got '9'"),
        ("print('9  \\n\\n')\nprint(16)", "wrong_answer", "case 1 of 2"),
        ("n = int(input())\nassert n < 4\nprint(9)", "runtime_error", "case 2 of 2"),
        ("import sys\nsys.exit(3)", "runtime_error", "case 1 of 2"),
        ("def", "compile_error", "SyntaxError"),
        ("x = bytearray(10 << 30)", "memory", "case 1 of 2"),
        ("while True: print('x' * 1000)", "runtime_error", "bytes of output"),
    ],
)
def test_programs_are_compared_case_by_case(response: str, reason: str, said: str) -> None:
    verdict = _judge(response, SQUARE)
    assert verdict.reason == reason and said in verdict.feedback


def test_white_space_at_the_ends_does_not_count() -> None:
    truth = json.dumps({"kind": "stdio", "cases": [{"input": "", "output": "a\nb\n"}]})
    assert _judge("print('a  ')\nprint('b')\nprint()", truth).passed
    assert not _judge("print(' a')\nprint('b')", truth).passed


def test_each_case_has_its_own_time() -> None:
    cases = [{"input": "", "output": "1"}] * 10
    slow = (
        "import time\ne = time.process_time() + 0.25\nwhile time.process_time() < e: pass\nprint(1)"
    )
    assert _judge(slow, json.dumps({"kind": "stdio", "cases": cases}), seconds=2).passed


@pytest.mark.parametrize(
    "response",
    [
        BODY,
        BODY.strip(),
        f"```python\n{PROMPT}{BODY}```",
        f"```python\ndef total(xs):\n{BODY}```\nFor example:\n```python\nprint(total([1]))\n```",
        f"Think.\n```python\ndef total(xs): return 0\n```</think>```py\ndef total(xs):\n{BODY}```",
        f"```\ndef total(xs):\n{BODY}```",
        f"~~~python\ndef total(xs):\n{BODY}",
        f"```python\ndef total(xs): return 0\n```\nBetter:\n```python\ndef total(xs):\n{BODY}```",
        f"def total(xs):\n{BODY}\n\nif __name__ == '__main__':\n    print(total(input()))",
    ],
)
def test_the_program_is_found_in_the_response(response: str) -> None:
    verdict = _judge(response, HUMANEVAL)
    assert verdict.passed, verdict.feedback


_PLUS = "def add(a, b):\n    return a + b\n"
_INDENTED = _PLUS.replace("def", "   def").replace("    return", "       return")


@pytest.mark.parametrize(
    "response",
    [
        f"1. ```python\n{_INDENTED}   ```\n2. Done.",
        f"- Here:\n\n   ```python\n{_INDENTED}   ```",
        f"1. ```python\n{_PLUS}```",
        f"```python:solution.py\n{_PLUS}```",
        f'````python\nnote = """\n```\n"""\n{_PLUS}````',
        f"```python\n{_PLUS}    s = '</think>'\n```",
        f"<think>```python\nx = 1\n</think>\n```python\n{_PLUS}```",
        f"```python\n{_PLUS}```\n```python\nfrom solution import add\nprint(add(1, 2))\n```",
        f"```python\nfrom __future__ import annotations\n{_PLUS}```",
        f"from __future__ import annotations\nfrom dataclasses import dataclass\n"
        f"@dataclass\nclass P:\n    x: int\n{_PLUS}",
    ],
)
def test_fences_are_read_as_models_write_them(response: str) -> None:
    verdict = _judge(response)
    assert verdict.passed, verdict.feedback


def test_an_example_of_output_is_not_the_program() -> None:
    answer = (
        "```\nn = int(input())\nprint(n * n)\n```\nIt prints:\n```\n9\n```\nor\n```\n-1, X\n```"
    )
    assert _judge(answer, SQUARE).passed


def test_an_answer_may_import_from_the_future_after_a_prompt() -> None:
    verdict = _judge(f"from __future__ import annotations\ndef total(xs: Many):\n{BODY}", HUMANEVAL)
    assert verdict.passed, verdict.feedback


def test_feedback_can_be_written_to_a_file() -> None:
    verdict = _judge("def add(a, b): raise ValueError('\\ud800')")
    assert verdict.reason == "runtime_error" and verdict.feedback.encode()


def test_helpers_of_the_prompt_are_not_the_answers_to_define() -> None:
    test = "def check(candidate):\n    assert distance(candidate([3]), 4) == 0\n"
    prompt = "def distance(a, b):\n    return abs(a - b)\n\n" + PROMPT
    truth = json.dumps(
        {"kind": "humaneval", "prompt": prompt, "test": test, "entry_point": "total"}
    )
    assert _judge(BODY, truth).passed
    forged = "def distance(a, b): return 0\ndef total(xs): return 99"
    assert _judge(forged, truth).reason == "wrong_answer"


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
    verdict = _judge(answer, _asserts(*tests))
    assert verdict.passed, verdict.feedback


def test_setup_runs_before_the_tests() -> None:
    truth = _asserts("assert depth(root) == 2", setup="root = Node(1)\nroot.left = Node(2)")
    node = "class Node:\n def __init__(s, v): s.v, s.left = v, None\n"
    assert _judge(node + "def depth(n): return 1 + depth(n.left) if n else 0", truth).passed


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
    verdict = _judge(RIGHT, truth)
    assert verdict.reason == "verifier_error" and said in verdict.feedback


@pytest.mark.parametrize(
    ("truth", "said"),
    [
        (_asserts("def test_add():\n    assert add(1, 2) == 3"), "reaches no assert"),
        (_asserts("if __name__ == '__main__':\n    assert add(1, 2) == 3"), "reaches no assert"),
        (
            _asserts(
                "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n"
                "        assert add(1, 2) == 3"
            ),
            "reaches no assert",
        ),
        (
            _asserts("assert add(1, 2) == 3", setup=RIGHT, entry_point="add"),
            "define entry_point 'add'",
        ),
        (_asserts(f"{RIGHT}assert add(1, 2) == 3"), "define entry_point 'add'"),
    ],
)
def test_tests_that_check_nothing_of_the_answer_pass_nothing(truth: str, said: str) -> None:
    verdict = _judge(RIGHT, truth)
    assert verdict.reason == "verifier_error" and said in verdict.feedback


def test_an_answer_that_leaves_nothing_to_check_is_wrong() -> None:
    truth = _asserts("for x in add(1, 2):\n    assert x == 3")
    verdict = _judge("def add(a, b): return []", truth)
    assert verdict.reason == "wrong_answer" and "without having reached" in verdict.feedback


def test_a_function_of_the_tests_that_they_call_is_run() -> None:
    truth = _asserts("def test_add():\n    assert add(1, 2) == 3", "test_add()")
    assert _judge(RIGHT, truth).passed
    assert _judge("def add(a, b): return 0", truth).reason == "wrong_answer"


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match="no option"):
        _judge(RIGHT, timeout=3)
    with pytest.raises(ValueError, match="none of"):
        _judge(RIGHT, sandbox="docker")
    with pytest.raises(ValueError, match="above 0"):
        _judge(RIGHT, seconds=0)
    assert _judge(RIGHT, max_chars=10).reason == "malformed"
    with pytest.raises(ValueError, match="above 0"):
        rewards.verify_batch([("code", "def add(", ADD, {}), ("code", RIGHT, ADD, {"seconds": -1})])


def test_the_number_of_sandboxes_is_checked(monkeypatch) -> None:
    monkeypatch.setenv("VERL_PI_SANDBOXES", "none")
    with pytest.raises(ValueError, match="VERL_PI_SANDBOXES"):
        sandbox.slot_count()


def test_a_fork_waits_for_no_lock_that_a_thread_held() -> None:
    """A thread holds every slot and the registry's lock while the process forks."""
    child = """
import os, signal, threading
import rewards
from rewards import registry
from rewards.code import sandbox
held, over = threading.Event(), threading.Event()
def hold():
    with registry._lock, sandbox.slots():
        held.set()
        over.wait()
threading.Thread(target=hold).start()
held.wait()
pid = os.fork()
if pid == 0:
    signal.alarm(30)
    verdict = rewards.verify("code", "print(1)", %r)
    os._exit(0 if verdict.passed else 1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
over.set()
"""
    truth = json.dumps({"kind": "stdio", "cases": [{"input": "", "output": "1"}]})
    done = subprocess.run(
        [sys.executable, "-c", child % truth],
        env={**os.environ, "VERL_PI_SANDBOXES": "1", "VERL_PI_VERIFIER_CACHE": "0"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "0", done.stderr


@needs_bubblewrap
@pytest.mark.parametrize("working", [0, 1])
@pytest.mark.parametrize(("answer", "truth"), [(RIGHT, ADD), ("print(int(input()) ** 2)", SQUARE)])
def test_a_sandbox_that_does_not_start_is_not_the_answers_fault(
    monkeypatch, tmp_path, working: int, answer: str, truth: str
) -> None:
    """bwrap fails from its call number `working` on, as when no more processes are permitted."""
    fails = tmp_path / "bwrap"
    fails.write_text(
        f"#!/bin/sh\necho >> {tmp_path}/calls\n"
        f'[ $(wc -l < {tmp_path}/calls) -le {working} ] && exec bwrap "$@"\n'
        "echo 'bwrap: Creating new namespace failed: Resource temporarily unavailable' >&2\n"
        "exit 1\n"
    )
    fails.chmod(0o755)
    answer = f"{answer}\n# {working}"  # a known answer is not run again
    with monkeypatch.context() as changed:
        changed.setattr(sandbox, "_bwrap", functools.partial(_with_first, str(fails)))
        changed.setattr(sandbox, "bubblewrap_missing", lambda: "")
        verdict = _judge(answer, truth, sandbox="bubblewrap")
        assert verdict.reason == "verifier_error" and "not start" in verdict.feedback
    assert _judge(answer, truth, sandbox="bubblewrap").passed  # not remembered


def _with_first(first: str, command=sandbox._bwrap) -> list[str]:
    return [first, *command()[1:]]


def test_numbers_may_have_many_digits() -> None:
    truth = json.dumps({"kind": "stdio", "cases": [{"input": "", "output": "9" * 5000}]})
    assert _judge("print(10 ** 5000 - 1)", truth).passed


def test_a_batch_keeps_its_order_and_runs_beside_an_event_loop() -> None:
    answers = [("code", RIGHT if i % 2 else "def add(a, b): return 0", ADD, {}) for i in range(6)]
    verdicts = asyncio.run(rewards.averify_batch(answers))
    assert [v.passed for v in verdicts] == [False, True] * 3


def test_without_bubblewrap_limits_alone_serve_and_say_so_once(monkeypatch, caplog) -> None:
    monkeypatch.setattr(sandbox, "bubblewrap_missing", lambda: f"not installed: {sandbox.INSTALL}")
    sandbox._warn_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        for number in range(2):  # another text each: a known answer is not run again
            assert _judge(f"{RIGHT}\n# without bubblewrap {number}").passed
    assert [r.getMessage().count("apt-get install bubblewrap") for r in caplog.records] == [1]
    with pytest.raises(rewards.RewardsError, match="apt-get install bubblewrap"):
        _judge(f"{RIGHT}\n# bubblewrap or nothing", sandbox="bubblewrap")


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.complex_numbers() | st.text()
    | st.binary() | st.just(int) | st.just("\ud800"),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner)
    | st.sets(st.integers()) | st.frozensets(st.text()),
    max_leaves=12,
)  # fmt: skip


unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@unhurried
@given(_PLAIN)
def test_plain_data_arrives_as_it_was(value) -> None:
    found = wire.decode(wire.encode(value, None), None)
    assert _shape(found) == _shape(value)


def _shape(value):
    """The value with its types, so that 1, True and 1.0 differ, and NaN is like NaN."""
    if isinstance(value, set | frozenset):
        return type(value), sorted(map(repr, value))
    if isinstance(value, list | tuple):
        return type(value), [_shape(item) for item in value]
    if isinstance(value, dict):
        return dict, [(_shape(key), _shape(item)) for key, item in value.items()]
    return type(value), repr(value)


@unhurried
@given(st.binary(max_size=200))
def test_any_bytes_are_a_value_or_an_error_of_the_wire(data: bytes) -> None:
    with contextlib.suppress(wire.WireError, ValueError):
        wire.decode(data, lambda ref: ref)
