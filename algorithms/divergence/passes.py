"""One pass over the head, chunk by chunk: values, and both gradients with them.

The logit gradient has a closed form, so the forward pass forms the gradients of the hidden states
and of the head right after each chunk's loss and then reuses the chunk's buffers: no [T, V] tensor
outlives a chunk. The backward pass only scales what the forward pass saved, [T, H] and [V, H].
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from algorithms.divergence.logits import accumulator, usable_head
from algorithms.divergence.softmax import Chunk, SoftmaxJob, softmax_pass

# Size of one [chunk, V] logit buffer (there are two), and the rows that it has at least: every
# chunk reads the head three times and its gradient once, which few rows do not pay for. Measured
# with scripts/bench/divergence.py, see docs/divergence.md.
CPU_CHUNK_BYTES = 128 * 2**20
DEVICE_CHUNK_BYTES = 512 * 2**20
LEAST_ROWS = 256


@dataclass(frozen=True)
class DivergenceOutput:
    """What one pass over the head gives.

    Attributes:
        loss: scalar, sum_t w_t D_t, plus the loss of the sampled tokens where there is one.
            float32 (float64 for float64 inputs).
        per_token_T: D_t without its weight, detached; 0 at positions that were not visited, and
            where there is no teacher.
        log_prob_T: the student's log-probability of `token_ids_T` at the same temperature,
            detached; 0 at positions that were not visited. None unless token ids were given.
        entropy_T: entropy of p in nats, detached, 0 where not visited. None unless token ids were
            given.
        kl_student_T: KL(p||q) in nats whatever the kind, and kl_teacher_T: KL(q||p); as entropy_T.
        sampled_log_prob_T: log-probabilities of the sampled tokens at their own temperature, and
            sampled_entropy_T: the entropy at it; detached. None without sampled tokens.
        weights_T: the weights of the divergence, corrected by `SampledTokens.reweight`; detached.
    """

    loss: Tensor
    per_token_T: Tensor
    log_prob_T: Tensor | None = None
    entropy_T: Tensor | None = None
    kl_student_T: Tensor | None = None
    kl_teacher_T: Tensor | None = None
    sampled_log_prob_T: Tensor | None = None
    sampled_entropy_T: Tensor | None = None
    weights_T: Tensor | None = None


# A pass's per-token values, and the output's attribute of each.
_VALUES = {
    "divergence": "per_token_T",
    "log_prob": "log_prob_T",
    "entropy": "entropy_T",
    "kl_student": "kl_student_T",
    "kl_teacher": "kl_teacher_T",
    "sampled_log_prob": "sampled_log_prob_T",
    "sampled_entropy": "sampled_entropy_T",
    "weights": "weights_T",
}


@dataclass(frozen=True)
class Pass:
    """Everything about a pass but the two tensors that carry a gradient.

    ``rows_N``: the positions visited; ``ids_N`` and ``sampled_ids_N``: tokens there, as in `Chunk`.
    ``teacher_head_VH`` None: the student's.
    """

    softmax: SoftmaxJob
    chunk: int
    matmul_dtype: torch.dtype
    rows_N: Tensor
    weights_N: Tensor
    ids_N: Tensor | None
    sampled_ids_N: Tensor | None
    teacher_hidden_TH: Tensor | None
    teacher_head_VH: Tensor | None


def run(student_hidden_TH: Tensor, head_VH: Tensor | None, job: Pass) -> DivergenceOutput:
    """The pass, with a gradient where one is wanted."""
    needs_grad = any(x is not None and x.requires_grad for x in (student_hidden_TH, head_VH))
    if torch.is_grad_enabled() and needs_grad:
        return DivergenceOutput(*_Differentiable.apply(student_hidden_TH, head_VH, job))
    with torch.no_grad():
        return _run(student_hidden_TH, head_VH, job, False, False)[0]


class _Differentiable(torch.autograd.Function):
    """Forms both gradients in the forward pass; the backward pass scales them.

    The products' dtype was chosen by the caller from the autocast state, and autocast is off
    inside, so that forward and backward agree whatever the state in the backward pass.
    """

    @staticmethod
    def forward(ctx, student_hidden_TH: Tensor, head_weight_VH: Tensor | None, job: Pass):
        needs_hidden, needs_head = ctx.needs_input_grad[:2]
        out, *grads = _run(student_hidden_TH, head_weight_VH, job, needs_hidden, needs_head)
        ctx.save_for_backward(*grads)
        values = tuple(getattr(out, name) for name in _VALUES.values())
        ctx.mark_non_differentiable(*(value for value in values if value is not None))
        return out.loss, *values

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_loss: Tensor, *_unused):
        return *(_scaled(grad, grad_loss) for grad in ctx.saved_tensors), None


def _scaled(grad: Tensor | None, factor: Tensor) -> Tensor | None:
    # The usual factor is 1. On a CPU looking at it is free and spares a copy of [V, H].
    if grad is None or (factor.device.type == "cpu" and factor.item() == 1.0):
        return grad
    return grad * factor.to(grad.dtype)


def _run(
    student_hidden_TH: Tensor,
    head_VH: Tensor | None,
    job: Pass,
    needs_hidden: bool,
    needs_head: bool,
) -> tuple[DivergenceOutput, Tensor | None, Tensor | None]:
    """All chunks: values, d loss / d hidden and d loss / d head (None where not needed)."""
    tokens, device = student_hidden_TH.shape[0], student_hidden_TH.device
    dtype, accumulated = job.matmul_dtype, accumulator(job.matmul_dtype)
    values_KT = {
        name: torch.zeros(tokens, dtype=accumulated, device=device)
        for name in {"divergence", *job.softmax.value_names}
    }
    grad_hidden_TH = torch.zeros_like(student_hidden_TH) if needs_hidden else None
    head_gradient = _HeadGradient(head_VH) if needs_head and head_VH is not None else None
    loss = torch.zeros((), dtype=accumulated, device=device)

    with torch.autocast(device.type, enabled=False):
        heads = _Heads(head_VH, job)
        for start in range(0, job.rows_N.numel(), job.chunk):
            at = slice(start, min(start + job.chunk, job.rows_N.numel()))
            rows = job.rows_N[at]
            student_nH = student_hidden_TH.index_select(0, rows).to(dtype)
            grad_nV = logits_nV = heads.student(student_nH)
            ids, sampled_ids = (
                None if of_all is None else of_all[at] for of_all in (job.ids_N, job.sampled_ids_N)
            )
            chunk = Chunk(logits_nV, heads.teacher(rows), job.weights_N[at], rows, ids, sampled_ids)
            found = softmax_pass(chunk, job.softmax, needs_hidden or needs_head)
            loss += found.sampled_loss
            if "weights" in found.values:
                loss += torch.dot(found.values["weights"], found.values["divergence"])
            for name, value in found.values.items():
                values_KT[name].index_copy_(0, rows, value)
            factor_n1 = found.factor.unsqueeze(1)
            if grad_hidden_TH is not None:
                grad_nH = heads.back(grad_nV) * factor_n1
                grad_hidden_TH.index_copy_(0, rows, grad_nH.to(grad_hidden_TH.dtype))
            if head_gradient is not None:
                head_gradient.add(grad_nV, (student_nH * factor_n1).to(dtype))
    named = {_VALUES[name]: value for name, value in values_KT.items()}
    grad_head_VH = None if head_gradient is None else head_gradient.total()
    return DivergenceOutput(loss, **named), grad_hidden_TH, grad_head_VH


class _Heads:
    """The products of a pass, in buffers that all chunks share: fresh ones would cost their page
    faults every time. Without a head the states are logits already."""

    def __init__(self, head_VH: Tensor | None, job: Pass) -> None:
        self.job, self.head_VH = job, None
        if head_VH is None:
            return
        self.head_VH = usable_head(head_VH, job.softmax.padded_V, job.matmul_dtype)
        shape = (min(job.chunk, max(job.rows_N.numel(), 1)), head_VH.shape[0])
        self.buffers = [
            torch.empty(shape, dtype=job.matmul_dtype, device=head_VH.device)
            for _ in range(1 if job.teacher_hidden_TH is None else 2)
        ]

    def student(self, states_nH: Tensor) -> Tensor:
        """The products of the student, to be overwritten."""
        if self.head_VH is None:
            return states_nH  # a copy of its own: the rows were selected
        return torch.mm(states_nH, self.head_VH.t(), out=self.buffers[0][: len(states_nH)])

    def teacher(self, rows_n: Tensor) -> Tensor | None:
        if self.job.teacher_hidden_TH is None:
            return None
        states_nH = self.job.teacher_hidden_TH.index_select(0, rows_n).to(self.job.matmul_dtype)
        if self.head_VH is None:
            return states_nH
        own = self.job.teacher_head_VH
        head_VH = self.head_VH if own is None else own
        return torch.mm(states_nH, head_VH.t(), out=self.buffers[1][: len(states_nH)])

    def back(self, grad_nV: Tensor) -> Tensor:
        """The gradient of the student's states from that of the products."""
        return grad_nV if self.head_VH is None else torch.mm(grad_nV, self.head_VH)


