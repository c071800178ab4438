r"""The verifier `math`: is the answer of this response equal to that one?

Extraction is ours (`rewards.answers`); reading LaTeX and comparing expressions is math-verify's,
with its signals off: this verifier runs in a worker process that is ended when a call takes too
long, and `9^{9^{9^9}}` does take too long.

The comparison is in `rewards.math.compare`.
"""

from __future__ import annotations

import re
import time
from typing import Any

from rewards.answers import (
    after_thinking,
    choice,
    last_boxed,
    last_number,
    said_answer,
    shown,
    stated,
)
from rewards.math.compare import answers_equal, readable, warm_up
from rewards.verdict import Verdict

_ANSWER_CHARS = 2000


class MathVerifier:
    r"""Compares answers by math-verify.

    Options of a call: extract ("auto": the last box, else what follows ``####``, else what
    follows "answer is", else the last number; "boxed": the last box alone), decimals (6: to how
    many a decimal fraction is compared), relations_as_sets (False: whether ``1 \le x < 2`` also is
    right where the answer is ``[1, 2)``), show_answer (False: whether feedback of a wrong
    answer may say the right one), max_chars (1,000,000, of the response), seconds (10).
    """

    OPTIONS = frozenset(
        {"extract", "decimals", "relations_as_sets", "show_answer", "max_chars", "seconds"}
    )
    ISOLATION = "process"
    SECONDS = 10.0
    MEMORY_MB = 1024
    CACHEABLE = True

    def __init__(self) -> None:
        warm_up()

    def __call__(self, response: str, ground_truth: str, **extra: Any) -> Verdict:
        begun = time.perf_counter()
        how = choice("math", "extract", extra.get("extract", "auto"), ("auto", "boxed"))
        if len(response) > int(extra.get("max_chars", 1_000_000)):
            return Verdict.failed("malformed", "the response is too long")
        gold = gold_answer(ground_truth)
        if gold is None or not readable(gold):
            return Verdict.failed("verifier_error", "the ground truth holds no readable answer")
        answer = find_answer(response, how)
        if answer is None:
            return Verdict.failed("no_answer", _MISSING[how], time.perf_counter() - begun)
        if len(answer) > _ANSWER_CHARS:
            return Verdict.failed("malformed", f"the answer is over {_ANSWER_CHARS} characters")
        rules = int(extra.get("decimals", 6)), bool(extra.get("relations_as_sets", False))
        right = answers_equal(gold, answer, *rules)
        seconds = time.perf_counter() - begun
        if right:
            return Verdict.ok(seconds)
        said = f"the answer {shown(answer)} is not right"
        if extra.get("show_answer", False):
            said += f"; it is {gold}"
        return Verdict.failed("wrong_answer", said, seconds)


_MISSING = {
    "auto": r"no answer was found: put the final answer in \boxed{}",
    "boxed": r"no complete \boxed{} was found: put the final answer in one",
}


def find_answer(response: str, how: str = "auto") -> str | None:
    r"""The text of the answer, or None. `how` is "auto" or "boxed"."""
    text = after_thinking(response)
    if how == "boxed" or "\\boxed" in text or "\\fbox" in text:
        found = last_boxed(text)
    else:
        found = _marked(text) or said_answer(text) or last_number(text)
    return _trimmed(found) or None if found is not None else None


def gold_answer(ground_truth: str) -> str | None:
    r"""The answer in a ground truth: what is in its box if it has one, else all of it."""
    found = last_boxed(ground_truth) if "\\boxed" in ground_truth else ground_truth
    return _trimmed(found) or None if found is not None else None


def _marked(text: str) -> str | None:
    """What follows the last ``####``, past a heading such as "Final Answer"."""
    _, found, after = text.rpartition("####")
    return stated(_HEADING.sub("", after[:_LINE], count=1), sentence=False) if found else None


def _trimmed(text: str) -> str:
    """Without what only dresses an answer: dollars, bold type, currency and degree signs."""
    text = text.strip()
    while len(text) <= _ANSWER_CHARS and (match := _DRESSED.fullmatch(text)):
        text = next(group for group in match.groups() if group is not None).strip()
    return text


_LINE = 5000
_HEADING = re.compile(
    r"\A[\s*]*(?:the\s{1,3})?(?:final\s{1,3})?answer\b(?:\s{1,3}is\b)?[\s*:]*", re.IGNORECASE
)
_DRESSED = re.compile(
    r"\${1,2}([^$]*[^$\\])\${1,2}|\\\(((?:(?!\\\)).)*)\\\)|\\\[((?:(?!\\\]).)*)\\\]"
    r"|\\(?:boldsymbol|mathbf|bm|textbf)\s*\{([^{}]*)\}"
    r"|(?:\\?\$|[€£¥])\s*(-?[\d.][^$]*)|(.*\d)\s*°",
    re.DOTALL,
)
