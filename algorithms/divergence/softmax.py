"""From one chunk's logits to its values, and to the gradients that take the logits' place.

Shape suffixes: _n positions of a chunk or of a block of it, _V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from algorithms.divergence import kernel_choice
from algorithms.divergence.kinds import DIVERGENCES, Pair, Softmax
from algorithms.divergence.logits import PADDED_LOGIT, LogitMap, accumulator
from algorithms.divergence.sampled import SampledTokens

# The softmax goes through a chunk in blocks: on a CPU they stay in cache (measured with
# scripts/bench/divergence.py), elsewhere they bound the scratch, a few float32 copies of a block.
CPU_BLOCK_BYTES = 2 * 2**20
DEVICE_BLOCK_BYTES = 128 * 2**20


@dataclass(frozen=True)
class SoftmaxJob:
    """What is computed of logits. ``kind`` None: there is no teacher, only sampled tokens.

    ``given_logits``: they are a model's own, and no products with a head.
    ``statistics``: whether log-probabilities, entropies and KLs are wanted at the divergence's
    temperature.
    """

    kind: str | None
    temperature: float
    jsd_weight: float
    logit_map: LogitMap
    padded_V: Tensor | None
    statistics: bool
    sampled: SampledTokens | None
    given_logits: bool = False

    @property
    def value_names(self) -> tuple[str, ...]:
        names: tuple[str, ...] = () if self.kind is None else ("divergence", "weights")
        if self.statistics:
            names += ("log_prob", "entropy", "kl_student", "kl_teacher")
        if self.sampled is not None:
            names += ("sampled_log_prob", "sampled_entropy")
        return names

    @property
    def products_are_logits(self) -> bool:
        """Whether nothing happens between the product with the head and the softmax."""
        return self.logit_map == LogitMap() and self.padded_V is None and not self.given_logits


@dataclass
class Chunk:
    """Positions that are computed at a time.

    Attributes:
        logits: [n, V] products hidden @ head.T of the student; overwritten.
        teacher_logits: the teacher's, None without a divergence; overwritten.
        weights: [n] weights of the divergence.
        rows: [n] positions among all that were given.
        ids: [n] tokens whose statistics are wanted; sampled_ids: [n] the sampled tokens.
    """

    logits: Tensor
    teacher_logits: Tensor | None
    weights: Tensor
    rows: Tensor
    ids: Tensor | None = None
    sampled_ids: Tensor | None = None

    def __len__(self) -> int:
        return len(self.logits)

    def block(self, inner: slice) -> Chunk:
        parts = (getattr(self, name) for name in self.__dataclass_fields__)
        return Chunk(*(None if part is None else part[inner] for part in parts))  # type: ignore


@dataclass
class ChunkResult:
    """``values``: [n] each, by name. ``factor``: what the gradient rows that were left in the
    logits still have to be multiplied by, [n]."""

    values: dict[str, Tensor]
    factor: Tensor
    sampled_loss: Tensor


def softmax_pass(chunk: Chunk, job: SoftmaxJob, needs_grad: bool) -> ChunkResult:
    """The values of one chunk. With ``needs_grad`` its logits become d loss / d products."""
    if kernel_choice.takes_kernel(chunk, job, needs_grad, _plain_pass):
        return kernel_choice.kernel_pass(chunk, job, needs_grad)
    return _plain_pass(chunk, job, needs_grad)


def _plain_pass(chunk: Chunk, job: SoftmaxJob, needs_grad: bool) -> ChunkResult:
    size = min(_block_tokens(chunk.logits), len(chunk))
    blocks = [slice(start, start + size) for start in range(0, len(chunk), size)]
    scratch = _Scratch(chunk.logits, size)
    sampled = _Sampled()
    if job.sampled is not None:
        sampled = _look_at_sampled(chunk, job, job.sampled, blocks, scratch)
        chunk.weights = sampled.weights
    values: dict[str, list[Tensor]] = {}
    factors = []
    for inner in blocks:
        found, factor = _block_pass(
            chunk.block(inner), sampled.block(inner), job, scratch, needs_grad
        )
        factors.append(factor)
        for name, value in found.items():
            values.setdefault(name, []).append(value)
    whole = {name: torch.cat(parts) for name, parts in values.items()} | sampled.values
    if job.kind is not None:
        whole["weights"] = chunk.weights
    loss = chunk.weights.new_zeros(()) if sampled.loss is None else sampled.loss
    return ChunkResult(whole, torch.cat(factors), loss)


class _Scratch:
    """Buffers of one block, reused while they are in cache."""

    def __init__(self, like: Tensor, size: int) -> None:
        self.like, self.shape = like, (size, like.shape[1])
        self.buffers: dict[str, Tensor] = {}

    def take(self, name: str, rows: int) -> Tensor:
        if name not in self.buffers:
            self.buffers[name] = self.like.new_empty(self.shape, dtype=accumulator(self.like.dtype))
        return self.buffers[name][:rows]


@dataclass
class _Sampled:
    """Of a chunk's sampled tokens, [n] each: the softmax's log-normaliser, the derivative of their
    loss in their log-probability, and the divergence's weights, corrected."""

    log_normaliser: Tensor | None = None
    slope: Tensor | None = None
    weights: Tensor = field(default_factory=lambda: torch.empty(0))
    loss: Tensor | None = None
    values: dict[str, Tensor] = field(default_factory=dict)

    def block(self, inner: slice) -> _Sampled:
        normaliser, slope = (
            None if part is None else part[inner] for part in (self.log_normaliser, self.slope)
        )
        return _Sampled(normaliser, slope)


