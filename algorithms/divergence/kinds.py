"""The divergences as functions of two blocks of logits and their softmaxes, with logit gradients.

With d = z - z', the difference of the logits, and s that of the two log-normalisers, log p - log q
is d - s: the value needs no logarithm of a probability, and the gradient of a KL not even s. So a
divergence takes one exponential for each distribution. Every function overwrites what it was given,
since a pass over the vocabulary that allocates costs more than one that does not. The formulas are
in ``algorithms.divergence``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass
class Softmax:
    """A block's distributions.

    Attributes:
        z: [n, V] logits over the temperature.
        p: [n, V] probabilities.
        top: [n] largest logit, and log_sum: [n] log of the sum of exp(z - top), apart since their
            sum is less precise than a difference of two of each.
    """

    z: Tensor
    p: Tensor
    top: Tensor
    log_sum: Tensor

    @classmethod
    def of(cls, z: Tensor, out: Tensor) -> Softmax:
        p = torch.softmax(z, dim=-1, out=out)
        return cls(z, p, z.amax(-1), p.amax(-1).log().neg_())

    @property
    def log_normaliser(self) -> Tensor:
        return self.top + self.log_sum


@dataclass
class Pair:
    """Student and teacher of a block, ``d`` in the place of the teacher's logits, and [n, V] of
    ``room`` for products."""

    student: Softmax
    teacher: Softmax
    room: Tensor

    def __post_init__(self) -> None:
        student, teacher = self.student, self.teacher
        self.d = torch.sub(student.z, teacher.z, out=teacher.z)
        self.s = (student.top - teacher.top) + (student.log_sum - teacher.log_sum)

    def mean(self, of: Tensor, under: Tensor) -> Tensor:
        """Expectations, [n]; ``room`` holds their terms."""
        return torch.mul(under, of, out=self.room).sum(-1)


def _reverse_kl(pair: Pair, _w: float, grad: Tensor | None) -> Tensor:
    p = pair.student.p
    mean_d = pair.mean(pair.d, p)
    if grad is not None:
        torch.addcmul(pair.room, p, mean_d.unsqueeze(1), value=-1, out=grad)
    return mean_d - pair.s


def _forward_kl(pair: Pair, _w: float, grad: Tensor | None) -> Tensor:
    kl = pair.s - pair.mean(pair.d, pair.teacher.p)
    if grad is not None:
        torch.sub(pair.student.p, pair.teacher.p, out=grad)
    return kl


def _jsd(pair: Pair, w: float, grad: Tensor | None) -> Tensor:
    p, q = pair.student.p, pair.teacher.p
    # x = log(w q / ((1-w) p)). log(p/m) = -log(1-w) - softplus(x), log(q/m) = -log w - softplus(-x)
    # hold where p or q underflows. softplus is linear beyond its threshold, where the difference
    # is below float64's precision.
    x = pair.d.neg_().add_((pair.s + math.log(w / (1.0 - w))).unsqueeze(1))
    log_p_over_m = F.softplus(x, threshold=40.0).add_(math.log1p(-w)).neg_()
    kl_p_m = pair.mean(log_p_over_m, p)
    log_q_over_m = F.softplus(x.neg_(), threshold=40.0).add_(math.log(w)).neg_()
    value = w * pair.mean(log_q_over_m, q) + (1.0 - w) * kl_p_m
    if grad is not None:
        centred = log_p_over_m.sub_(kl_p_m.unsqueeze(1)).mul_(1.0 - w)
        torch.mul(p, centred, out=grad)
    return value


# Values, [n], of a pair. The gradient goes to the third argument, where there is one; it may be the
# student's logits.
DIVERGENCES: dict[str, Callable[[Pair, float, Tensor | None], Tensor]] = {
    "reverse_kl": _reverse_kl,
    "forward_kl": _forward_kl,
    "jsd": _jsd,
}
KINDS = tuple(DIVERGENCES)
