"""Reward shaping of arXiv 2602.04942: long answers and answers that speak of what only the
teacher saw cost reward.

Both are exactly zero below their thresholds: a response that is short enough and leaks nothing
keeps its reward to the last bit.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from algorithms.base import Trajectory

# The penalty of one trajectory's length is never below this.
LENGTH_FLOOR = -0.3

LEAK_WORDS = (
    "privileged information",
    "secret information",
    "hidden information",
    "correct tool calls",
    "correct tool call",
    "reference solution",
    "skeleton",
    "hint",
    "hints",
)


@dataclass(frozen=True)
class Shaping:
    """Penalties added to a trajectory's score.

    Attributes:
        length_penalty: lambda; 0 turns the length penalty off (the paper: 0.1).
        length_free: tokens of one assistant message that cost nothing.
        length_full: tokens at which it costs lambda; at twice the distance 2 lambda, the most.
        leak_penalty: cost of each leak word in each assistant message; 0 turns it off (the
            paper: 0.1).
        leak_words: matched on word boundaries, whatever their case.
    """

    length_penalty: float = 0.0
    length_free: int = 2000
    length_full: int = 5000
    leak_penalty: float = 0.0
    leak_words: Sequence[str] = LEAK_WORDS

    def __post_init__(self) -> None:
        if self.length_penalty < 0 or self.leak_penalty < 0:
            raise ValueError("length_penalty and leak_penalty are costs: not negative")
        if not 0 <= self.length_free < self.length_full:
            raise ValueError(
                f"length_free must lie below length_full, got {self.length_free} and "
                f"{self.length_full}"
            )

    @cached_property
    def _leaks(self) -> re.Pattern[str] | None:
        words = sorted((w for w in self.leak_words if w.strip()), key=len, reverse=True)
        if not words:
            return None
        return re.compile(r"(?<!\w)(?:" + "|".join(map(re.escape, words)) + r")(?!\w)", re.I)

    def leaks(self, text: str) -> int:
        """How often a leak word occurs; of words that overlap the longest counts."""
        return len(self._leaks.findall(text)) if self._leaks else 0

    def leak_count(self, trajectory: Trajectory) -> int:
        """Leak words over all assistant messages."""
        return sum(self.leaks(turn.text) for turn in trajectory.turns)

    def turn_penalty(self, tokens: int) -> float:
        """Penalty of one assistant message, <= 0: a half cosine from 0 to -lambda between
        ``length_free`` and ``length_full``, another one to -2 lambda over the same distance."""
        if tokens <= self.length_free or not self.length_penalty:
            return 0.0
        ways = (tokens - self.length_free) / (self.length_full - self.length_free)
        whole, part = (1.0, min(ways - 1.0, 1.0)) if ways > 1.0 else (0.0, ways)
        return -self.length_penalty * (whole + (1.0 - math.cos(math.pi * part)) / 2.0)

    def length_term(self, trajectory: Trajectory) -> float:
        """Mean over the assistant messages, floored; 0 for an answer that earned nothing."""
        if not trajectory.score or trajectory.score <= 0 or not trajectory.turns:
            return 0.0
        penalties = [self.turn_penalty(turn.tokens) for turn in trajectory.turns]
        return max(sum(penalties) / len(penalties), LENGTH_FLOOR)

    def reward(self, trajectory: Trajectory) -> float:
        """The score with both penalties.

        Raises:
            ValueError: the trajectory has no score.
        """
        if trajectory.score is None:
            raise ValueError(f"a trajectory of task {trajectory.group} has no score to shape")
        leak = self.leak_penalty * self.leak_count(trajectory) if self.leak_penalty else 0.0
        return trajectory.score + self.length_term(trajectory) - leak

    def metrics(self, trajectories: Sequence[Trajectory]) -> dict[str, float]:
        """Share of leaking trajectories by sampled view, and the mean penalties."""
        found: dict[str, float] = {}
        for view in ("student", "teacher"):
            leaking = [self.leak_count(t) > 0 for t in trajectories if t.sampled_view == view]
            if leaking:
                found[f"leak_rate/{view}"] = sum(leaking) / len(leaking)
        judged = [t for t in trajectories if t.score is not None]
        if judged and self.length_penalty:
            found["shaping/length"] = sum(map(self.length_term, judged)) / len(judged)
        if judged and self.leak_penalty:
            leaks = sum(self.leak_penalty * self.leak_count(t) for t in judged)
            found["shaping/leak"] = -leaks / len(judged)
        return found
