"""Supervised fine-tuning on given responses: the nll term alone, in the view a row asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from algorithms.base import LossSettings, RowReport, TrainingRow, Trajectory, View


@dataclass(frozen=True)
class SFT:
    """``view`` is the prompt that the given responses are trained on: bare, or with PI."""

    view: View = "student"

    needs_old_log_probs: ClassVar[bool] = False
    sequence_kl: ClassVar[str | None] = None

    @property
    def sampling_view(self) -> View:
        return self.view

    def loss_settings(self) -> LossSettings:
        return LossSettings()

    def rows(
        self, trajectories: Sequence[Trajectory], *, epoch: float = 0.0
    ) -> tuple[list[TrainingRow], RowReport]:
        report = RowReport()
        rows = []
        for index, trajectory in enumerate(trajectories):
            if trajectory.generated_tokens == 0:
                report.dropped.append((index, "empty_response"))
            else:
                rows.append(TrainingRow(trajectory=index, view=trajectory.sampled_view, nll=1.0))
        return rows, report
