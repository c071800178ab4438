"""On-policy self-distillation (OPSD), Eq. 5 of *Privileged Information Distillation for Language
Models* (arXiv 2602.04942): ``J = E_{o~pi_S}[R] - beta * KL(pi_S || sg pi_T)``.

The student samples without privileged information; the teacher is the same model with it in the
prompt. With ``kl_placement=loss`` the divergence is exact over the vocabulary and reaches the
student at every generated token; with ``reward`` the sequence's KL is taken from its reward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from algorithms.base import LossSettings, RowReport, TrainingRow, Trajectory, View
from algorithms.policy import DistillSettings, Signal, policy_signal, task_metrics
from algorithms.registry import InvalidAlgorithmSetting


@dataclass(frozen=True, kw_only=True)
class OPSD(DistillSettings):
    """Settings of OPSD.

    ``distill_weight`` is the paper's beta. ``reward_weight`` 0 is pure self-distillation: no
    verifier is needed. A task without privileged information learns from its reward alone, which
    is plain GRPO; with ``reward_weight`` 0 it teaches nothing and is dropped.
    ``max_importance_ratio`` truncates importance weights of the distill term, for stored responses
    of another policy (truncated importance sampling, Ionides 2008); None leaves them uncorrected.
    """

    distill_weight: float = 1.0
    reward_weight: float = 0.0
    divergence: str = "reverse_kl"
    max_importance_ratio: float | None = None

    sampling_view: ClassVar[View] = "student"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.distill_weight < 0 or self.reward_weight < 0:
            raise InvalidAlgorithmSetting("distill_weight and reward_weight must not be negative")
        if self.max_importance_ratio is not None and not self.max_importance_ratio > 0:
            raise InvalidAlgorithmSetting(
                f"max_importance_ratio must be positive, got {self.max_importance_ratio}"
            )
        self._check_divergence(self.divergence)
        if self.distill_weight == 0 and self.reward_weight == 0:
            raise InvalidAlgorithmSetting(
                "distill_weight and reward_weight are both 0: nothing would be learnt; set one"
            )

    @property
    def _kl_in_reward(self) -> bool:
        return self.kl_placement == "reward" and self.distill_weight > 0

    @property
    def needs_old_log_probs(self) -> bool:
        return self.reward_weight > 0 or self._kl_in_reward or bool(self.max_importance_ratio)

    @property
    def sequence_kl(self) -> str | None:
        return self.sequence_kl_estimator if self._kl_in_reward else None

    def loss_settings(self) -> LossSettings:
        return replace(
            super().loss_settings(),
            divergence=self.divergence,
            divergence_temperature=self.divergence_temperature,
            jsd_weight=self.jsd_weight,
            support=self.support,
            top_k=self.top_k,
            max_importance_ratio=self.max_importance_ratio,
        )

    def rows(
        self, trajectories: Sequence[Trajectory], *, epoch: float = 0.0
    ) -> tuple[list[TrainingRow], RowReport]:
        """One student-view row a trajectory: policy gradient where its group has a signal,
        distill where there is privileged information."""
        report = RowReport()
        signal, weight = self._signal(trajectories, report)
        in_loss = self.kl_placement == "loss"
        rows = []
        for index, trajectory in enumerate(trajectories):
            row = TrainingRow(
                trajectory=index,
                advantage=signal.advantages[index],
                policy_gradient=weight if signal.informative[index] else 0.0,
                distill=self.distill_weight if in_loss and trajectory.has_privileged else 0.0,
            )
            if trajectory.generated_tokens == 0:
                report.dropped.append((index, "empty_response"))
            elif not row.trains:
                report.dropped.append((index, self._why_useless(trajectory)))
            else:
                rows.append(row)
        task_metrics(trajectories, self, report)
        return rows, report

    def _signal(
        self, trajectories: Sequence[Trajectory], report: RowReport
    ) -> tuple[Signal, float]:
        """Advantages, and the weight of the policy gradient on them."""
        if self._kl_in_reward:
            weights = {"reward_weight": self.reward_weight, "kl_weight": self.distill_weight}
            return policy_signal(trajectories, self, report, **weights), 1.0
        if self.reward_weight:
            return policy_signal(trajectories, self, report), self.reward_weight
        nothing = [0.0] * len(trajectories), [False] * len(trajectories)
        return Signal(*nothing), 0.0

    def _why_useless(self, trajectory: Trajectory) -> str:
        if trajectory.unjudged:
            return "verifier_error"
        if self.reward_weight > 0 or self._kl_in_reward:
            return "zero_advantage"
        return "no_privileged_information"
