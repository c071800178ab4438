"""Advantages of sampled responses relative to their group, the responses to the same task."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# Added to the standard deviation where rewards are divided by it.
STD_EPSILON = 1e-6


@dataclass(frozen=True)
class GroupAdvantages:
    """Advantages, and which responses can teach the policy gradient anything.

    Attributes:
        advantages: [B] float64, 0 where not informative.
        informative: [B] bool, False for the responses of a group whose rewards are all equal
            (a group of one included): they drop out of the policy-gradient term.
        rewards: [B] float64, with the KL subtracted where it was given.
        metrics: `reward_mean`, `groups`, `zero_advantage_groups`, `zero_advantage_share`, and
            `kl_penalty_mean` where a KL was given.
    """

    advantages: Tensor
    informative: Tensor
    rewards: Tensor
    metrics: dict[str, float]


def group_centred_advantages(
    rewards_B: Tensor,
    groups: Sequence[Hashable] | Tensor,
    *,
    divide_by_std: bool = False,
    kl_B: Tensor | None = None,
    kl_weight: float = 0.0,
) -> GroupAdvantages:
    """A = R - mean of R over the group, R = reward - kl_weight * KL.

    The group mean is the baseline of GRPO (arXiv 2402.03300); the standard deviation is left out
    by default, since it favours tasks that are almost always or almost never solved (Dr. GRPO,
    arXiv 2503.20783). A KL given here enters the reward before centring, which is the `reward`
    placement of arXiv 2602.04942 (Algorithm 2).

    Args:
        rewards_B: [B] finite scores.
        groups: B ids, equal for the responses of one task; any order.
        divide_by_std: also divide by the group's standard deviation (n - 1 in its denominator).
        kl_B: [B] sequence KL in nats, a sum over tokens.
        kl_weight: beta, >= 0.

    Raises:
        ValueError: lengths that differ, rewards or KL that are not finite, a negative weight, a
            KL weight without a KL.
    """
    rewards = _finite(rewards_B, "rewards_B")
    index_B, group_count = _group_index(groups, len(rewards))
    metrics = {"reward_mean": rewards.mean().item() if len(rewards) else 0.0}
    if kl_weight < 0:
        raise ValueError(f"kl_weight must not be negative, got {kl_weight}")
    if kl_B is None and kl_weight > 0:
        raise ValueError("kl_weight is set but kl_B is missing: give the sequence KL of each row")
    if kl_B is not None:
        penalty = kl_weight * _finite(kl_B, "kl_B", len(rewards))
        metrics["kl_penalty_mean"] = penalty.mean().item() if len(rewards) else 0.0
        rewards = rewards - penalty

    index_B = index_B.to(rewards.device)
    low = _per_group(rewards, index_B, group_count, "amin")
    # Equal rewards are found by their range: their mean may differ from them by rounding.
    informative = (_per_group(rewards, index_B, group_count, "amax") > low)[index_B]
    advantages = rewards - _per_group(rewards, index_B, group_count, "mean")[index_B]
    if divide_by_std:
        size = torch.bincount(index_B, minlength=group_count)
        variance = _per_group(advantages.square(), index_B, group_count, "sum") / (size - 1).clamp(
            1
        )
        advantages = advantages / (variance.sqrt() + STD_EPSILON)[index_B]
    advantages = torch.where(informative, advantages, torch.zeros_like(advantages))

    uninformative = group_count - len(index_B[informative].unique())
    metrics["groups"] = float(group_count)
    metrics["zero_advantage_groups"] = float(uninformative)
    metrics["zero_advantage_share"] = uninformative / group_count if group_count else 0.0
    return GroupAdvantages(advantages, informative, rewards, metrics)


def _finite(values_B: Tensor, name: str, length: int | None = None) -> Tensor:
    if values_B.dim() != 1 or (length is not None and len(values_B) != length):
        wanted = "B" if length is None else str(length)
        raise ValueError(f"{name} must be [{wanted}], got {list(values_B.shape)}")
    values = values_B.detach().to(torch.float64)
    broken = (~values.isfinite()).nonzero().flatten().tolist()
    if broken:
        raise ValueError(
            f"{name} is not finite in rows {broken[:10]}: drop these rows before, or give them a "
            "score; one NaN would spread over its whole group"
        )
    return values


def _group_index(groups: Sequence[Hashable] | Tensor, length: int) -> tuple[Tensor, int]:
    names = groups.tolist() if isinstance(groups, Tensor) else list(groups)
    if len(names) != length:
        raise ValueError(f"{length} rewards but {len(names)} group ids: one id a response")
    number: dict[Hashable, int] = {}
    index = [number.setdefault(name, len(number)) for name in names]
    return torch.tensor(index, dtype=torch.long), len(number)


def _per_group(values_B: Tensor, index_B: Tensor, groups: int, how: str) -> Tensor:
    empty = values_B.new_zeros(groups)
    return empty.scatter_reduce(0, index_B, values_B, how, include_self=False)
