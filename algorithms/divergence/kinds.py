"""The divergences as functions of two rows of log-probabilities, with their logit gradients.

Each takes log p and log q, [n, V], and returns the values, [n], and the gradient, [n, V] or None.
They overwrite their arguments, since a pass over the vocabulary that allocates costs more than one
that does not. The formulas are in ``algorithms.divergence``.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def _reverse_kl(log_p: Tensor, log_q: Tensor, _w: float, needs_grad: bool):
    d = torch.sub(log_p, log_q, out=log_q)
    p = log_p.exp_()
    terms = d.mul_(p)
    kl = terms.sum(-1)
    return kl, terms.addcmul_(p, kl.unsqueeze(1), value=-1) if needs_grad else None


def _forward_kl(log_p: Tensor, log_q: Tensor, _w: float, needs_grad: bool):
    q = log_q.exp()
    kl = log_q.sub_(log_p).mul_(q).sum(-1)
    return kl, log_p.exp_().sub_(q) if needs_grad else None


def _jsd(log_p: Tensor, log_q: Tensor, w: float, needs_grad: bool):
    q = log_q.exp()
    # x = log(w q / ((1-w) p)). log(p/m) = -log(1-w) - softplus(x), log(q/m) = -log w - softplus(-x)
    # hold where p or q underflows. softplus is linear beyond its threshold, where the difference
    # is below float64's precision.
    x = log_q.sub_(log_p).add_(math.log(w / (1.0 - w)))
    p = log_p.exp_()
    log_p_over_m = F.softplus(x, threshold=40.0).add_(math.log1p(-w)).neg_()
    log_q_over_m = F.softplus(x.neg_(), threshold=40.0).add_(math.log(w)).neg_()
    kl_p_m = (p * log_p_over_m).sum(-1)
    value = w * log_q_over_m.mul_(q).sum(-1) + (1.0 - w) * kl_p_m
    if not needs_grad:
        return value, None
    return value, p.mul_(log_p_over_m.sub_(kl_p_m.unsqueeze(1))).mul_(1.0 - w)


DIVERGENCES = {"reverse_kl": _reverse_kl, "forward_kl": _forward_kl, "jsd": _jsd}
KINDS = tuple(DIVERGENCES)