def _look_at_sampled(
    chunk: Chunk, job: SoftmaxJob, asked: SampledTokens, blocks: list[slice], scratch: _Scratch
) -> _Sampled:
    """A first look at the logits, for what the gradient depends on. The loss and the correction are
    asked once a chunk, since each call of them costs as much as several rows."""
    log_probs, normalisers = [], []
    for inner in blocks:
        block = chunk.block(inner)
        assert block.sampled_ids is not None
        ids = block.sampled_ids.unsqueeze(1)
        z = _logits(block.logits, job, scratch, "z")
        log_p = _log_softmax(z, asked.temperature, scratch.take("sampled", len(block)))
        log_probs.append(log_p.gather(1, ids).squeeze(1))
        normalisers.append(z.gather(1, ids).squeeze(1) / asked.temperature - log_probs[-1])
    found = _Sampled(torch.cat(normalisers), weights=chunk.weights)
    log_prob = torch.cat(log_probs)
    found.values["sampled_log_prob"] = log_prob
    if asked.reweight is not None:
        found.weights = chunk.weights * asked.reweight(log_prob, chunk.rows).to(chunk.weights)
    if asked.loss is not None:
        found.loss, found.slope = asked.loss_and_slope(log_prob, chunk.rows)
    return found


def _block_pass(
    block: Chunk, sampled: _Sampled, job: SoftmaxJob, scratch: _Scratch, needs_grad: bool
) -> tuple[dict[str, Tensor], Tensor]:
    """A block's values, and the factor of its gradient's rows."""
    z = _logits(block.logits, job, scratch, "z")
    values: dict[str, Tensor] = {}
    grad = sampled_grad = sampled_factor = None
    if job.sampled is not None:
        p, values["sampled_entropy"] = _sampled_softmax(z, sampled, job.sampled, scratch)
        if sampled.slope is not None:
            assert block.sampled_ids is not None
            # d log p(id) / d(z / tau) = onehot - p
            ones = torch.ones_like(p[:, :1])
            sampled_grad = p.neg_().scatter_add_(1, block.sampled_ids.unsqueeze(1), ones)
            sampled_factor = sampled.slope / job.sampled.temperature
    if job.kind is not None:
        pair = _pair(z, block, job, scratch)
        if block.ids is not None:
            values |= _statistics(pair, block.ids)
        if needs_grad:
            # Alone and unmapped, the gradient goes right where it has to be.
            direct = z is block.logits and sampled_grad is None
            grad = z if direct else scratch.take("grad", len(block))
        values["divergence"] = DIVERGENCES[job.kind](pair, job.jsd_weight, grad)
    factor = block.weights / job.temperature
    if needs_grad:
        total, factor = _combined(grad, factor, sampled_grad, sampled_factor)
        slope = job.logit_map.slope_(z)
        if slope is not None:
            total.mul_(slope)
            if job.padded_V is not None:  # 0 * inf
                total.masked_fill_(job.padded_V, 0.0)
        if total is not block.logits:
            block.logits.copy_(total)
    return values, factor * job.logit_map.scale


