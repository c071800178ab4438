"""The verifier `code` on programs that read standard input."""

from __future__ import annotations

import json

import pytest
from code_tasks import SQUARE, judge

import rewards
from rewards.code.sandbox import bubblewrap_missing


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
    verdict = judge(response, SQUARE)
    assert verdict.reason == reason and said in verdict.feedback


def test_white_space_at_the_ends_does_not_count() -> None:
    truth = json.dumps({"kind": "stdio", "cases": [{"input": "", "output": "a\nb\n"}]})
    assert judge("print('a  ')\nprint('b')\nprint()", truth).passed
    assert not judge("print(' a')\nprint('b')", truth).passed


def test_each_case_has_its_own_time() -> None:
    cases = [{"input": "", "output": "1"}] * 5
    slow = (
        "import time\ne = time.process_time() + 0.25\nwhile time.process_time() < e: pass\nprint(1)"
    )
    assert judge(slow, json.dumps({"kind": "stdio", "cases": cases}), seconds=1).passed


def test_numbers_may_have_many_digits() -> None:
    truth = json.dumps({"kind": "stdio", "cases": [{"input": "", "output": "9" * 5000}]})
    assert judge("print(10 ** 5000 - 1)", truth).passed


#: Ways to read "3" and "4" from standard input, as programs of contests do.
READERS = {
    "open_0": "print(sum(map(int, open(0).read().split())))",
    "open_0_twice": "import sys\nsys.stdin = open(0)\nprint(int(input()) + int(input()))",
    "device": "print(sum(map(int, open('/dev/stdin').read().split())))",
    "descriptor": "print(sum(map(int, open('/proc/self/fd/0').read().split())))",
    "buffer": "import sys\nprint(sum(map(int, sys.stdin.buffer.read().split())))",
    "os_read": "import os\nprint(sum(map(int, os.read(0, os.fstat(0).st_size).split())))",
    "mmap": "import mmap\nprint(sum(map(int, mmap.mmap(0, 0, prot=1)[:].split())))",
    "mixed": "import sys\nprint(int(input()) + int(sys.stdin.readline()))",
    "to_device": "open('/dev/stdout', 'w').write(str(int(input()) + int(input())))",
}


@pytest.mark.parametrize("place", ["bubblewrap", "rlimits"])
def test_standard_input_is_read_in_every_way(place: str) -> None:
    if place == "bubblewrap" and bubblewrap_missing():
        pytest.skip(bubblewrap_missing())
    truth = json.dumps({"kind": "stdio", "cases": [{"input": "3\n4\n", "output": "7"}]})
    verdicts = rewards.verify_batch(
        [("code", text, truth, {"sandbox": place}) for text in READERS.values()]
    )
    said = {name: v.feedback for name, v in zip(READERS, verdicts, strict=True)}
    assert said == dict.fromkeys(READERS, "")
    assert all(v.passed for v in verdicts)


def test_all_cases_together_have_a_time() -> None:
    cases = [{"input": str(n), "output": "1"} for n in range(50)]
    truth = json.dumps({"kind": "stdio", "cases": cases})
    verdict = judge("import time\ntime.sleep(0.2)\nprint(1)", truth, total_seconds=0.5)
    assert verdict.reason == "timeout" and verdict.seconds < 10
    assert "of 50" in verdict.feedback and "together took more than 0.5 s" in verdict.feedback
    with pytest.raises(ValueError, match="total_seconds"):
        judge("print(1)", truth, total_seconds=0)
