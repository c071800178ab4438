"""GRPO (arXiv 2402.03300), the baseline without privileged information: the student samples, the
reward is centred within its group, the policy gradient is clipped. As in Dr. GRPO (arXiv
2503.20783) advantages are not divided by the standard deviation unless asked for; no KL to a base
model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from algorithms.base import RowReport, TrainingRow, Trajectory, View
from algorithms.policy import PolicySettings, Signal, policy_signal, task_metrics


@dataclass(frozen=True, kw_only=True)
class GRPO(PolicySettings):
    """The settings are ``PolicySettings``'."""

    sampling_view: ClassVar[View] = "student"
    needs_old_log_probs: ClassVar[bool] = True
    sequence_kl: ClassVar[str | None] = None

    def rows(
        self, trajectories: Sequence[Trajectory], *, epoch: float = 0.0
    ) -> tuple[list[TrainingRow], RowReport]:
        """One student-view row for each trajectory of a group with a signal."""
        report = RowReport()
        signal = policy_signal(trajectories, self, report)
        rows = []
        for index, trajectory in enumerate(trajectories):
            reason = why_no_gradient(trajectory, signal, index)
            if reason:
                report.dropped.append((index, reason))
            else:
                advantage = signal.advantages[index]
                rows.append(TrainingRow(index, advantage=advantage, policy_gradient=1.0))
        task_metrics(trajectories, self, report)
        return rows, report


def why_no_gradient(trajectory: Trajectory, signal: Signal, index: int) -> str | None:
    """Why a policy gradient has nothing to learn from a trajectory; None if it has."""
    if trajectory.generated_tokens == 0:
        return "empty_response"
    if trajectory.unjudged:
        return "verifier_error"
    return None if signal.informative[index] else "zero_advantage"
