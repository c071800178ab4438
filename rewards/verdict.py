"""What a verifier says about one answer."""

from __future__ import annotations

from dataclasses import dataclass

#: Every reason a verdict may give. `ok` belongs to passed verdicts, the others to failed ones.
REASONS = (
    "ok",
    "wrong_answer",
    "no_answer",
    "compile_error",
    "runtime_error",
    "timeout",
    "memory",
    "forbidden",
    "malformed",
    "verifier_error",
)


@dataclass(frozen=True)
class Verdict:
    """One answer judged.

    passed: whether the answer is right.
    score: in [0, 1]; 1 and 0 for binary verifiers.
    reason: one of REASONS. `verifier_error` says that the verifier could not judge: such a row is
        to be dropped, not counted as wrong.
    feedback: what a compiler or a test said, in words that may be shown to a model; may be empty.
    seconds: time spent on this answer, its share of a batch where a batch was timed as one.
    """

    passed: bool
    score: float
    reason: str
    feedback: str
    seconds: float

    def __post_init__(self) -> None:
        if self.reason not in REASONS:
            raise ValueError(f"unknown reason {self.reason!r}; known: {', '.join(REASONS)}")
        if self.passed != (self.reason == "ok"):
            raise ValueError(f"passed={self.passed} does not go with reason {self.reason!r}")
        if not 0.0 <= self.score <= 1.0:
            raise ValueError(f"score {self.score} is not in [0, 1]")
        if self.seconds < 0:
            raise ValueError(f"seconds {self.seconds} is negative")

    @classmethod
    def ok(cls, seconds: float = 0.0, feedback: str = "") -> Verdict:
        return cls(True, 1.0, "ok", feedback, seconds)

    @classmethod
    def failed(
        cls, reason: str, feedback: str = "", seconds: float = 0.0, score: float = 0.0
    ) -> Verdict:
        return cls(False, score, reason, feedback, seconds)
