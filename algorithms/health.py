"""Alarms for a student that collapses while its pass rate still looks fine.

Measured: reverse KL toward a live teacher from a cold start drove the KL to 0.03 and 300 samples
to 14 distinct outputs while the pass rate rose. So the pass rate is no input here: outputs,
divergence, entropy and the gradient norm are.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field


class StageCollapsed(RuntimeError):
    """Training was stopped by an alarm; the message names the likely cause and what to change."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __reduce__(self):
        return (type(self), (self.message,))


class StageSettled(RuntimeError):
    """Training ended early since no further step could change a weight; the message says why."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __reduce__(self):
        return (type(self), (self.message,))


@dataclass
class HealthMonitor:
    """Watches a window of sampled outputs and each step's metrics.

    Args:
        window: outputs looked at together.
        min_distinct_share: below this share of distinct outputs over a full window, with distinct
            prompts behind them, the alarm sounds.
        min_entropy: mean entropy of the student in nats per token below which it sounds, once the
            entropy has also fallen below a tenth of its first value.
        min_kl_share: where the teacher alone is trained (alpha 1), the share of the first KL
            between both views below which it sounds.
    """

    window: int = 64
    min_distinct_share: float = 0.25
    min_entropy: float = 0.005
    min_kl_share: float = 0.01
    first_entropy: float | None = None
    first_kl: float | None = None
    outputs: deque[tuple[str, str]] = field(default_factory=deque)

    def observe_outputs(self, prompts: Sequence[str], outputs: Sequence[str]) -> dict[str, float]:
        """Add sampled outputs; returns metrics over the window."""
        for pair in zip(prompts, outputs, strict=True):
            self.outputs.append(pair)
        while len(self.outputs) > self.window:
            self.outputs.popleft()
        if not self.outputs:
            return {}
        return {
            "health/distinct_outputs": len({o for _, o in self.outputs}),
            "health/distinct_outputs_share": self._distinct_share(),
            "health/window": len(self.outputs),
        }

    def _distinct_share(self) -> float:
        prompts = {p for p, _ in self.outputs}
        return len({o for _, o in self.outputs}) / max(len(prompts), 1)

    def check(self, metrics: dict[str, float]) -> str | None:
        """The alarm's text, or None. ``metrics`` are one update's (``grad_norm``, ``entropy``)."""
        norm = metrics.get("grad_norm")
        if norm is not None and not math.isfinite(norm):
            return (
                f"the gradient norm is {norm}: a loss overflowed. Lower the learning rate, or "
                "train in float32 "
                "(verl.actor_rollout_ref.actor.fsdp_config.mixed_precision.param_dtype=fp32)"
            )
        if len(self.outputs) >= self.window and self._distinct_share() < self.min_distinct_share:
            distinct = len({o for _, o in self.outputs})
            return (
                f"the last {len(self.outputs)} samples hold {distinct} distinct outputs: the "
                "student repeats itself whatever the task. Likely a live teacher that follows the "
                "student down, or too high a learning rate. Use teacher=frozen, halve the learning "
                "rate, or start from a longer warm-up"
            )
        if metrics.get("pi_distill/alpha") == 1.0 and (alarm := self._kl_alarm(metrics)):
            return alarm
        entropy = metrics.get("entropy", metrics.get("teacher/entropy"))
        if entropy is not None and math.isfinite(entropy):
            self.first_entropy = entropy if self.first_entropy is None else self.first_entropy
            if entropy < self.min_entropy and entropy < 0.1 * self.first_entropy:
                return (
                    f"the student's entropy fell from {self.first_entropy:.3f} to {entropy:.4f} "
                    "nats per token. Use forward_kl or jsd, halve the learning rate, or take fewer "
                    "steps"
                )
        return None

    def _kl_alarm(self, metrics: dict[str, float]) -> str | None:
        kl = metrics.get("teacher/distill/kl", metrics.get("reward/token_kl"))
        if kl is None or not math.isfinite(kl):
            return None
        self.first_kl = kl if self.first_kl is None else self.first_kl
        if kl >= self.min_kl_share * self.first_kl or self.first_kl == 0.0:
            return None
        return (
            f"the KL between teacher and student fell from {self.first_kl:.4f} to {kl:.6f} nats "
            "per token at alpha 1: the teacher answers as if its privileged information were not "
            "there, so the student cannot learn from it. Lower kl_weight, or use alpha below 1"
        )


def path_diversity(groups: Sequence[Sequence[str]]) -> float | None:
    """1 - the mean pairwise similarity of the correct solutions to one task, averaged over tasks.

    ``groups`` holds the correct responses to each task. Similarity is the Jaccard index of the
    pairs of neighbouring words, so it is 1 for equal texts and 0 for texts without a common pair.
    None where no task has two correct responses.
    """
    means = []
    for responses in groups:
        pairs = [
            1.0 - len(a & b) / len(a | b)
            for a, b in itertools.combinations(map(_word_pairs, responses), 2)
        ]
        if pairs:
            means.append(sum(pairs) / len(pairs))
    return sum(means) / len(means) if means else None


def _word_pairs(text: str) -> set[tuple[str, str]]:
    words = ["", *text.split(), ""]  # the ends count: a single word has two pairs
    return set(itertools.pairwise(words))
