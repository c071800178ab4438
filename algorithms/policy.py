"""What the algorithms with a policy gradient share: settings, shaped rewards, group advantages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from algorithms.advantages import group_centred_advantages
from algorithms.approximations import SUPPORTS, check_divergence
from algorithms.base import LossSettings, RowReport, Trajectory
from algorithms.divergence.checks import check_options
from algorithms.divergence.kinds import KINDS
from algorithms.registry import InvalidAlgorithmSetting
from algorithms.shaping import LEAK_WORDS, Shaping
from algorithms.terms import NORMALISATIONS

KL_PLACEMENTS = ("loss", "reward")
SEQUENCE_KLS = ("exact", "k1")


@dataclass(frozen=True, kw_only=True)
class PolicySettings:
    """Settings of the clipped policy gradient and of its reward.

    ``clip_low`` and ``clip_high`` bound the importance ratio to [1 - clip_low, 1 + clip_high].
    ``divide_by_std`` also divides advantages by the group's standard deviation. The others are
    ``algorithms.shaping.Shaping``'s and ``algorithms.base.LossSettings``'s.
    """

    clip_low: float = 0.2
    clip_high: float = 0.2
    divide_by_std: bool = False
    normalisation: str = "token_mean"
    length_penalty: float = 0.0
    length_free: int = 2000
    length_full: int = 5000
    leak_penalty: float = 0.0
    leak_words: Sequence[str] = LEAK_WORDS

    def __post_init__(self) -> None:
        if self.normalisation not in NORMALISATIONS:
            raise _unknown("normalisation", self.normalisation, NORMALISATIONS)
        if not 0.0 <= self.clip_low <= 1.0 or self.clip_high < 0.0:
            raise InvalidAlgorithmSetting(
                f"clip_low must lie in [0, 1] and clip_high must not be negative, got "
                f"{self.clip_low} and {self.clip_high}: they are distances from a ratio of 1"
            )
        if isinstance(self.leak_words, str):
            raise InvalidAlgorithmSetting(
                f"leak_words is a list, got {self.leak_words!r}: write leak_words=[...]"
            )
        try:
            self.shaping()
        except ValueError as error:
            raise InvalidAlgorithmSetting(str(error)) from error

    def shaping(self) -> Shaping:
        return Shaping(
            length_penalty=self.length_penalty,
            length_free=self.length_free,
            length_full=self.length_full,
            leak_penalty=self.leak_penalty,
            leak_words=tuple(self.leak_words),
        )

    def loss_settings(self) -> LossSettings:
        return LossSettings(
            clip_low=self.clip_low, clip_high=self.clip_high, normalisation=self.normalisation
        )


@dataclass(frozen=True, kw_only=True)
class DistillSettings(PolicySettings):
    """``PolicySettings`` and those of a KL term between the two views.

    ``kl_placement``: ``loss`` back-propagates the divergence over the vocabulary, ``reward``
    subtracts the sequence's KL from the reward before it is centred (arXiv 2602.04942, Algorithm
    2), measured as ``sequence_kl_estimator`` says: ``exact`` or on the sampled tokens (``k1``).
    """

    kl_placement: str = "loss"
    sequence_kl_estimator: str = "exact"
    divergence_temperature: float = 1.0
    jsd_weight: float = 0.5
    support: str = "full"
    top_k: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kl_placement not in KL_PLACEMENTS:
            raise _unknown("kl_placement", self.kl_placement, KL_PLACEMENTS)
        if self.sequence_kl_estimator not in SEQUENCE_KLS:
            raise _unknown("sequence_kl_estimator", self.sequence_kl_estimator, SEQUENCE_KLS)
        if self.support not in SUPPORTS:
            raise _unknown("support", self.support, SUPPORTS)

    def _check_divergence(self, kind: str) -> None:
        exact = kind if kind in KINDS else "reverse_kl"
        try:
            check_divergence(kind, self.support, self.top_k)
            check_options(exact, self.divergence_temperature, self.jsd_weight, "auto")
        except ValueError as error:
            raise InvalidAlgorithmSetting(str(error)) from error


def _unknown(what: str, given: str, known: Sequence[str]) -> InvalidAlgorithmSetting:
    return InvalidAlgorithmSetting(f"unknown {what} {given!r}: choose one of {', '.join(known)}")


@dataclass
class Signal:
    """A trajectory's advantage, and whether its group tells right from wrong at all."""

    advantages: list[float] = field(default_factory=list)
    informative: list[bool] = field(default_factory=list)


