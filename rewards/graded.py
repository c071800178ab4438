"""The verifier `graded`: partial credit, the score is the share of tests passed or steps found.

The ground truth is a JSON object: ``{"of": "code", "truth": {...}}``, where `truth` is one of the
`code` verifier, or ``{"of": "steps", "steps": [...], "answer": ...}``. With the option
`binary` the same extraction and the same checks give a score of 0 or 1, so that the two can be
compared.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rewards.answers import after_thinking, shown
from rewards.verdict import Verdict

_MAX_CHARS = 1_000_000
_MAX_TESTS = 100


class GradedVerifier:
    """Scores by parts; passed only where every part is right.

    Options of a call: binary (False: score 1 or 0), seconds (of each single test or comparison,
    passed to the verifier that runs it), max_chars (1,000,000).
    """

    OPTIONS = frozenset({"binary", "seconds", "max_chars"})
    ISOLATION = "own"
    CACHEABLE = True

    def __call__(self, response: str, ground_truth: str, **extra: Any) -> Verdict:
        begun = time.perf_counter()
        try:
            truth = _read(ground_truth)
        except RecursionError:
            return Verdict.failed("verifier_error", "the ground truth is nested too deep")
        except ValueError as err:
            return Verdict.failed("verifier_error", f"the ground truth cannot be read: {err}")
        if len(response) > int(extra.get("max_chars", _MAX_CHARS)):
            return Verdict.failed("malformed", "the response is too long")
        if not response.strip():
            return Verdict.failed("no_answer", "the response is empty")
        options = {"seconds": extra["seconds"]} if "seconds" in extra else {}
        if truth["of"] == "code":
            verdict = _grade_code(response, truth["truth"], options)
        else:
            verdict = _grade_steps(response, truth, options)
        score = verdict.score
        if extra.get("binary", False) and not verdict.passed:
            score = 0.0
        seconds = time.perf_counter() - begun
        return Verdict(verdict.passed, score, verdict.reason, verdict.feedback, seconds)


def _read(ground_truth: str) -> dict[str, Any]:
    truth = json.loads(ground_truth)
    if not isinstance(truth, dict) or truth.get("of") not in ("code", "steps"):
        raise ValueError('it must be a JSON object with "of": "code" or "steps"')
    if truth["of"] == "code":
        if not isinstance(truth.get("truth"), dict):
            raise ValueError('"truth" must be a ground truth of the code verifier')
        split_tests(truth["truth"])
        return truth
    steps = truth.get("steps")
    if not isinstance(steps, list) or not steps:
        raise ValueError('"steps" must be a list that is not empty')
    if not all(isinstance(step, str | int | float) and str(step).strip() for step in steps):
        raise ValueError('"steps" must be texts or numbers')
    answer = truth.get("answer")
    if isinstance(answer, bool) or not isinstance(answer, str | int | float | None):
        raise ValueError('"answer" must be a text or a number')
    return truth


def split_tests(truth: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One ground truth of the code verifier for each assert or case of `truth`.

    Raises ValueError where it has none: HumanEval's one test function cannot be split.
    """
    lists = {"asserts": "tests", "stdio": "cases"}
    key = lists.get(str(truth.get("kind")))
    if key is None:
        raise ValueError(f'kind {truth.get("kind")!r} cannot be graded; "asserts" and "stdio" can')
    parts = truth.get(key)
    if not isinstance(parts, list) or not 0 < len(parts) <= _MAX_TESTS:
        raise ValueError(f'"{key}" must be a list of 1 to {_MAX_TESTS}')
    return [{**truth, key: [part]} for part in parts]


def _grade_code(response: str, truth: Mapping[str, Any], options: Mapping[str, Any]) -> Verdict:
    tests = split_tests(truth)
    return _sum_up(_verify([("code", response, json.dumps(test), options) for test in tests]))


def _grade_steps(response: str, truth: Mapping[str, Any], options: Mapping[str, Any]) -> Verdict:
    """The steps that the response has, in their order, and its answer, each with equal weight."""
    steps = [str(step) for step in truth["steps"]]
    found = _in_order(after_thinking(response), steps)
    parts = [Verdict.ok() for _ in range(found)]
    parts += [
        Verdict.failed("wrong_answer", "a step is missing, or not in its place")
        for _ in range(len(steps) - found)
    ]
    if truth.get("answer") is not None:
        options = {**options, "max_chars": max(len(response), 1)}  # ours has been looked at
        parts += _verify([("math", response, str(truth["answer"]), options)])
    return _sum_up(parts)


def _in_order(text: str, steps: Sequence[str]) -> int:
    """How many steps occur one after the other, up to the first that does not."""
    text = _plain(text)
    place = 0
    for count, step in enumerate(steps):
        place = _find(text, _plain(step), place)
        if place < 0:
            return count
    return len(steps)


def _find(text: str, step: str, place: int) -> int:
    """Where the first `step` from `place` on ends; no part of a longer number or word counts."""
    while (at := text.find(step, place)) >= 0:
        end = at + len(step)
        if not _joined_before(text[max(0, at - 2) : at], step[0]) and not _joined_after(
            text[end : end + 2], step[-1]
        ):
            return end
        place = at + 1
    return -1


def _joined_before(before: str, first: str) -> bool:
    """Whether a longer number or word ends in what begins with `first`: ``0.5``, ``-5``, ``1/5``.

    A minus sign after a number or bracket subtracts: ``8-5`` has the number 5.
    """
    if not first.isalnum() or not before:
        return False
    sign, left = before[-1], before[-2:-1]
    if sign.isalnum():
        return True
    if not first.isdigit():
        return False
    return sign == "." or (sign in ",/" and left.isdigit()) or (sign == "-" and left not in _LEFT)


def _joined_after(after: str, last: str) -> bool:
    if not last.isalnum() or not after:
        return False
    return after[0].isalnum() or (last.isdigit() and after[0] in ".,/" and after[1:].isdigit())


_LEFT = frozenset("0123456789)]}")


def _plain(text: str) -> str:
    """Without case, and with no blanks but those between two words or numbers.

    A dash that opens a line is no sign, and a comma before a blank parts two numbers.
    """
    text = re.sub(r"^[ \t]*[-*•][ \t]+", "", text.replace("−", "-"), flags=re.MULTILINE)
    text = re.sub(r"(?<=\d),\s+(?=[\d-])", "; ", text)
    return re.sub(r" ?([^\w\s]) ?", r"\1", " ".join(text.split())).casefold()


def _verify(items: list[tuple[str, str, str, Mapping[str, Any]]]) -> list[Verdict]:
    from rewards import verify_batch

    return verify_batch(items)


def _sum_up(parts: list[Verdict]) -> Verdict:
    """One verdict: the first failure's reason and words, and the share that passed."""
    broken = next((part for part in parts if part.reason == "verifier_error"), None)
    if broken is not None:
        return broken
    wrong = [part for part in parts if not part.passed]
    if not wrong:
        return Verdict.ok()
    done = len(parts) - len(wrong)
    said = f"{done} of {len(parts)} are right. {shown(wrong[0].feedback, 2000)}".strip()
    return Verdict.failed(wrong[0].reason, said, score=done / len(parts))
