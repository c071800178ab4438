"""Privileged information that only exists once the student has answered: a group's own success,
or what the environment said of the answer. Only a student that samples can use it.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

GROUP_KINDS = ("sibling_success", "environment_feedback")


@dataclass(frozen=True)
class Answer:
    """One response of a batch: its task, its text, and what the verifier said."""

    group: Hashable
    text: str
    passed: bool
    feedback: str = ""


def contents(kind: str, answers: Sequence[Answer]) -> list[str | None]:
    """What the teacher of each answer is shown; None where there is nothing.

    ``sibling_success``: the shortest correct response to the same task other than the answer
    itself. ``environment_feedback``: the verifier's words on a failed answer.

    Raises:
        ValueError: an unknown kind.
    """
    if kind == "environment_feedback":
        return [None if a.passed or not a.feedback.strip() else a.feedback for a in answers]
    if kind != "sibling_success":
        raise ValueError(f"unknown kind {kind!r}: choose one of {', '.join(GROUP_KINDS)}")
    correct: dict[Hashable, set[str]] = {}
    for answer in answers:
        if answer.passed and answer.text.strip():
            correct.setdefault(answer.group, set()).add(answer.text)
    found = []
    for answer in answers:
        others = correct.get(answer.group, set()) - {answer.text}
        found.append(min(others, key=lambda text: (len(text), text), default=None))
    return found