class _HeadGradient:
    """The sum over chunks of left.T @ right. One product needs no sum and stays in its dtype; more
    are added up in the accumulator's.

    The first product is added to zeros rather than written to fresh memory: on a CPU that was no
    slower, and in some runs faster (docs/divergence.md).
    """

    def __init__(self, head_VH: Tensor) -> None:
        self.head_VH = head_VH
        self.product_VH: Tensor | None = None
        self.sum_VH: Tensor | None = None

    def add(self, left_nV: Tensor, right_nH: Tensor) -> None:
        if self.product_VH is None:
            self.product_VH = torch.zeros_like(self.head_VH, dtype=left_nV.dtype)
            self.product_VH.addmm_(left_nV.t(), right_nH)
            return
        if self.sum_VH is None:
            self.sum_VH = self.product_VH.to(accumulator(left_nV.dtype))
        if self.sum_VH.dtype == left_nV.dtype:
            self.sum_VH.addmm_(left_nV.t(), right_nH)
        else:
            self.sum_VH.add_(torch.mm(left_nV.t(), right_nH, out=self.product_VH))

    def total(self) -> Tensor:
        """The gradient, in the head's dtype; zeros without a chunk."""
        found = self.product_VH if self.sum_VH is None else self.sum_VH
        self.product_VH = None  # before another copy is made
        return torch.zeros_like(self.head_VH) if found is None else found.to(self.head_VH.dtype)


def tokens_per_chunk(
    asked: int | str, visited: int, vocab: int, dtype: torch.dtype, device: torch.device
) -> int:
    """Positions per chunk: even parts, so that the last chunk is no small remainder."""
    if isinstance(asked, int):
        return max(1, min(asked, visited))
    size = CPU_CHUNK_BYTES if device.type == "cpu" else DEVICE_CHUNK_BYTES
    most = max(LEAST_ROWS, size // (vocab * dtype.itemsize))
    parts = max(1, math.ceil(visited / most))
    return max(1, math.ceil(visited / parts))
