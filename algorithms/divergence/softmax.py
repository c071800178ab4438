"""From one chunk's logits to its values, and to the gradients that take the logits' place.

Shape suffixes: _n positions of a chunk or of a block of it, _V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from algorithms.divergence import kernels
from algorithms.divergence.kinds import DIVERGENCES
from algorithms.divergence.logits import PADDED_LOGIT, LogitMap, accumulator
from algorithms.divergence.sampled import SampledTokens

# The softmax goes through a chunk in blocks: on a CPU they stay in cache (measured with
# scripts/bench/divergence.py), elsewhere they bound the scratch, a few float32 copies of a block.
CPU_BLOCK_BYTES = 2**20
DEVICE_BLOCK_BYTES = 128 * 2**20


@dataclass(frozen=True)
class SoftmaxJob:
    """What is computed of logits. ``kind`` None: there is no teacher, only sampled tokens.

    ``given_logits``: they are a model's own, and no products with a head.
    ``statistics_ids_N``: ids whose log-probability, entropy and KLs are reported at the
    divergence's temperature.
    """

    kind: str | None
    temperature: float
    jsd_weight: float
    logit_map: LogitMap
    padded_V: Tensor | None
    statistics_ids_N: Tensor | None
    sampled: SampledTokens | None
    sampled_ids_N: Tensor | None
    given_logits: bool = False

    @property
    def value_names(self) -> tuple[str, ...]:
        names: tuple[str, ...] = () if self.kind is None else ("divergence", "weights")
        if self.statistics_ids_N is not None:
            names += ("log_prob", "entropy", "kl_student", "kl_teacher")
        if self.sampled is not None:
            names += ("sampled_log_prob", "sampled_entropy")
        return names


@dataclass
class ChunkResult:
    """``values``: [n] each, by name. ``factor_n``: what the gradient rows that were left in the
    logits still have to be multiplied by."""

    values: dict[str, Tensor]
    factor_n: Tensor
    sampled_loss: Tensor


def softmax_pass(
    logits_nV: Tensor,
    teacher_logits_nV: Tensor | None,
    weights_n: Tensor,
    rows_n: Tensor,
    at: slice,
    job: SoftmaxJob,
    needs_grad: bool,
) -> ChunkResult:
    """The values of one chunk. With ``needs_grad``, ``logits_nV`` becomes d loss / d products.

    Args:
        logits_nV: products hidden @ head.T of the student; overwritten.
        teacher_logits_nV: the teacher's, None without a divergence.
        weights_n: weights of the divergence.
        rows_n: positions of the chunk among all that were given.
        at: the chunk among the positions visited.
    """
    if teacher_logits_nV is not None and _takes_kernel(logits_nV, teacher_logits_nV, job):
        return _kernel_pass(logits_nV, teacher_logits_nV, weights_n, at, job, needs_grad)
    return _plain_pass(logits_nV, teacher_logits_nV, weights_n, rows_n, at, job, needs_grad)


def _plain_pass(
    logits_nV: Tensor,
    teacher_logits_nV: Tensor | None,
    weights_n: Tensor,
    rows_n: Tensor,
    at: slice,
    job: SoftmaxJob,
    needs_grad: bool,
) -> ChunkResult:
    block = min(_block_tokens(logits_nV), len(logits_nV))
    scratch = _Scratch(logits_nV, block, job)
    parts: list[ChunkResult] = []
    for start in range(0, len(logits_nV), block):
        inner = slice(start, start + block)
        visited = slice(at.start + start, at.start + min(start + block, len(logits_nV)))
        teacher = None if teacher_logits_nV is None else teacher_logits_nV[inner]
        piece = _Block(logits_nV[inner], teacher, weights_n[inner], rows_n[inner], visited)
        parts.append(_block_pass(piece, job, scratch, needs_grad))
    return ChunkResult(
        values={k: torch.cat([p.values[k] for p in parts]) for k in job.value_names},
        factor_n=torch.cat([p.factor_n for p in parts]),
        sampled_loss=torch.stack([p.sampled_loss for p in parts]).sum(),
    )


def _takes_kernel(logits_nV: Tensor, teacher_logits_nV: Tensor, job: SoftmaxJob) -> bool:
    """Whether the kernel can do this chunk and was measured, or is asked, to be the one."""
    asked = kernels.choice()
    plain_logits = job.logit_map.cap is None and job.padded_V is None and not job.given_logits
    if asked == "never" or job.sampled is not None or not plain_logits:
        return False
    if logits_nV.dtype == torch.float64:
        return False
    if asked == "always":
        return True
    if not (logits_nV.is_cuda and kernels.available()):
        return False
    return _kernel_is_faster(logits_nV, teacher_logits_nV, job)


_measured: dict[tuple[str | None, torch.dtype, int], bool] = {}


def _kernel_is_faster(logits_nV: Tensor, teacher_logits_nV: Tensor, job: SoftmaxJob) -> bool:
    """Measured on a copy of the first chunk of its kind."""
    name = (job.kind, logits_nV.dtype, logits_nV.shape[1])
    if name not in _measured:
        copies = logits_nV.clone(), teacher_logits_nV.clone()
        count = len(logits_nV)
        weights_n = torch.ones(count, device=logits_nV.device)
        of_all = replace(job, statistics_ids_N=torch.zeros_like(weights_n, dtype=torch.long))
        every = slice(0, count)
        _measured[name] = kernels.faster(
            lambda: _plain_pass(*copies, weights_n, weights_n, every, of_all, True),
            lambda: _kernel_pass(*copies, weights_n, every, of_all, True),
            f"{job.kind}, {count} x {logits_nV.shape[1]} {logits_nV.dtype}",
        )
    return _measured[name]


def _kernel_pass(
    logits_nV: Tensor,
    teacher_logits_nV: Tensor,
    weights_n: Tensor,
    at: slice,
    job: SoftmaxJob,
    needs_grad: bool,
) -> ChunkResult:
    assert job.kind is not None
    scale = job.logit_map.scale / job.temperature
    values = kernels.fused_values(
        logits_nV,
        teacher_logits_nV,
        kind=job.kind,
        scale=scale,
        jsd_weight=job.jsd_weight,
        ids_n=None if job.statistics_ids_N is None else job.statistics_ids_N[at],
        needs_grad=needs_grad,
    )
    return ChunkResult(values | {"weights": weights_n}, weights_n * scale, weights_n.new_zeros(()))


@dataclass
class _Block:
    logits: Tensor
    teacher_logits: Tensor | None
    weights: Tensor
    rows: Tensor
    visited: slice


class _Scratch:
    """Buffers of one block, reused while they are in cache."""

    def __init__(self, like: Tensor, block: int, job: SoftmaxJob) -> None:
        self.shape, self.options = (block, like.shape[1]), {
            "dtype": accumulator(like.dtype),
            "device": like.device,
        }  # fmt: skip
        self.buffers: dict[str, Tensor] = {}

    def take(self, name: str, rows: int) -> Tensor:
        if name not in self.buffers:
            self.buffers[name] = torch.empty(self.shape, **self.options)
        return self.buffers[name][:rows]


def _block_pass(piece: _Block, job: SoftmaxJob, scratch: _Scratch, needs_grad: bool) -> ChunkResult:
    count = len(piece.logits)
    z = _logits(piece.logits, job, scratch, "z")
    values: dict[str, Tensor] = {}
    weights, sampled_loss = piece.weights, piece.weights.new_zeros(())
    sampled_grad = sampled_factor = grad = None
    if job.sampled is not None:
        assert job.sampled_ids_N is not None
        ids = job.sampled_ids_N[piece.visited].unsqueeze(1)
        log_p = _log_softmax(z, job.sampled.temperature, scratch.take("sampled", count))
        log_prob = log_p.gather(1, ids).squeeze(1)
        values["sampled_log_prob"] = log_prob
        if job.sampled.reweight is not None:
            weights = weights * job.sampled.reweight(log_prob, piece.rows).to(weights.dtype)
        p = torch.exp(log_p, out=scratch.take("p", count))
        values["sampled_entropy"] = -log_p.mul_(p).sum(-1)
        if job.sampled.loss is not None:
            sampled_loss, slope = job.sampled.loss_and_slope(log_prob, piece.rows)
            # d log p(id) / d(z / tau) = onehot - p
            sampled_grad = p.neg_().scatter_add_(1, ids, torch.ones_like(p[:, :1]))
            sampled_factor = slope / job.sampled.temperature
    if job.kind is not None:
        assert piece.teacher_logits is not None
        log_p = _log_softmax(z, job.temperature, scratch.take("log_p", count))
        teacher_z = _logits(piece.teacher_logits, job, scratch, "teacher_z")
        log_q = _log_softmax(teacher_z, job.temperature, scratch.take("log_q", count))
        if job.statistics_ids_N is not None:
            values |= _statistics(log_p, log_q, job.statistics_ids_N[piece.visited])
        kernel = DIVERGENCES[job.kind]
        values["weights"] = weights
        values["divergence"], grad = kernel(log_p, log_q, job.jsd_weight, needs_grad)
    factor = weights / job.temperature
    if needs_grad:
        total, factor = _combined(grad, factor, sampled_grad, sampled_factor)
        slope = job.logit_map.slope_(z)
        if slope is not None:
            total.mul_(slope)
            if job.padded_V is not None:  # 0 * inf
                total.masked_fill_(job.padded_V, 0.0)
        piece.logits.copy_(total)
    return ChunkResult(values, factor * job.logit_map.scale, sampled_loss)


def _combined(
    grad: Tensor | None, factor: Tensor, sampled_grad: Tensor | None, sampled_factor: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The gradient of all terms and the factor of its rows.

    Where there is one term, its factor is left to the [n, H] side, which is the smaller one.
    """
    if sampled_grad is None:
        assert grad is not None
        return grad, factor
    assert sampled_factor is not None
    if grad is None:
        return sampled_grad, sampled_factor
    sampled_grad.mul_(sampled_factor.unsqueeze(1)).addcmul_(grad, factor.unsqueeze(1))
    return sampled_grad, torch.ones_like(factor)


