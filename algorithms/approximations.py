"""Cheap stand-ins for the exact divergence, for comparison with it.

`top_k_divergence` looks at the k likeliest tokens of one side and gathers all others in a tail
bucket; k2 and k3 (Schulman, *Approximating KL divergence*, 2020) look at the sampled token alone.
Merging tokens into a bucket never raises a KL, so a top-k value bounds the exact one from below.

k1 = log p(o) - log q(o) is unbiased as a value, but differentiating it gives the score function,
grad log p(o), whose mean is zero and in which the teacher does not occur: as a loss it is refused.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from algorithms.divergence.kinds import KINDS
from algorithms.divergence.logits import PLAIN, LogitMap

SUPPORTS = ("full", "student", "teacher")
SAMPLED = ("k2", "k3")
DEFAULT_CHUNK = 256


def check_divergence(kind: str, support: str = "full", top_k: int = 1) -> None:
    """Is ``kind`` a loss, on the support asked for?

    Raises:
        ValueError: it is not, with the reason and what to use.
    """
    if kind == "k1":
        raise ValueError(
            "k1 cannot be a loss: its gradient is the score function of the sampled token, in "
            "which the teacher does not occur. Use reverse_kl (exact), k2 or k3, or put k1 in the "
            "reward: kl_placement=reward sequence_kl_estimator=k1"
        )
    if kind not in (*KINDS, *SAMPLED):
        raise ValueError(
            f"unknown divergence {kind!r}: choose one of {', '.join((*KINDS, *SAMPLED))}"
        )
    if support not in SUPPORTS:
        raise ValueError(f"unknown support {support!r}: choose one of {', '.join(SUPPORTS)}")
    if support != "full" and kind in SAMPLED:
        raise ValueError(f"{kind} looks at the sampled token alone: leave support=full")
    if support != "full" and top_k < 1:
        raise ValueError(f"top_k must be at least 1, got {top_k}")


def sampled_token_divergence(kind: str, log_p_T: Tensor, log_q_T: Tensor) -> Tensor:
    """[T]: k1, k2 or k3 of KL(p||q) on tokens sampled from p.

    k2 = (log p - log q)^2 / 2: biased as a value, but its gradient is that of the reverse KL in
    the mean. k3 = q/p - 1 - log(q/p): unbiased and never negative; differentiated it pulls as the
    forward KL does.

    Args:
        kind: ``k1``, ``k2`` or ``k3``.
        log_p_T: the trained view's log-probabilities of the sampled tokens.
        log_q_T: the other view's; constant.

    Raises:
        ValueError: ``k1`` of log-probabilities with a gradient, or an unknown kind.
    """
    log_ratio_T = log_q_T.detach() - log_p_T
    if kind == "k1":
        if log_p_T.requires_grad:
            check_divergence("k1")
        return -log_ratio_T
    if kind == "k2":
        return 0.5 * log_ratio_T.square()
    if kind == "k3":
        return log_ratio_T.clamp(max=20.0).exp() - 1.0 - log_ratio_T
    raise ValueError(f"unknown estimator {kind!r}: choose k1, k2 or k3")


def top_k_divergence(
    student_hidden_TH: Tensor,
    teacher_hidden_TH: Tensor,
    head_weight_VH: Tensor | None,
    *,
    kind: str = "reverse_kl",
    support: str = "student",
    top_k: int = 64,
    temperature: float = 1.0,
    jsd_weight: float = 0.5,
    teacher_head_weight_VH: Tensor | None = None,
    chunk_tokens: int = DEFAULT_CHUNK,
    logit_map: LogitMap = PLAIN,
) -> Tensor:
    """[T] float32: divergence over the ``top_k`` likeliest tokens of one side and a tail bucket.

    Differentiable in the student's hidden states and the head; the teacher is a constant. Chunks
    are recomputed in the backward pass, so that no [T, V] tensor is kept. ``top_k`` at or above
    the vocabulary gives the exact value.

    Args:
        student_hidden_TH: [T, H]; ``teacher_hidden_TH``: [T, H'].
        head_weight_VH: [V, H]; ``teacher_head_weight_VH`` [V, H'] where the teacher has its own.
            None: the states are logits.
        kind: ``reverse_kl``, ``forward_kl`` or ``jsd``.
        support: whose likeliest tokens: ``student`` or ``teacher``.
        logit_map: what the model makes of hidden @ head.T.

    Raises:
        ValueError: see `check_divergence`.
    """
    check_divergence(kind, support, top_k)
    teacher_head = head_weight_VH if teacher_head_weight_VH is None else teacher_head_weight_VH
    vocab = student_hidden_TH.shape[1] if head_weight_VH is None else head_weight_VH.shape[0]
    count = min(top_k, vocab)

    def log_softmax(states_nH: Tensor, head_VH: Tensor | None) -> Tensor:
        products = states_nH if head_VH is None else states_nH @ head_VH.t().to(states_nH.dtype)
        return torch.log_softmax(logit_map(products.float()) / temperature, dim=-1)

    def one(student_nH: Tensor, teacher_nH: Tensor, head_VH: Tensor | None) -> Tensor:
        log_p = log_softmax(student_nH, head_VH)
        with torch.no_grad():
            log_q = log_softmax(teacher_nH, teacher_head)
            index = (log_p if support == "student" else log_q).topk(count, dim=-1).indices
        return _bucketed(kind, log_p, log_q, index, jsd_weight)

    parts = []
    for start in range(0, len(student_hidden_TH), chunk_tokens):
        rows = slice(start, start + chunk_tokens)
        student_nH, teacher_nH = student_hidden_TH[rows], teacher_hidden_TH[rows].detach()
        parts.append(checkpoint(one, student_nH, teacher_nH, head_weight_VH, use_reentrant=False))
    if not parts:
        nothing = student_hidden_TH.sum(-1).float()
        return nothing if head_weight_VH is None else nothing + 0.0 * head_weight_VH[:1].sum()
    return torch.cat(parts)


def _bucketed(kind: str, log_p_nV: Tensor, log_q_nV: Tensor, index_nK: Tensor, w: float) -> Tensor:
    """The divergence between two distributions over K tokens and the rest."""
    log_p, log_q = (_with_tail(values, index_nK) for values in (log_p_nV, log_q_nV))
    p, q = log_p.exp(), log_q.exp()
    if kind == "reverse_kl":
        return (p * (log_p - log_q)).sum(-1)
    if kind == "forward_kl":
        return (q * (log_q - log_p)).sum(-1)
    log_m = torch.logaddexp(log_q + math.log(w), log_p + math.log1p(-w))
    return (w * q * (log_q - log_m) + (1.0 - w) * p * (log_p - log_m)).sum(-1)


def _with_tail(log_p_nV: Tensor, index_nK: Tensor) -> Tensor:
    """[n, K + 1]: the chosen tokens' log-probabilities and that of all others together."""
    chosen = log_p_nV.gather(1, index_nK)
    others = log_p_nV.scatter(1, index_nK, -math.inf)
    if others.shape[1] == index_nK.shape[1]:  # nothing is left: an empty tail
        return torch.cat([chosen, torch.full_like(chosen[:, :1], -1e4)], dim=1)
    return torch.cat([chosen, others.logsumexp(-1, keepdim=True).clamp(min=-1e4)], dim=1)
