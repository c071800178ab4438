"""Kinds of privileged information that come from attempts: what a checker said, and what a model
wrote on seeing one.

Attempts are what `python -m data_prep frontier` writes beside its rows (`AttemptsFile`), or traces
of tool use. `generate` is any function from conversations to texts: `data_prep.generate` has one
for a local model and one for an OpenAI-compatible endpoint.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from data_prep.errors import DataError
from data_prep.pi.builder import Row

Messages = list[dict[str, str]]
Generate = Callable[[Sequence[Messages]], list[str]]
MAX_SENTENCES = 3
MAX_CHARS = 8000  # of an attempt, of a feedback: both must leave room in the writer's context

HINT = (
    "A task:\n\n{task}\n\nAn attempt that succeeded:\n\n{attempt}\n\n"
    "Write two or three sentences for someone who is about to try this task without having seen "
    "the attempt: what to notice and how to go about it. Do not state the result itself."
)
DIAGNOSIS = (
    "A task:\n\n{task}\n\nAn attempt that failed:\n\n{attempt}\n\n"
    "What the checker said of it:\n\n{feedback}\n\n"
    "In two or three sentences, say where the attempt went wrong and what to do differently. "
    "Do not solve the task."
)


@dataclass(frozen=True)
class Attempt:
    """One answer to a row's task, judged. `feedback` is the verifier's."""

    response: str
    passed: bool
    reason: str = ""
    feedback: str = ""


Attempts = Mapping[str, Sequence[Attempt]]  # by the row's uid


def type_checker(row: Row, attempts: Sequence[Attempt]) -> str | None:
    """What the checker said of the first attempt that failed with words; None without one."""
    failed = (a for a in attempts if not a.passed and a.reason != "verifier_error")
    return next((a.feedback.strip() for a in failed if a.feedback.strip()), None)


def hint_request(row: Row, attempts: Sequence[Attempt]) -> Messages | None:
    """The messages that ask for a hint, from the shortest attempt that passed."""
    passed = sorted((a.response for a in attempts if a.passed), key=len)
    if not passed:
        return None
    return _ask(HINT.format(task=_task(row), attempt=_bounded(passed[0])))


def diagnosis_request(row: Row, attempts: Sequence[Attempt]) -> Messages | None:
    """The messages that ask what went wrong in the first attempt that failed."""
    failed = [a for a in attempts if not a.passed and a.reason != "verifier_error"]
    if not failed:
        return None
    said = failed[0].feedback.strip() or "nothing but that it is wrong"
    text = DIAGNOSIS.format(
        task=_task(row), attempt=_bounded(failed[0].response), feedback=_bounded(said)
    )
    return _ask(text)


REQUESTS: dict[str, Callable[[Row, Sequence[Attempt]], Messages | None]] = {
    "hint": hint_request,
    "cross_model_hint": hint_request,
    "failure_diagnosis": diagnosis_request,
}


def write(
    rows: Sequence[Row], kind: str, attempts: Attempts, generate: Generate
) -> list[str | None]:
    """What a model writes for each row; None where there is no fitting attempt, or no word.

    Kinds: hint (by the model that is to be trained), cross_model_hint (by another one),
    failure_diagnosis. Raises DataError for another kind, or if `generate` breaks its contract.
    """
    if kind not in REQUESTS:
        mend = f"use one of {', '.join(REQUESTS)}"
        raise DataError("privileged information", "kind", f"no model writes `{kind}`", mend)
    requests = [REQUESTS[kind](row, attempts.get(row["uid"], ())) for row in rows]
    asked = [request for request in requests if request is not None]
    texts = generate(asked) if asked else []
    if len(texts) != len(asked):
        problem = f"{len(texts)} texts for {len(asked)} conversations"
        raise DataError("generate", kind, problem, "give one text a conversation, in order")
    answers = iter(texts)
    return [None if request is None else _sentences(next(answers)) for request in requests]


def _task(row: Row) -> str:
    """What the row asks; of a row whose user is simulated, what the simulator is told."""
    said = [m["content"] for m in row["prompt"] if m["role"] != "system"]
    return "\n\n".join(said) or str(row["extra_info"].get("instruction", ""))


def _bounded(text: str) -> str:
    """The text, its middle left out where it is too long."""
    half = MAX_CHARS // 2
    return text if len(text) <= MAX_CHARS else f"{text[:half]}\n[...]\n{text[-half:]}"


def _ask(text: str) -> Messages:
    return [{"role": "user", "content": text}]


def _sentences(answer: str) -> str | None:
    """The first sentences, after whatever the model thought before."""
    text = answer.rpartition("</think>")[2].strip()
    return " ".join(re.split(r"(?<=[.!?])\s+", text)[:MAX_SENTENCES]).strip() or None
