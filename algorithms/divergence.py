"""Divergence between a student's and a teacher's next-token distributions, whole vocabulary.

p and q are the student's and the teacher's distributions at one position, softmax(z / temperature)
with z = hidden @ head.T. Nothing is truncated to a top-k. With d = log p - log q:

| kind         | value D                                   | dD / d(z / temperature)      |
|--------------|-------------------------------------------|------------------------------|
| `reverse_kl` | KL(p||q) = sum p d                        | p (d - KL)                   |
| `forward_kl` | KL(q||p) = -sum q d                       | p - q                        |
| `jsd`        | w KL(q||m) + (1-w) KL(p||m)               | (1-w) p (log(p/m) - KL(p||m)) |

where m = w q + (1-w) p. The teacher carries no gradient. Reverse KL toward the same model with
privileged information in its prompt is the distill term of OPSD (arXiv 2602.04942, Eq. 5), forward
KL that of pi-Distill's student objective (Eq. 3). JSD is that of GKD (arXiv 2306.13649).

The logit gradient has a closed form, so the forward pass forms the gradients of the hidden states
and of the head right after each chunk's loss and then reuses the chunk's buffers: no [T, V] tensor
outlives a chunk. The backward pass only scales what the forward pass saved, [T, H] and [V, H].
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from algorithms.divergence_checks import check_lengths, check_options, check_shapes
from algorithms.divergence_kinds import DIVERGENCES, KINDS

__all__ = ["KINDS", "DivergenceOutput", "divergence_loss"]

# Sizes of one [chunk, V] logit buffer (there are two) and of one block inside it. Large chunks
# keep the matrix products efficient; on a CPU the softmax then goes through the chunk in blocks
# that stay in cache. Measured with scripts/bench/divergence.py.
CPU_CHUNK_BYTES = 64 * 2**20
DEVICE_CHUNK_BYTES = 512 * 2**20
CPU_BLOCK_BYTES = 2**20

# Logit of a padded vocabulary row. Finite, so that differences of two of them are 0 and not NaN,
# and far below any real logit, so that its probability is exactly 0.
_PADDED_LOGIT = -1e30


@dataclass(frozen=True)
class DivergenceOutput:
    """What one pass over the head gives.

    Attributes:
        loss: scalar, sum_t w_t D_t. float32 (float64 for float64 inputs).
        per_token_T: D_t without its weight, detached; 0 at positions that were not visited.
        log_prob_T: the student's log-probability of `token_ids_T` at the same temperature,
            detached; 0 at positions that were not visited. None unless token ids were given.
        entropy_T: entropy of p in nats, detached, 0 where not visited. None unless token ids were
            given.
        kl_student_T: KL(p||q) in nats whatever the kind, and kl_teacher_T: KL(q||p); as entropy_T.
    """

    loss: Tensor
    per_token_T: Tensor
    log_prob_T: Tensor | None = None
    entropy_T: Tensor | None = None
    kl_student_T: Tensor | None = None
    kl_teacher_T: Tensor | None = None


def divergence_loss(
    student_hidden_TH: Tensor,
    teacher_hidden_TH: Tensor,
    head_weight_VH: Tensor,
    *,
    kind: str = "reverse_kl",
    weights_T: Tensor | None = None,
    mask_T: Tensor | None = None,
    temperature: float = 1.0,
    chunk_tokens: int | Literal["auto"] = "auto",
    jsd_weight: float = 0.5,
    teacher_head_weight_VH: Tensor | None = None,
    vocab_mask_V: Tensor | None = None,
    token_ids_T: Tensor | None = None,
) -> DivergenceOutput:
    """Weighted sum over positions of the student-teacher divergence, from hidden states.

    Differentiable in `student_hidden_TH` and `head_weight_VH`. The teacher is a constant: no
    gradient reaches the head through it. The sum is not normalised: put 1 / (global token count)
    into `weights_T`. Where no gradient is wanted (`torch.no_grad`, or inputs that need none) only
    the values are computed. First derivatives only.

    Positions with a False mask or a zero weight are not visited: they cost nothing, and a NaN
    there reaches neither the loss nor a gradient. No position visited gives a zero loss that is
    still part of the graph, with zero gradients.

    Precision: softmax, sums and the head's gradient are accumulated in float32 (float64 for
    float64 inputs). The matrix products run in the common dtype of hidden states and head; under
    `torch.autocast` in autocast's dtype, unless the inputs are float64. Gradients come back in
    their input's dtype. bfloat16 products round the logits, as the model's own head would: a
    divergence below about 1e-3 is then noise. float16 is refused: logit gradients underflow in it.

    Args:
        student_hidden_TH: [T, H], the states that predict positions 0..T-1.
        teacher_hidden_TH: [T, H'], the same positions seen by the teacher. H' = H unless the
            teacher has a head of its own.
        head_weight_VH: [V, H] output embedding. Rows that hold -inf are padding (see below).
        kind: `reverse_kl` (p||q), `forward_kl` (q||p) or `jsd`.
        weights_T: [T] constant weights w_t, any sign; all ones by default.
        mask_T: [T], bool or 0/1: positions to visit; all by default.
        temperature: divides student's and teacher's logits; > 0. D is not rescaled by its square.
        chunk_tokens: positions per chunk. `auto` keeps one [chunk, V] buffer near 64 MiB on a
            CPU and 512 MiB elsewhere.
        jsd_weight: w of `jsd`, strictly between 0 and 1. At w -> 0, JSD / w tends to the forward
            KL and at w -> 1, JSD / (1 - w) to the reverse KL, while JSD itself vanishes.
        teacher_head_weight_VH: [V, H'] head of a teacher with weights of its own (frozen, EMA);
            the student's by default.
        vocab_mask_V: [V], False for padded vocabulary rows, which are left out of both softmaxes
            and get zero gradient. Rows of either head that hold -inf are left out as well.
        token_ids_T: [T] integer ids of the sampled tokens; asks for `log_prob_T`, `entropy_T` and
            both KLs.

    Raises:
        ValueError: on shapes that do not fit, an unknown kind, a temperature or a chunk that is
            not positive, a JSD weight outside (0, 1), weights that require a gradient.
        TypeError: on float16 or non-floating inputs.
    """
    own_head = teacher_head_weight_VH is not None
    teacher_head = teacher_head_weight_VH if own_head else head_weight_VH
    check_shapes(student_hidden_TH, teacher_hidden_TH, head_weight_VH, teacher_head)
    check_options(kind, temperature, jsd_weight, chunk_tokens)
    tokens, vocab = student_hidden_TH.shape[0], head_weight_VH.shape[0]
    check_lengths(
        {"weights_T": weights_T, "mask_T": mask_T, "token_ids_T": token_ids_T}, tokens, "T"
    )
    check_lengths({"vocab_mask_V": vocab_mask_V}, vocab, "V")
    if weights_T is not None and weights_T.requires_grad:
        raise ValueError("weights_T requires a gradient, but weights are constants: detach() them")

    matmul_dtype = _matmul_dtype(student_hidden_TH, teacher_hidden_TH, head_weight_VH, teacher_head)
    rows_N, weights_N = _visited(student_hidden_TH, mask_T, weights_T, _accumulator(matmul_dtype))
    with torch.no_grad():
        padded_V = _padded_rows(head_weight_VH, teacher_head if own_head else None, vocab_mask_V)
        job = _Job(
            kind=kind,
            temperature=temperature,
            jsd_weight=jsd_weight,
            chunk=_chunk_tokens(chunk_tokens, rows_N.numel(), vocab, matmul_dtype, rows_N.device),
            matmul_dtype=matmul_dtype,
            rows_N=rows_N,
            weights_N=weights_N,
            teacher_hidden_TH=teacher_hidden_TH.detach(),
            teacher_head_VH=_usable_head(teacher_head, padded_V, matmul_dtype)
            if own_head
            else None,
            padded_V=padded_V,
            token_ids_N=None if token_ids_T is None else token_ids_T.index_select(0, rows_N),
        )
    needs_grad = student_hidden_TH.requires_grad or head_weight_VH.requires_grad
    if torch.is_grad_enabled() and needs_grad:
        return DivergenceOutput(*_Divergence.apply(student_hidden_TH, head_weight_VH, job))
    with torch.no_grad():
        return _run(student_hidden_TH, head_weight_VH, job, False, False)[0]


@dataclass(frozen=True)
class _Job:
    """Everything about a call but the two tensors that carry a gradient."""

    kind: str
    temperature: float
    jsd_weight: float
    chunk: int
    matmul_dtype: torch.dtype
    rows_N: Tensor
    weights_N: Tensor
    teacher_hidden_TH: Tensor
    teacher_head_VH: Tensor | None
    padded_V: Tensor | None
    token_ids_N: Tensor | None


class _Divergence(torch.autograd.Function):
    """Forms both gradients in the forward pass; the backward pass scales them.

    The products' dtype was chosen by the caller from the autocast state, and autocast is off
    inside, so that forward and backward agree whatever the state in the backward pass.
    """

    @staticmethod
    def forward(ctx, student_hidden_TH: Tensor, head_weight_VH: Tensor, job: _Job):
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
    student_hidden_TH: Tensor, head_VH: Tensor, job: _Job, needs_hidden: bool, needs_head: bool
) -> tuple[DivergenceOutput, Tensor | None, Tensor | None]:
    """All chunks: values, d loss / d hidden and d loss / d head (None where not needed)."""
    tokens, device = student_hidden_TH.shape[0], student_hidden_TH.device
    dtype, accumulator = job.matmul_dtype, _accumulator(job.matmul_dtype)
    values_KT = {
        name: torch.zeros(tokens, dtype=accumulator, device=device) for name in _value_names(job)
    }
    grad_hidden_TH = torch.zeros_like(student_hidden_TH) if needs_hidden else None
    grad_head_VH = torch.zeros_like(head_VH, dtype=accumulator) if needs_head else None
    loss = torch.zeros((), dtype=accumulator, device=device)

    with torch.autocast(device.type, enabled=False):
        student_head_VH = _usable_head(head_VH, job.padded_V, dtype)
        teacher_head_VH = student_head_VH if job.teacher_head_VH is None else job.teacher_head_VH
        # Two buffers for all chunks: fresh ones would cost their page faults every time.
        student_buffer, teacher_buffer = (
            torch.empty(job.chunk, head_VH.shape[0], dtype=dtype, device=device) for _ in range(2)
        )
        for start in range(0, job.rows_N.numel(), job.chunk):
            part = slice(start, start + job.chunk)
            rows = job.rows_N[part]
            student_nH = student_hidden_TH.index_select(0, rows).to(dtype)
            teacher_nH = job.teacher_hidden_TH.index_select(0, rows).to(dtype)
            logits_nV = student_buffer[: len(rows)]
            torch.mm(student_nH, student_head_VH.t(), out=logits_nV)
            teacher_logits_nV = teacher_buffer[: len(rows)]
            torch.mm(teacher_nH, teacher_head_VH.t(), out=teacher_logits_nV)
            chunk_values = _softmax_pass(
                logits_nV, teacher_logits_nV, job, part, needs_hidden or needs_head
            )
            loss += torch.dot(job.weights_N[part], chunk_values["divergence"])
            for name, value in chunk_values.items():
                values_KT[name].index_copy_(0, rows, value)
            # _softmax_pass left the gradient in the student's logits. The factor w_t / tau is
            # the same over a row, so it goes to the [n, H] side, which is the smaller one.
            grad_nV = logits_nV
            factor_n1 = (job.weights_N[part] / job.temperature).unsqueeze(1)
            if grad_hidden_TH is not None:
                grad_nH = torch.mm(grad_nV, student_head_VH) * factor_n1
                grad_hidden_TH.index_copy_(0, rows, grad_nH.to(grad_hidden_TH.dtype))
            if grad_head_VH is not None:
                _add_product(grad_head_VH, grad_nV, (student_nH * factor_n1).to(dtype))
    output = DivergenceOutput(loss, *(values_KT.get(name) for name in _VALUES))  # type: ignore
    if grad_head_VH is not None:
        grad_head_VH = grad_head_VH.to(head_VH.dtype)
    return output, grad_hidden_TH, grad_head_VH


# A pass's per-token values, and the output's attribute of each.
_VALUES = {
    "divergence": "per_token_T",
    "log_prob": "log_prob_T",
    "entropy": "entropy_T",
    "kl_student": "kl_student_T",
    "kl_teacher": "kl_teacher_T",
}


def _value_names(job: _Job) -> tuple[str, ...]:
    return ("divergence",) if job.token_ids_N is None else tuple(_VALUES)


def _add_product(total_VH: Tensor, left_nV: Tensor, right_nH: Tensor) -> None:
    """total += left.T @ right, summed over chunks in total's dtype."""
    if total_VH.dtype == left_nV.dtype:
        total_VH.addmm_(left_nV.t(), right_nH)
    else:
        total_VH.add_(torch.mm(left_nV.t(), right_nH))


def _softmax_pass(
    logits_nV: Tensor, teacher_logits_nV: Tensor, job: _Job, part: slice, needs_grad: bool
) -> dict[str, Tensor]:
    """Per-token values of one chunk. With `needs_grad`, `logits_nV` becomes dD_t/d(z_t / tau)."""
    block = min(_block_tokens(logits_nV), len(logits_nV))
    # Scratch for one block, reused while it is in cache.
    scratch_pb, scratch_qb = (
        torch.empty(
            block, logits_nV.shape[1], dtype=_accumulator(logits_nV.dtype), device=logits_nV.device
        )
        for _ in range(2)
    )
    collected: dict[str, list[Tensor]] = {}
    for start in range(0, len(logits_nV), block):
        inner = slice(start, start + block)
        rows_nV = logits_nV[inner]
        log_p = _log_softmax(rows_nV, job, scratch_pb[: len(rows_nV)])
        log_q = _log_softmax(teacher_logits_nV[inner], job, scratch_qb[: len(rows_nV)])
        if job.token_ids_N is not None:
            tokens = job.token_ids_N[part.start + start : part.start + start + len(rows_nV)]
            for name, value in _statistics(log_p, log_q, tokens).items():
                collected.setdefault(name, []).append(value)
        value, grad = DIVERGENCES[job.kind](log_p, log_q, job.jsd_weight, needs_grad)
        collected.setdefault("divergence", []).append(value)
        if grad is not None:
            rows_nV.copy_(grad)
    return {name: torch.cat(parts) for name, parts in collected.items()}


def _statistics(log_p: Tensor, log_q: Tensor, tokens_n: Tensor) -> dict[str, Tensor]:
    """What a step reports beside its divergence, [n] each."""
    p, difference = log_p.exp(), log_p - log_q
    return {
        "log_prob": log_p.gather(1, tokens_n.unsqueeze(1)).squeeze(1),
        "entropy": -(p * log_p).sum(-1),
        "kl_student": p.mul_(difference).sum(-1),
        "kl_teacher": -difference.mul_(log_q.exp()).sum(-1),
    }


def _log_softmax(logits_nV: Tensor, job: _Job, out: Tensor) -> Tensor:
    logits = logits_nV.to(out.dtype)
    if job.temperature != 1.0:
        logits = logits / job.temperature
    if job.padded_V is not None:
        logits = logits.masked_fill(job.padded_V, _PADDED_LOGIT)
    return torch.log_softmax(logits, dim=-1, out=out)


# Sizes, dtypes, padding


def _accumulator(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _matmul_dtype(*tensors: Tensor) -> torch.dtype:
    common = tensors[0].dtype
    for tensor in tensors[1:]:
        common = torch.promote_types(common, tensor.dtype)
    device = tensors[0].device.type
    if common != torch.float64 and torch.is_autocast_enabled(device):
        common = torch.get_autocast_dtype(device)
    if common not in (torch.bfloat16, torch.float32, torch.float64):
        raise TypeError(
            f"the matrix products would run in {common}: give hidden states and head as bfloat16, "
            "float32 or float64, and use autocast with bfloat16 (logit gradients underflow in "
            "float16)"
        )
    return common


def _chunk_tokens(
    asked: int | str, visited: int, vocab: int, dtype: torch.dtype, device: torch.device
) -> int:
    """Positions per chunk: even parts, so that the last chunk is no small remainder."""
    if isinstance(asked, int):
        return max(1, min(asked, visited))
    size = CPU_CHUNK_BYTES if device.type == "cpu" else DEVICE_CHUNK_BYTES
    most = max(16, size // (vocab * dtype.itemsize))
    parts = max(1, math.ceil(visited / most))
    return max(1, math.ceil(visited / parts))


def _block_tokens(logits_nV: Tensor) -> int:
    if logits_nV.device.type != "cpu":
        return len(logits_nV)
    itemsize = _accumulator(logits_nV.dtype).itemsize
    return max(1, CPU_BLOCK_BYTES // (logits_nV.shape[1] * itemsize))


def _visited(
    like: Tensor, mask_T: Tensor | None, weights_T: Tensor | None, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Rows to visit and their weights."""
    keep_T = torch.ones(like.shape[0], dtype=torch.bool, device=like.device)
    if mask_T is not None:
        keep_T = keep_T & mask_T.bool()
    if weights_T is not None:
        keep_T = keep_T & (weights_T != 0)
    rows_N = keep_T.nonzero().squeeze(1)
    if weights_T is None:
        return rows_N, torch.ones(rows_N.numel(), dtype=dtype, device=like.device)
    return rows_N, weights_T.index_select(0, rows_N).to(dtype)


def _padded_rows(head: Tensor, teacher_head: Tensor | None, mask_V: Tensor | None) -> Tensor | None:
    """[V] True where a vocabulary row is padding; None if no row is."""
    padded_V = head.amin(dim=1) == -math.inf
    if teacher_head is not None:
        padded_V |= teacher_head.amin(dim=1) == -math.inf
    if mask_V is not None:
        padded_V |= ~mask_V.bool()
    if padded_V.all():
        raise ValueError("every vocabulary row is padding: check vocab_mask_V and the head's rows")
    return padded_V if padded_V.any() else None


def _usable_head(head_VH: Tensor, padded_V: Tensor | None, dtype: torch.dtype) -> Tensor:
    """The head for the products. Padded rows that are not finite become 0, since 0 * inf is NaN."""
    head = head_VH.detach().to(dtype)
    if padded_V is not None and not head[padded_V].isfinite().all():
        head = head.masked_fill(padded_V.unsqueeze(1), 0.0)
    return head