def _pair(z: Tensor, block: Chunk, job: SoftmaxJob, scratch: _Scratch) -> Pair:
    """Student and teacher at the divergence's temperature; the teacher's logits are used up."""
    assert block.teacher_logits is not None
    rows = len(block)
    teacher_z = _logits(block.teacher_logits, job, scratch, "teacher_z")
    if job.temperature != 1.0:
        z = torch.div(z, job.temperature, out=scratch.take("scaled", rows))
        teacher_z = teacher_z.div_(job.temperature)
    return Pair(
        Softmax.of(z, scratch.take("student", rows)),
        Softmax.of(teacher_z, scratch.take("teacher", rows)),
        scratch.take("room", rows),
    )


def _sampled_softmax(
    z: Tensor, sampled: _Sampled, asked: SampledTokens, scratch: _Scratch
) -> tuple[Tensor, Tensor]:
    """The distribution at the sampled tokens' temperature, and its entropy."""
    assert sampled.log_normaliser is not None
    normaliser = sampled.log_normaliser
    p = torch.div(z, asked.temperature, out=scratch.take("p", len(z)))
    p.sub_(normaliser.unsqueeze(1))
    terms = torch.exp(p, out=scratch.take("sampled", len(z)))
    entropy = -p.mul_(terms).sum(-1)
    return terms, entropy


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


def _statistics(pair: Pair, ids_n: Tensor) -> dict[str, Tensor]:
    """What a step reports beside its divergence, [n] each."""
    student, normaliser = pair.student, pair.student.log_normaliser
    return {
        "log_prob": student.z.gather(1, ids_n.unsqueeze(1)).squeeze(1) - normaliser,
        "entropy": normaliser - pair.mean(student.z, student.p),
        "kl_student": pair.mean(pair.d, student.p) - pair.s,
        "kl_teacher": pair.s - pair.mean(pair.d, pair.teacher.p),
    }


def _logits(products: Tensor, job: SoftmaxJob, scratch: _Scratch, name: str) -> Tensor:
    """The model's logits in the accumulator's dtype; the products stay as they are."""
    dtype = accumulator(products.dtype)
    if products.dtype == dtype and job.products_are_logits:
        return products
    z = job.logit_map.apply_(scratch.take(name, len(products)).copy_(products))
    if job.given_logits:  # some models put -inf where nothing may be drawn
        z = z.clamp_(min=PADDED_LOGIT)
    return z if job.padded_V is None else z.masked_fill_(job.padded_V, PADDED_LOGIT)


def _log_softmax(z: Tensor, temperature: float, out: Tensor) -> Tensor:
    scaled = z if temperature == 1.0 else z / temperature
    return torch.log_softmax(scaled, dim=-1, out=out)


def _block_tokens(logits_nV: Tensor) -> int:
    row_bytes = logits_nV.shape[1] * accumulator(logits_nV.dtype).itemsize
    if logits_nV.device.type == "cpu":
        # A softmax is parallel over rows.
        return max(torch.get_num_threads(), CPU_BLOCK_BYTES // row_bytes)
    return max(1, DEVICE_BLOCK_BYTES // row_bytes)
