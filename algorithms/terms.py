"""The three loss terms over per-token tensors: policy gradient, distill, nll.

Each term is a weighted sum over its own tokens, to be minimised. It is divided by that term's
token count over the global batch (all ranks, all micro-batches), either by `normalise` or by
weights that hold the normaliser already. Sums add up over micro-batches and ranks, means do not,
so metrics are returned as sums too; `policy_metrics` turns their total into means.

Weights are one tensor for everything: a 0/1 loss mask, `token_weights`, or either times a
coefficient. A position with zero weight is not visited: a NaN there changes neither value nor
gradient. A term without any token is a zero that is still part of the graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

TERMS = ("policy_gradient", "distill", "nll")
NORMALISATIONS = ("token_mean", "sequence_mean")

# exp of more than this overflows nothing and says nothing: the ratio is lost long before.
MAX_LOG_RATIO = 20.0


@dataclass(frozen=True)
class Term:
    """One loss term.

    Attributes:
        total: scalar, the weighted sum over the term's tokens.
        metrics: detached scalars, each a sum over the term's tokens; `tokens` counts them.
    """

    total: Tensor
    metrics: dict[str, Tensor] = field(default_factory=dict)


def policy_gradient(
    log_prob_T: Tensor,
    old_log_prob_T: Tensor,
    advantage_T: Tensor,
    weights_T: Tensor,
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
) -> Term:
    """Clipped importance-weighted policy gradient: -sum_t w_t min(r_t A_t, clip(r_t) A_t).

    r_t = exp(log_prob_t - old_log_prob_t), clipped to [1 - clip_low, 1 + clip_high] (PPO, arXiv
    1707.06347, Eq. 7, with a bound on each side as in DAPO, arXiv 2503.14476). The old log-prob is
    that of the distribution which sampled: the same view's for OPSD and for pi-Distill's teacher,
    the teacher's for its student (arXiv 2602.04942, Eqs. 2, 3, 5).

    Args:
        log_prob_T: any shape, log-probability of the sampled token, with gradient.
        old_log_prob_T: same shape, taken at sampling time; constant.
        advantage_T: same shape; constant.
        weights_T: same shape: loss mask or weights.
        clip_low: how far the ratio may fall below 1, in [0, 1].
        clip_high: how far the ratio may rise above 1, >= 0.

    Returns:
        Term with the sums `tokens`, `ratio`, `ratio_squared`, `clipped_low`, `clipped_high`
        (tokens whose gradient the bound cut), `approx_kl` (k3 estimate of KL(old||new), nats).

    Raises:
        ValueError: shapes that differ, bounds out of range.
    """
    if not 0.0 <= clip_low <= 1.0 or not clip_high >= 0.0:
        raise ValueError(
            f"clip_low must lie in [0, 1] and clip_high must not be negative, got {clip_low} and "
            f"{clip_high}: they are distances from a ratio of 1, so 0.2 stands for [0.8, 1.2]"
        )
    log_prob_N, old_N, advantage_N, weights_N = _visited(
        weights_T, log_prob=log_prob_T, old_log_prob=old_log_prob_T, advantage=advantage_T
    )
    old_N, advantage_N = old_N.detach(), advantage_N.detach()
    log_ratio_N = (log_prob_N - old_N).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
    ratio_N = log_ratio_N.exp()
    clipped_N = ratio_N.clamp(1.0 - clip_low, 1.0 + clip_high)
    objective_N = torch.minimum(ratio_N * advantage_N, clipped_N * advantage_N)

    ratio_N = ratio_N.detach()
    metrics = {
        "tokens": _count(ratio_N),
        "ratio": ratio_N.sum(),
        "ratio_squared": ratio_N.square().sum(),
        "clipped_low": ((ratio_N < 1.0 - clip_low) & (advantage_N < 0)).sum().to(ratio_N.dtype),
        "clipped_high": ((ratio_N > 1.0 + clip_high) & (advantage_N > 0)).sum().to(ratio_N.dtype),
        "approx_kl": (ratio_N - 1.0 - log_ratio_N.detach()).sum(),
    }
    return Term(-(weights_N * objective_N).sum(), metrics)


def distill(divergence_T: Tensor, weights_T: Tensor) -> Term:
    """Sum of a per-token divergence that carries a gradient: sum_t w_t D_t.

    For divergences that are already [T] tensors of the graph. The exact one is cheaper with the
    same weights given to `algorithms.divergence.divergence_loss`.

    Returns:
        Term with the sums `tokens` and `divergence` (unweighted, nats).
    """
    divergence_N, weights_N = _visited(weights_T, divergence=divergence_T)
    metrics = {"tokens": _count(divergence_N), "divergence": divergence_N.detach().sum()}
    return Term((weights_N * divergence_N).sum(), metrics)


def nll(log_prob_T: Tensor, weights_T: Tensor) -> Term:
    """Negative log-likelihood of given tokens: -sum_t w_t log_prob_t.

    Returns:
        Term with the sums `tokens` and `nll` (unweighted, nats).
    """
    log_prob_N, weights_N = _visited(weights_T, log_prob=log_prob_T)
    metrics = {"tokens": _count(log_prob_N), "nll": -log_prob_N.detach().sum()}
    return Term(-(weights_N * log_prob_N).sum(), metrics)


def normalise(total: Tensor, global_count: float, *, averaging_ranks: int = 1) -> Tensor:
    """A term's local sum, divided by the term's count over the global batch.

    Args:
        total: this micro-batch's sum on this rank.
        global_count: `term_count` summed over micro-batches and ranks. Zero is allowed: nobody
            has a token, and the sum, a zero of the graph, is returned as it is.
        averaging_ranks: number of data-parallel ranks if the trainer averages gradients over them
            (FSDP and DDP do), which would divide a second time.

    Raises:
        ValueError: a negative count.
    """
    if global_count < 0:
        raise ValueError(f"global_count must not be negative, got {global_count}")
    return total * (averaging_ranks / global_count) if global_count > 0 else total


def token_weights(
    mask: Tensor, mode: str = "token_mean", *, sequence_ids_T: Tensor | None = None
) -> Tensor:
    """Weights that make the sum over tokens, divided by `term_count`, the wanted mean.

    `token_mean`: every token counts alike. `sequence_mean`: every sequence with at least one token
    counts alike, a token 1 / (tokens of its sequence).

    Args:
        mask: [B, T] loss mask, bool or 0/1; or [T], the packed tokens of several sequences.
        mode: `token_mean` or `sequence_mean`.
        sequence_ids_T: [T] integer id of each packed token's sequence, for `sequence_mean` on a
            packed mask.

    Returns:
        float32 of the mask's shape.

    Raises:
        ValueError: an unknown mode, or a packed mask without sequence ids.
    """
    weights = mask.bool().to(torch.float32)
    if _checked_mode(mode) == "token_mean":
        return weights
    return weights / _tokens_of_sequence(weights, sequence_ids_T).clamp(min=1.0)


def term_count(
    mask: Tensor, mode: str = "token_mean", *, sequence_ids_T: Tensor | None = None
) -> int:
    """What `token_weights` sums to: tokens, or sequences with at least one token.

    Sequences must not be split over micro-batches or ranks for `sequence_mean`.
    """
    return round(token_weights(mask, mode, sequence_ids_T=sequence_ids_T).double().sum().item())


def distill_weights(
    weights_T: Tensor,
    coefficient: float = 1.0,
    *,
    log_prob_T: Tensor | None = None,
    behaviour_log_prob_T: Tensor | None = None,
    max_ratio: float = 2.0,
) -> Tensor:
    """Weights of the distill term: coefficient, and truncated importance ratios where asked for.

    On stored samples of another policy, w_t is multiplied by min(pi(o_t) / mu(o_t), max_ratio)
    (truncated importance sampling, Ionides 2008); it carries no gradient.

    Args:
        weights_T: loss mask or `token_weights`.
        coefficient: the weight of the term (beta).
        log_prob_T: of the sampled token under the current policy.
        behaviour_log_prob_T: of the sampled token under the policy that sampled it.
        max_ratio: upper bound of the ratio, > 0.

    Raises:
        ValueError: only one of the log-probs is given, shapes differ, or the bound is not positive.
    """
    if (log_prob_T is None) != (behaviour_log_prob_T is None):
        raise ValueError("importance weights need log_prob_T and behaviour_log_prob_T, or neither")
    weights_T = weights_T.to(torch.float32) * coefficient
    if log_prob_T is None or behaviour_log_prob_T is None:
        return weights_T
    if not max_ratio > 0.0:
        raise ValueError(f"max_ratio must be positive, got {max_ratio}")
    new_N, old_N, weights_N = _visited(
        weights_T, log_prob=log_prob_T, behaviour_log_prob=behaviour_log_prob_T
    )
    ratio_N = (new_N - old_N).detach().clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
    corrected_N = weights_N * ratio_N.clamp(max=max_ratio)
    return torch.zeros_like(weights_T).masked_scatter(weights_T != 0, corrected_N.to(weights_T))


def add_metrics(parts: Iterable[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Sums of the metrics of several micro-batches or ranks."""
    summed: dict[str, Tensor] = {}
    for part in parts:
        for name, value in part.items():
            summed[name] = summed[name] + value if name in summed else value
    return summed


