"""What a ladder asks for, what it gets back, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

STOPS = ("passed", "exhausted", "context_full", "budget", "verifier_error")


@dataclass(frozen=True)
class Request:
    """One generation: attempt ``number`` (1 is the first), its whole prompt, and its limits.

    ``prompt_ids`` is the conversation so far as token ids, the answers in it exactly as sampled, so
    that a server finds it in its prefix cache; ``messages`` is the same as text, for endpoints.
    """

    number: int
    prompt_ids: tuple[int, ...]
    messages: tuple[dict[str, Any], ...]
    max_tokens: int
    temperature: float | None


@dataclass(frozen=True)
class Generation:
    """``complete``: the model ended its answer, rather than a limit on its tokens."""

    token_ids: tuple[int, ...]
    text: str
    complete: bool
    log_probs: tuple[float, ...] = ()


@dataclass(frozen=True)
class Judgement:
    """A verifier's verdict. ``told`` is False where it could not tell right from wrong."""

    passed: bool
    score: float
    reason: str = ""
    feedback: str = ""
    seconds: float = 0.0

    @property
    def told(self) -> bool:
        return self.reason != "verifier_error"


Sampler = Callable[[Request], Awaitable[Generation]]
Judge = Callable[[str], Awaitable[Judgement]]


@dataclass(frozen=True)
class Attempt:
    """An answer to the task, and its verdict. ``cut_by_budget``: there were no tokens for more."""

    number: int
    generation: Generation
    judgement: Judgement
    temperature: float | None = None
    prompt_tokens: int = 0
    cut_by_budget: bool = False

    @property
    def tokens(self) -> int:
        return len(self.generation.token_ids)


@dataclass(frozen=True)
class Task:
    """A task as a ladder sees it. ``privileged`` is what the retry prompt tells, None for nothing;
    ``budget`` bounds the tokens generated for the task, over all attempts."""

    prompt_ids: tuple[int, ...]
    messages: tuple[dict[str, Any], ...] = ()
    privileged: str | None = None
    budget: int | None = None


@dataclass
class Ladder:
    """All attempts at one task, in order, and why there is no further one (of ``STOPS``)."""

    attempts: list[Attempt] = field(default_factory=list)
    stopped: str = ""

    @property
    def answer(self) -> Attempt | None:
        """What the ladder came to: the first attempt that passed, else the last; None without."""
        passed = (attempt for attempt in self.attempts if attempt.judgement.passed)
        return next(passed, self.attempts[-1] if self.attempts else None)

    @property
    def tokens(self) -> int:
        """Tokens generated, over all attempts."""
        return sum(attempt.tokens for attempt in self.attempts)
