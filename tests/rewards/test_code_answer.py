"""The verifier `code`: which text of a response is the program."""

from __future__ import annotations

import pytest
from code_tasks import BODY, HUMANEVAL, PROMPT, SQUARE, judge


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
    verdict = judge(response, HUMANEVAL)
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
    verdict = judge(response)
    assert verdict.passed, verdict.feedback


def test_an_example_of_output_is_not_the_program() -> None:
    answer = (
        "```\nn = int(input())\nprint(n * n)\n```\nIt prints:\n```\n9\n```\nor\n```\n-1, X\n```"
    )
    assert judge(answer, SQUARE).passed


def test_an_answer_may_import_from_the_future_after_a_prompt() -> None:
    verdict = judge(f"from __future__ import annotations\ndef total(xs: Many):\n{BODY}", HUMANEVAL)
    assert verdict.passed, verdict.feedback