def policy_metrics(sums: Mapping[str, Tensor]) -> dict[str, float]:
    """Means from the summed metrics of `policy_gradient`; empty without a token.

    `clip_fraction`, `clip_fraction_low`, `clip_fraction_high`: share of tokens; `ratio_mean`;
    `approx_kl`: nats per token; `effective_sample_size`: (sum r)^2 / (n sum r^2) over tokens, the
    share in (0, 1] of samples that carry weight.
    """
    tokens = float(sums["tokens"])
    if tokens == 0:
        return {}
    low, high = float(sums["clipped_low"]) / tokens, float(sums["clipped_high"]) / tokens
    ratio, squared = float(sums["ratio"]), float(sums["ratio_squared"])
    return {
        "clip_fraction": low + high,
        "clip_fraction_low": low,
        "clip_fraction_high": high,
        "ratio_mean": ratio / tokens,
        "approx_kl": float(sums["approx_kl"]) / tokens,
        "effective_sample_size": ratio**2 / (tokens * squared) if squared > 0 else 0.0,
    }


def _visited(weights_T: Tensor, **named: Tensor) -> list[Tensor]:
    """The tensors, then the weights, at positions of non-zero weight, each [N]."""
    for name, tensor in named.items():
        if tensor.shape != weights_T.shape:
            raise ValueError(
                f"{name} has shape {list(tensor.shape)} and the weights {list(weights_T.shape)}: "
                "all per-token tensors of a term must have the same shape"
            )
    keep_T = weights_T != 0
    picked = [tensor[keep_T] for tensor in named.values()]
    dtype = picked[0].dtype if picked[0].dtype == torch.float64 else torch.float32
    return [*(tensor.to(dtype) for tensor in picked), weights_T.detach()[keep_T].to(dtype)]


def _count(values_N: Tensor) -> Tensor:
    return torch.tensor(float(values_N.numel()), device=values_N.device)


def _checked_mode(mode: str) -> str:
    if mode not in NORMALISATIONS:
        raise ValueError(
            f"unknown normalisation {mode!r}: choose one of {', '.join(NORMALISATIONS)}"
        )
    return mode


def _tokens_of_sequence(weights: Tensor, sequence_ids_T: Tensor | None) -> Tensor:
    """For every position, the number of unmasked tokens in its sequence."""
    if sequence_ids_T is None:
        if weights.dim() != 2:
            raise ValueError(
                f"sequence_mean of a mask of shape {list(weights.shape)}: give [B, T], or packed "
                "tokens [T] with sequence_ids_T"
            )
        return weights.sum(dim=1, keepdim=True)
    if sequence_ids_T.shape != weights.shape or weights.dim() != 1:
        raise ValueError(
            f"sequence_ids_T must be [T] like the mask, got {list(sequence_ids_T.shape)} and "
            f"{list(weights.shape)}"
        )
    _, index_T = sequence_ids_T.unique(return_inverse=True)
    counts = torch.zeros(len(weights), device=weights.device).index_add(0, index_T, weights)
    return counts[index_T]
