"""The verifier `reasoning_gym`: the scorers of reasoning-gym's 105 procedural task families."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from rewards.reasoning_gym import scoring, tasks
from rewards.verdict import Verdict

_EXTRACT = ("auto", "answer", "boxed", "text")
_MAX_CHARS = 100_000


class ReasoningGymVerifier:
    """Scores an answer as its task family does.

    Options of a call: pass_at (1.0: the score from which an answer passes), extract ("auto",
    "answer", "boxed", "text": where the answer is), max_chars (100,000). Raises
    ReasoningGymMissingError, with the command, without the package.
    """

    OPTIONS = frozenset({"pass_at", "extract", "max_chars"})
    ISOLATION = "process"
    SECONDS = 20.0
    MEMORY_MB = 2048
    CACHEABLE = True

    def __init__(self) -> None:
        tasks.library()  # workers that are forked from here have it already

    def __call__(self, response: str, ground_truth: str, **extra: Any) -> Verdict:
        started = time.monotonic()
        _check(extra)
        answer = _extract(response, extra)
        if isinstance(answer, Verdict):
            return answer
        try:
            dataset, name, entry = tasks.task_of(ground_truth)
        except tasks.GroundTruthError as err:
            return Verdict.failed("verifier_error", f"the ground truth cannot be used: {err}")
        refusal = scoring.refusal(name, answer)
        if refusal:
            return Verdict.failed("malformed", refusal, time.monotonic() - started)
        try:
            score = scoring.score_of(dataset, name, entry, answer)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as err:
            text = f"the answer does not have the form that {name} asks for ({type(err).__name__})"
            return Verdict.failed("wrong_answer", text, time.monotonic() - started)
        return _verdict(score, float(extra.get("pass_at", 1.0)), time.monotonic() - started)


def _check(options: Mapping[str, Any]) -> None:
    if options.get("extract", "auto") not in _EXTRACT:
        raise ValueError(f"extract={options['extract']!r} is none of {', '.join(_EXTRACT)}")
    if not 0 < float(options.get("pass_at", 1.0)) <= 1:
        raise ValueError(f"pass_at={options['pass_at']!r} is not in (0, 1]")


def _extract(response: str, options: Mapping[str, Any]) -> str | Verdict:
    limit = int(options.get("max_chars", _MAX_CHARS))
    if len(response) > limit:
        return Verdict.failed("malformed", f"the response has more than {limit} characters")
    where = options.get("extract", "auto")
    text = response.rpartition("</think>")[2]
    found = None
    if where in ("auto", "answer"):
        found = _tagged(text)
    if found is None and where in ("auto", "boxed"):
        found = _boxed(text)
    if found is None and where in ("auto", "text"):
        found = text
    found = (found or "").strip()
    return found or Verdict.failed("no_answer", f"no answer was found (extract={where})")


def _tagged(text: str) -> str | None:
    """What stands in the last `<answer>…</answer>`."""
    end = text.rfind("</answer>")
    start = text.rfind("<answer>", 0, max(end, 0))
    return text[start + len("<answer>") : end] if start >= 0 else None


def _boxed(text: str) -> str | None:
    """What stands in the last `\\boxed{…}`, braces balanced."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    start += len("\\boxed{")
    depth = 1
    for place in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[start:place]
    return None


def _verdict(score: float, pass_at: float, seconds: float) -> Verdict:
    if score >= pass_at:
        return Verdict(True, score, "ok", "", seconds)
    feedback = f"the answer scores {score:g}" if score > 0 else "the answer is wrong"
    return Verdict.failed("wrong_answer", feedback, seconds, score)
