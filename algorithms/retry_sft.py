"""Filtered self-SFT: what the model sampled and a verifier passed is learnt by nll, bare prompt to
response. Whatever the sampling prompt held (privileged information, an earlier failure) is not in
the training context.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from algorithms.base import LossSettings, RowReport, TrainingRow, Trajectory, View
from algorithms.registry import InvalidAlgorithmSetting


@dataclass(frozen=True, kw_only=True)
class RetrySFT:
    """``threshold`` is the least score that is kept (1: all or nothing, below: partial credit);
    ``per_task`` caps the responses kept for one task; equal responses to a task count once."""

    threshold: float = 1.0
    per_task: int = 4
    view: View = "student"

    needs_old_log_probs: ClassVar[bool] = False
    sequence_kl: ClassVar[str | None] = None

    def __post_init__(self) -> None:
        if not 0.0 < self.threshold <= 1.0 or self.per_task < 1:
            raise InvalidAlgorithmSetting(
                f"threshold must lie in (0, 1] and per_task be at least 1, got {self.threshold} "
                f"and {self.per_task}"
            )

    @property
    def sampling_view(self) -> View:
        return self.view

    def loss_settings(self) -> LossSettings:
        return LossSettings()

    def rows(
        self, trajectories: Sequence[Trajectory], *, epoch: float = 0.0
    ) -> tuple[list[TrainingRow], RowReport]:
        """One bare-prompt row for each response kept."""
        missing = [t.group for t in trajectories if t.score is None and not t.unjudged]
        if missing:
            raise ValueError(
                f"{len(missing)} trajectories have no score (task {missing[0]}): what passes can "
                "only be kept where a verifier judges; name one in reward_model.style"
            )
        report = RowReport()
        rows: list[TrainingRow] = []
        kept: Counter[str] = Counter()
        seen: set[tuple[str, tuple[str, ...]]] = set()
        for index, trajectory in enumerate(trajectories):
            text = (trajectory.group, tuple(turn.text for turn in trajectory.turns))
            reason = self._why_dropped(trajectory, text in seen, kept[trajectory.group])
            if reason:
                report.dropped.append((index, reason))
                continue
            seen.add(text)
            kept[trajectory.group] += 1
            rows.append(TrainingRow(index, nll=1.0))
        report.metrics["retry/kept_share"] = len(rows) / max(len(trajectories), 1)
        return rows, report

    def _why_dropped(self, trajectory: Trajectory, known: bool, kept: int) -> str | None:
        if trajectory.generated_tokens == 0:
            return "empty_response"
        if trajectory.score is None:
            return "verifier_error"
        if trajectory.score < self.threshold:
            return "failed"
        if known and trajectory.turns:
            return "duplicate"
        return "over_cap" if kept >= self.per_task else None
