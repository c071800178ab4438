"""Which attempts are learnt from, and why each of the others is not."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Literal

TRAIN_ON = ("first_and_retries", "retries", "first")
# Reasons of a dropped attempt, in the order in which they are looked for.
REASONS = (
    "empty_response", "verifier_error", "failed", "first_attempt", "retry_attempt", "incomplete",
    "too_short", "too_long", "bad_format", "duplicate", "over_cap",
)  # fmt: skip


class InvalidFilter(ValueError):
    """Settings of a filter that keep nothing, with what to change."""


@dataclass(frozen=True)
class Candidate:
    """An attempt that may be learnt from. ``score`` None: the verifier could not tell."""

    task: Hashable
    text: str
    tokens: int
    score: float | None
    number: int = 1
    complete: bool = True


@dataclass(frozen=True)
class FilterSettings:
    """What is kept.

    Attributes:
        train_on: attempts to keep: the first ones and retries, retries alone, first ones alone.
        threshold: the least score that is kept: 1 is all or nothing, less gives partial credit.
        per_task: responses kept for one task at most; equal responses to a task count once.
        min_tokens, max_tokens: length of a response, both ends kept; None: no upper end.
        must_match: a regular expression that the response must hold somewhere; None: any response.
        complete: whether responses that ran into a limit on tokens are dropped, which would teach
            never to end.
    """

    train_on: Literal["first_and_retries", "retries", "first"] = "first_and_retries"
    threshold: float = 1.0
    per_task: int = 4
    min_tokens: int = 1
    max_tokens: int | None = None
    must_match: str | None = None
    complete: bool = True

    def __post_init__(self) -> None:
        if self.train_on not in TRAIN_ON:
            raise InvalidFilter(f"train_on is one of {', '.join(TRAIN_ON)}; got {self.train_on!r}")
        if not 0.0 < self.threshold <= 1.0 or self.per_task < 1:
            raise InvalidFilter(
                "threshold must lie in (0, 1] and per_task be at least 1, got "
                f"{self.threshold} and {self.per_task}"
            )
        if self.max_tokens is not None and self.max_tokens < self.min_tokens:
            raise InvalidFilter(
                f"max_tokens ({self.max_tokens}) is below min_tokens ({self.min_tokens})"
            )
        try:
            re.compile(self.must_match or "")
        except re.error as error:
            raise InvalidFilter(
                f"must_match={self.must_match!r} is no regular expression: {error}"
            ) from error

    @classmethod
    def of(cls, values: dict[str, Any]) -> FilterSettings:
        """From plain data.

        Raises:
            InvalidFilter: a key that is no setting, or a value out of range.
        """
        unknown = sorted(set(values) - {f.name for f in fields(cls)})
        if unknown:
            raise InvalidFilter(f"a filter has no setting {', '.join(unknown)}")
        return cls(**values)

    @cached_property
    def _format(self) -> re.Pattern[str] | None:
        return re.compile(self.must_match) if self.must_match else None

    def refuses(self, candidate: Candidate) -> str | None:
        """Why the attempt is dropped whatever else was kept; None where it may be kept."""
        checks = (
            (candidate.tokens == 0, "empty_response"),
            (candidate.score is None, "verifier_error"),
            ((candidate.score or 0.0) < self.threshold, "failed"),
            (self.train_on == "retries" and candidate.number == 1, "first_attempt"),
            (self.train_on == "first" and candidate.number > 1, "retry_attempt"),
            (self.complete and not candidate.complete, "incomplete"),
            (candidate.tokens < self.min_tokens, "too_short"),
            (self.max_tokens is not None and candidate.tokens > self.max_tokens, "too_long"),
            (self._format is not None and not self._format.search(candidate.text), "bad_format"),
        )
        return next((reason for refused, reason in checks if refused), None)


def choose(candidates: Sequence[Candidate], settings: FilterSettings) -> list[str | None]:
    """For each candidate None if it is kept, else the reason (of ``REASONS``) why not.

    Candidates are taken in order: the first of equal responses to a task is the one that is kept,
    and the first ``per_task`` of a task.
    """
    kept: Counter[Hashable] = Counter()
    seen: set[tuple[Hashable, str]] = set()
    reasons = []
    for candidate in candidates:
        known = (candidate.task, candidate.text.strip())
        reason = settings.refuses(candidate)
        if reason is None and known in seen and known[1]:
            reason = "duplicate"
        elif reason is None and kept[candidate.task] >= settings.per_task:
            reason = "over_cap"
        if reason is None:
            seen.add(known)
            kept[candidate.task] += 1
        reasons.append(reason)
    return reasons