def _statistics(log_p: Tensor, log_q: Tensor, ids_n: Tensor) -> dict[str, Tensor]:
    """What a step reports beside its divergence, [n] each."""
    p, difference = log_p.exp(), log_p - log_q
    return {
        "log_prob": log_p.gather(1, ids_n.unsqueeze(1)).squeeze(1),
        "entropy": -(p * log_p).sum(-1),
        "kl_student": p.mul_(difference).sum(-1),
        "kl_teacher": -difference.mul_(log_q.exp()).sum(-1),
    }


def _logits(products: Tensor, job: SoftmaxJob, scratch: _Scratch, name: str) -> Tensor:
    """The model's logits in the accumulator's dtype, in place of the products if that is theirs."""
    if products.dtype != accumulator(products.dtype):
        products = scratch.take(name, len(products)).copy_(products)
    z = job.logit_map.apply_(products)
    if job.given_logits:  # some models put -inf where nothing may be drawn
        z = z.clamp_(min=PADDED_LOGIT)
    return z if job.padded_V is None else z.masked_fill_(job.padded_V, PADDED_LOGIT)


def _log_softmax(z: Tensor, temperature: float, out: Tensor) -> Tensor:
    scaled = z if temperature == 1.0 else z / temperature
    return torch.log_softmax(scaled, dim=-1, out=out)


def _block_tokens(logits_nV: Tensor) -> int:
    size = CPU_BLOCK_BYTES if logits_nV.device.type == "cpu" else DEVICE_BLOCK_BYTES
    itemsize = accumulator(logits_nV.dtype).itemsize
    return max(1, size // (logits_nV.shape[1] * itemsize))
