"""pi-Distill (arXiv 2602.04942, Eqs. 2-4): ``J = alpha * J_teacher + (1 - alpha) * J_student``.

The teacher, which is the student with privileged information in its prompt, samples; both views
of each response are trained, on the same advantages:

* J_teacher = E_{o~pi_T}[R] - beta * KL(pi_T || sg pi_S), with the ratio pi_T / pi_T,old;
* J_student = E_{o~pi_T}[rho R] - beta * KL(sg pi_T || pi_S), with rho = pi_S / sg pi_T,old: its
  denominator is the log-probability taken at sampling time.

A task without privileged information is plain GRPO of the student, who then did the sampling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from algorithms.approximations import SAMPLED
from algorithms.base import LossSettings, RowReport, TrainingRow, Trajectory, View
from algorithms.grpo import why_no_gradient
from algorithms.policy import DistillSettings, policy_signal, task_metrics
from algorithms.registry import InvalidAlgorithmSetting


@dataclass(frozen=True, kw_only=True)
class PiDistill(DistillSettings):
    """Settings of pi-Distill.

    ``alpha`` weighs the teacher's objective; with ``alpha_epochs`` it rises linearly from 0 to
    ``alpha`` over that many passes over the data. ``kl_weight`` is the paper's beta.
    ``student_divergence`` is that of the student's KL term where ``kl_placement=loss``, named from
    the student: ``forward_kl`` is KL(sg pi_T || pi_S).
    """

    alpha: float = 0.5
    alpha_epochs: float = 0.0
    kl_weight: float = 0.25
    kl_placement: str = "reward"
    student_divergence: str = "forward_kl"
    teacher_divergence: str = "reverse_kl"

    sampling_view: ClassVar[View] = "teacher"
    needs_old_log_probs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 <= self.alpha <= 1.0:
            raise InvalidAlgorithmSetting(f"alpha must lie in [0, 1], got {self.alpha}")
        if self.alpha_epochs < 0 or self.kl_weight < 0:
            raise InvalidAlgorithmSetting("alpha_epochs and kl_weight must not be negative")
        for kind in (self.student_divergence, self.teacher_divergence):
            self._check_divergence(kind)
        if self.student_divergence in SAMPLED:
            raise InvalidAlgorithmSetting(
                f"student_divergence={self.student_divergence} looks at the sampled token, which "
                "is the teacher's: use forward_kl, reverse_kl or jsd"
            )

    @property
    def sequence_kl(self) -> str | None:
        in_reward = self.kl_placement == "reward" and self.kl_weight > 0
        return self.sequence_kl_estimator if in_reward else None

    def alpha_at(self, epoch: float) -> float:
        """alpha after ``epoch`` passes over the data."""
        if not self.alpha_epochs:
            return self.alpha
        return self.alpha * min(max(epoch, 0.0) / self.alpha_epochs, 1.0)

    def loss_settings(self) -> LossSettings:
        return replace(
            super().loss_settings(),
            divergence=self.student_divergence,
            teacher_divergence=self.teacher_divergence,
            divergence_temperature=self.divergence_temperature,
            jsd_weight=self.jsd_weight,
            support=self.support,
            top_k=self.top_k,
        )

    def rows(
        self, trajectories: Sequence[Trajectory], *, epoch: float = 0.0
    ) -> tuple[list[TrainingRow], RowReport]:
        """A teacher-view row with weight alpha and a student-view row with 1 - alpha."""
        report = RowReport()
        kl_weight = self.kl_weight if self.sequence_kl else 0.0
        signal = policy_signal(trajectories, self, report, kl_weight=kl_weight)
        alpha = self.alpha_at(epoch)
        rows = []
        for index, trajectory in enumerate(trajectories):
            teaches = why_no_gradient(trajectory, signal, index)
            advantage = signal.advantages[index]
            shares: dict[View, float] = {"teacher": alpha, "student": 1.0 - alpha}
            if not trajectory.has_privileged:
                shares = {"student": 1.0}
            mine = [
                self._row(index, view, share, advantage, teaches is None, trajectory)
                for view, share in shares.items()
            ]
            mine = [row for row in mine if row.trains]
            if trajectory.generated_tokens == 0 or not mine:
                report.dropped.append((index, teaches or "zero_weight"))
            else:
                rows += mine
        task_metrics(trajectories, self, report)
        report.metrics["pi_distill/alpha"] = alpha
        return rows, report

    def _row(
        self,
        index: int,
        view: View,
        share: float,
        advantage: float,
        informative: bool,
        trajectory: Trajectory,
    ) -> TrainingRow:
        in_loss = self.kl_placement == "loss" and trajectory.has_privileged
        return TrainingRow(
            trajectory=index,
            view=view,
            advantage=advantage,
            policy_gradient=share if informative else 0.0,
            distill=share * self.kl_weight if in_loss else 0.0,
        )


@dataclass(frozen=True, kw_only=True)
class TeacherObjective(PiDistill):
    """Eq. 2 alone: the privileged policy is trained, the student follows through its weights."""

    alpha: float = 1.0


@dataclass(frozen=True, kw_only=True)
class StudentObjective(PiDistill):
    """Eq. 3 alone: the student learns off-policy from what the privileged policy sampled."""

    alpha: float = 0.0