def policy_signal(
    trajectories: Sequence[Trajectory],
    settings: PolicySettings,
    report: RowReport,
    *,
    reward_weight: float = 1.0,
    kl_weight: float = 0.0,
) -> Signal:
    """Group-centred advantages of ``reward_weight * shaped score - kl_weight * sequence KL``.

    What a verifier could not judge is no failure: it stays out of its group's mean. A task
    without privileged information has no KL.

    Raises:
        ValueError: a trajectory that nothing judged, while scores count.
    """
    judged = list(range(len(trajectories)))
    if reward_weight:
        missing = [t.group for t in trajectories if t.score is None and not t.unjudged]
        if missing:
            raise ValueError(
                f"the reward counts but {len(missing)} trajectories have no score (task "
                f"{missing[0]}): name one in reward_model.style, or set reward_weight=0"
            )
        judged = [i for i in judged if trajectories[i].score is not None]
    shaping = settings.shaping()
    rewards = [reward_weight and reward_weight * shaping.reward(trajectories[i]) for i in judged]
    kls = _kls([trajectories[i] for i in judged]) if kl_weight else None
    result = group_centred_advantages(
        torch.tensor(rewards, dtype=torch.float64),
        [trajectories[i].group for i in judged],
        divide_by_std=settings.divide_by_std,
        kl_B=None if kls is None else torch.tensor(kls, dtype=torch.float64),
        kl_weight=kl_weight,
    )
    report.metrics["groups/zero_advantage_share"] = result.metrics["zero_advantage_share"]
    report.metrics["groups/zero_advantage"] = result.metrics["zero_advantage_groups"]
    if kls is not None:
        report.metrics["reward/kl_penalty"] = result.metrics["kl_penalty_mean"]
        told = [t for t in trajectories if t.has_privileged and t.sequence_kl is not None]
        tokens = sum(t.generated_tokens for t in told)
        total = sum(t.sequence_kl or 0.0 for t in told)
        report.metrics["reward/token_kl"] = total / max(tokens, 1)
    signal = Signal([0.0] * len(trajectories), [False] * len(trajectories))
    for place, index in enumerate(judged):
        signal.advantages[index] = float(result.advantages[place])
        signal.informative[index] = bool(result.informative[place])
    return signal


def _kls(trajectories: Sequence[Trajectory]) -> list[float]:
    """Sequence KLs; who was shown nothing gets the mean of its group, which centring takes out."""
    told: dict[str, list[float]] = {}
    for t in trajectories:
        if t.has_privileged:
            told.setdefault(t.group, []).append(t.sequence_kl or 0.0)
    means = {group: sum(values) / len(values) for group, values in told.items()}
    return [
        (t.sequence_kl or 0.0) if t.has_privileged else means.get(t.group, 0.0)
        for t in trajectories
    ]


def task_metrics(
    trajectories: Sequence[Trajectory], settings: PolicySettings, report: RowReport
) -> None:
    """Share of tasks with privileged information, leaks and penalties."""
    tasks: dict[str, bool] = {}
    for t in trajectories:
        tasks[t.group] = tasks.get(t.group, False) or t.has_privileged
    report.metrics["tasks/privileged_share"] = sum(tasks.values()) / max(len(tasks), 1)
    report.metrics |= settings.shaping().metrics(trajectories)
