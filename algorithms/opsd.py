"""On-policy self-distillation (OPSD), Eq. 5 of *Privileged Information Distillation for Language
Models* (arXiv 2602.04942): ``J = E_{o~pi_S}[R] - beta * KL(pi_S || sg pi_T)``.

The student samples without privileged information; the teacher is the same model with it in the
prompt. The KL is exact over the vocabulary and reaches the student at every generated token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from algorithms.advantages import group_centred_advantages
from algorithms.base import LossSettings, RowReport, TrainingRow, Trajectory, View
from algorithms.divergence import KINDS
from algorithms.registry import InvalidAlgorithmSetting


@dataclass(frozen=True)
class OPSD:
    """Settings of OPSD.

    ``distill_weight`` is the paper's beta. ``reward_weight`` 0 is pure self-distillation: no
    verifier is needed, and tasks without privileged information teach nothing and are dropped.
    """

    distill_weight: float = 1.0
    reward_weight: float = 0.0
    divergence: str = "reverse_kl"
    divergence_temperature: float = 1.0
    jsd_weight: float = 0.5
    clip_low: float = 0.2
    clip_high: float = 0.2
    divide_by_std: bool = False

    sampling_view: ClassVar[View] = "student"

    def __post_init__(self) -> None:
        if self.distill_weight < 0 or self.reward_weight < 0:
            raise InvalidAlgorithmSetting("distill_weight and reward_weight must not be negative")
        if self.divergence not in KINDS:
            raise InvalidAlgorithmSetting(
                f"unknown divergence {self.divergence!r}: choose one of {', '.join(KINDS)}"
            )
        if self.distill_weight == 0 and self.reward_weight == 0:
            raise InvalidAlgorithmSetting(
                "distill_weight and reward_weight are both 0: nothing would be learnt; set one"
            )

    @property
    def needs_old_log_probs(self) -> bool:
        return self.reward_weight > 0

    def loss_settings(self) -> LossSettings:
        return LossSettings(
            divergence=self.divergence,
            divergence_temperature=self.divergence_temperature,
            jsd_weight=self.jsd_weight,
            clip_low=self.clip_low,
            clip_high=self.clip_high,
        )

    def rows(self, trajectories: Sequence[Trajectory]) -> tuple[list[TrainingRow], RowReport]:
        """One student-view row a trajectory: policy gradient where its group has a signal,
        distill where there is privileged information."""
        report = RowReport()
        advantages, informative = self._advantages(trajectories, report)
        rows = []
        for index, trajectory in enumerate(trajectories):
            distill = self.distill_weight if trajectory.has_privileged else 0.0
            policy_gradient = self.reward_weight if informative[index] else 0.0
            if trajectory.generated_tokens == 0:
                report.dropped.append((index, "empty_response"))
            elif distill == 0 and policy_gradient == 0:
                report.dropped.append((index, self._why_useless(trajectory)))
            else:
                rows.append(
                    TrainingRow(
                        trajectory=index,
                        reference_view="teacher" if distill > 0 else None,
                        advantage=advantages[index],
                        policy_gradient=policy_gradient,
                        distill=distill,
                    )
                )
        tasks = {t.group: t.has_privileged for t in trajectories}
        report.metrics["tasks/privileged_share"] = sum(tasks.values()) / max(len(tasks), 1)
        return rows, report

    def _advantages(
        self, trajectories: Sequence[Trajectory], report: RowReport
    ) -> tuple[list[float], list[bool]]:
        if self.reward_weight == 0:
            return [0.0] * len(trajectories), [False] * len(trajectories)
        missing = [t.group for t in trajectories if t.score is None and not t.unjudged]
        if missing:
            raise ValueError(
                f"reward_weight is {self.reward_weight} but {len(missing)} trajectories have no "
                f"score (task {missing[0]}): name a verifier, or set reward_weight=0"
            )
        # What the verifier could not judge is no failure: it stays out of its group's mean.
        judged = [i for i, t in enumerate(trajectories) if t.score is not None]
        result = group_centred_advantages(
            torch.tensor([trajectories[i].score for i in judged], dtype=torch.float64),
            [trajectories[i].group for i in judged],
            divide_by_std=self.divide_by_std,
        )
        report.metrics["groups/zero_advantage_share"] = result.metrics["zero_advantage_share"]
        advantages, informative = [0.0] * len(trajectories), [False] * len(trajectories)
        for place, index in enumerate(judged):
            advantages[index] = float(result.advantages[place])
            informative[index] = bool(result.informative[place])
        return advantages, informative

    def _why_useless(self, trajectory: Trajectory) -> str:
        if trajectory.unjudged:
            return "verifier_error"
        return "zero_advantage" if self.reward_weight > 0 else "no_privileged_information"
