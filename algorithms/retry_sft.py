"""Filtered self-SFT: what the model sampled and a verifier passed is learnt by nll, bare prompt to
response. Whatever the sampling prompt held (privileged information, an earlier failure) is not in
the training context.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from algorithms.base import LossSettings, RowReport, TrainingRow, Trajectory, View
from algorithms.registry import InvalidAlgorithmSetting
from algorithms.retry.filter import Candidate, FilterSettings, InvalidFilter, choose


@dataclass(frozen=True, kw_only=True)
class RetrySFT(FilterSettings):
    """The settings are those of the filter (``algorithms.retry.filter``); ``view`` is the one that
    samples. With a ladder as sampler (``algorithms.retry``) a trajectory is its last attempt."""

    view: View = "student"

    needs_old_log_probs: ClassVar[bool] = False
    sequence_kl: ClassVar[str | None] = None

    def __post_init__(self) -> None:
        try:
            super().__post_init__()
        except InvalidFilter as error:
            raise InvalidAlgorithmSetting(str(error)) from error

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
        reasons = choose([_candidate(trajectory) for trajectory in trajectories], self)
        report = RowReport(dropped=[(i, reason) for i, reason in enumerate(reasons) if reason])
        rows = [TrainingRow(i, nll=1.0) for i, reason in enumerate(reasons) if reason is None]
        report.metrics["retry/kept_share"] = len(rows) / max(len(trajectories), 1)
        report.metrics["retry/kept"] = float(len(rows))
        report.metrics["retry/dropped"] = float(len(report.dropped))
        return rows, report


def _candidate(trajectory: Trajectory) -> Candidate:
    return Candidate(
        task=trajectory.group,
        text="\n".join(turn.text for turn in trajectory.turns),
        tokens=trajectory.generated_tokens,
        score=trajectory.score,
        number=trajectory.attempt,
        complete=trajectory.complete,
    )
