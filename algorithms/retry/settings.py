"""The settings of a ladder. Plain data: they travel with a batch."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal

SCHEMES = ("retry", "independent")
SLOT = "{pi}"
RETRY_PROMPT = "Your previous answer was incorrect. Try again carefully."
RETRY_PROMPT_WITH_PI = "Your previous answer was incorrect. Hint: {pi}\nTry again carefully."
# Told from the verdict on the attempt before, not from the row.
FEEDBACK = "environment_feedback"


class InvalidLadder(ValueError):
    """Settings that no ladder can follow, with what to change."""


@dataclass(frozen=True)
class LadderSettings:
    """How a task is attempted.

    Attributes:
        scheme: ``retry`` goes on in the same conversation after a failure, and says so;
            ``independent`` samples the bare prompt again, which no failure signal reaches.
        retries: attempts after the first (K), scheme ``retry``.
        samples: attempts at most, scheme ``independent``.
        after: attempts that were made before this ladder, which are counted on.
        early_stop: end at the first pass; scheme ``retry`` always does.
        prompt: the retry prompt; ``pi_prompt`` the one for tasks with PI, holding ``{pi}`` once.
        pi: the kind of the row's privileged information that ``pi_prompt`` tells, ``none``, or
            ``environment_feedback``: what the verifier said of the attempt before.
        temperatures: of attempt 1, 2, ..., the last one for all further; empty: the sampler's own.
        attempt_tokens: at most so many tokens an attempt.
        context_tokens: at most so many tokens of prompt and answer together.
        round: part of every seed, so that each round draws its own answers.
    """

    scheme: Literal["retry", "independent"] = "retry"
    retries: int = 3
    samples: int = 16
    after: int = 0
    early_stop: bool = True
    prompt: str = RETRY_PROMPT
    pi_prompt: str = RETRY_PROMPT_WITH_PI
    pi: str = "none"
    temperatures: tuple[float, ...] = field(default=())
    attempt_tokens: int = 1024
    context_tokens: int = 8192
    round: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "temperatures", tuple(self.temperatures))
        if self.scheme not in SCHEMES:
            raise InvalidLadder(f"scheme is one of {', '.join(SCHEMES)}, got {self.scheme!r}")
        if min(self.retries, self.after) < 0 or min(self.samples, self.round) < 1:
            raise InvalidLadder(
                "retries and after are 0 or more, samples and round 1 or more; got "
                f"{self.retries}, {self.after}, {self.samples} and {self.round}"
            )
        if self.attempt_tokens < 1 or self.context_tokens <= 1:
            raise InvalidLadder(
                "attempt_tokens is 1 or more and context_tokens larger, got "
                f"{self.attempt_tokens} and {self.context_tokens}"
            )
        if any(t < 0 for t in self.temperatures):
            raise InvalidLadder(f"temperatures are not negative, got {list(self.temperatures)}")
        if self.pi_prompt.count(SLOT) != 1:
            raise InvalidLadder(f"pi_prompt must hold {SLOT} exactly once, got {self.pi_prompt!r}")
        if not self.prompt.strip():
            raise InvalidLadder("the retry prompt is blank: say what the model is to do")

    @classmethod
    def of(cls, values: dict[str, Any]) -> LadderSettings:
        """From plain data.

        Raises:
            InvalidLadder: a key that is no setting, or a value out of range.
        """
        unknown = sorted(set(values) - {f.name for f in fields(cls)})
        if unknown:
            raise InvalidLadder(f"a ladder has no setting {', '.join(unknown)}")
        return cls(**values)

    def last(self) -> int:
        """The number of a task's last attempt at most."""
        return self.after + (self.retries + 1 if self.scheme == "retry" else self.samples)

    def temperature(self, number: int) -> float | None:
        """Of attempt ``number`` (from 1); None leaves it to the sampler."""
        if not self.temperatures:
            return None
        return self.temperatures[min(number, len(self.temperatures)) - 1]

    def retry_text(self, privileged: str | None) -> str:
        """The user's message after a failure."""
        if privileged is None or not privileged.strip():
            return self.prompt
        before, after = self.pi_prompt.split(SLOT)
        return before + privileged + after
