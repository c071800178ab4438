"""The public functions: a divergence over the whole vocabulary, a loss of sampled tokens."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from algorithms.divergence.checks import check_lengths, check_options, check_shapes
from algorithms.divergence.logits import (
    PLAIN,
    LogitMap,
    accumulator,
    padded_rows,
    product_dtype,
    usable_head,
)
from algorithms.divergence.passes import DivergenceOutput, Pass, run, tokens_per_chunk
from algorithms.divergence.sampled import SampledTokens
from algorithms.divergence.softmax import SoftmaxJob


def divergence_loss(
    student_hidden_TH: Tensor,
    teacher_hidden_TH: Tensor,
    head_weight_VH: Tensor | None,
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
    sampled: SampledTokens | None = None,
    logit_map: LogitMap = PLAIN,
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
        head_weight_VH: [V, H] output embedding. Rows that hold -inf are padding (see below). None:
            both hidden states are logits, [T, V], and the gradient is that of the logits.
        kind: `reverse_kl` (p||q), `forward_kl` (q||p) or `jsd`.
        weights_T: [T] constant weights w_t, any sign; all ones by default.
        mask_T: [T], bool or 0/1: positions to visit; all by default.
        temperature: divides student's and teacher's logits; > 0. D is not rescaled by its square.
        chunk_tokens: positions per chunk. `auto` keeps one [chunk, V] buffer near 128 MiB on a
            CPU and 512 MiB elsewhere, but takes 256 positions at least.
        jsd_weight: w of `jsd`, strictly between 0 and 1. At w -> 0, JSD / w tends to the forward
            KL and at w -> 1, JSD / (1 - w) to the reverse KL, while JSD itself vanishes.
        teacher_head_weight_VH: [V, H'] head of a teacher with weights of its own (frozen, EMA);
            the student's by default.
        vocab_mask_V: [V], False for padded vocabulary rows, which are left out of both softmaxes
            and get zero gradient. Rows of either head that hold -inf are left out as well.
        token_ids_T: [T] integer ids of the sampled tokens; asks for `log_prob_T`, `entropy_T` and
            both KLs.
        sampled: a loss of the sampled tokens to be added in the same pass, at the same positions.
        logit_map: what the model makes of hidden @ head.T.

    Raises:
        ValueError: on shapes that do not fit, an unknown kind, a temperature or a chunk that is
            not positive, a JSD weight outside (0, 1), weights that require a gradient.
        TypeError: on float16 or non-floating inputs.
    """
    check_shapes(student_hidden_TH, teacher_hidden_TH, head_weight_VH, teacher_head_weight_VH)
    check_options(kind, temperature, jsd_weight, chunk_tokens)
    tokens = student_hidden_TH.shape[0]
    vectors = {"weights_T": weights_T, "mask_T": mask_T, "token_ids_T": token_ids_T}
    check_lengths(vectors, tokens, "T")
    if weights_T is not None and weights_T.requires_grad:
        raise ValueError("weights_T requires a gradient, but weights are constants: detach() them")
    inputs = _Inputs(
        student_hidden_TH, teacher_hidden_TH, head_weight_VH, teacher_head_weight_VH, vocab_mask_V
    )
    visited = _visited(student_hidden_TH, mask_T, weights_T, accumulator(inputs.dtype))
    terms = {
        "kind": kind,
        "temperature": temperature,
        "jsd_weight": jsd_weight,
        "logit_map": logit_map,
        "token_ids_T": token_ids_T,
        "sampled": sampled,
    }
    return run(student_hidden_TH, head_weight_VH, _pass(inputs, visited, chunk_tokens, **terms))


def sampled_token_loss(
    hidden_TH: Tensor,
    head_weight_VH: Tensor | None,
    sampled: SampledTokens,
    *,
    mask_T: Tensor | None = None,
    chunk_tokens: int | Literal["auto"] = "auto",
    vocab_mask_V: Tensor | None = None,
    logit_map: LogitMap = PLAIN,
) -> DivergenceOutput:
    """A loss of the sampled tokens' log-probabilities, without a teacher, from hidden states.

    Gradients, precision, masks and padding as in `divergence_loss`. Three products instead of the
    four that recomputing the logits in the backward pass takes.

    Args:
        hidden_TH: [T, H], the states that predict positions 0..T-1.
        head_weight_VH: [V, H] output embedding; None: the states are logits, [T, V].
        sampled: the tokens and their loss; without one only values are computed.

    Raises:
        ValueError, TypeError: as `divergence_loss`.
    """
    check_shapes(hidden_TH, hidden_TH, head_weight_VH, None)
    check_options("reverse_kl", 1.0, 0.5, chunk_tokens)
    check_lengths({"mask_T": mask_T}, hidden_TH.shape[0], "T")
    inputs = _Inputs(hidden_TH, None, head_weight_VH, None, vocab_mask_V)
    visited = _visited(hidden_TH, mask_T, None, accumulator(inputs.dtype))
    job = _pass(inputs, visited, chunk_tokens, sampled=sampled, logit_map=logit_map)
    if sampled.loss is None:
        with torch.no_grad():
            return run(hidden_TH, head_weight_VH, job)
    return run(hidden_TH, head_weight_VH, job)


class _Inputs:
    """The tensors of a call; a missing head stands for states that are logits already."""

    def __init__(
        self,
        student_TH: Tensor,
        teacher_TH: Tensor | None,
        head_VH: Tensor | None,
        teacher_head_VH: Tensor | None,
        vocab_mask_V: Tensor | None,
    ) -> None:
        self.student_TH, self.teacher_TH = student_TH, teacher_TH
        self.teacher_head_VH = teacher_head_VH
        self.given_logits = head_VH is None
        self.tokens = student_TH.shape[0]
        self.vocab = student_TH.shape[1] if head_VH is None else head_VH.shape[0]
        check_lengths({"vocab_mask_V": vocab_mask_V}, self.vocab, "V")
        given = (student_TH, teacher_TH, head_VH, teacher_head_VH)
        self.dtype = product_dtype(
            [tensor for tensor in given if tensor is not None], logits=head_VH is None
        )
        with torch.no_grad():
            self.padded_V = padded_rows((head_VH, teacher_head_VH), vocab_mask_V)


@torch.no_grad()
def _pass(
    inputs: _Inputs,
    visited: tuple[Tensor, Tensor],
    chunk: int | str,
    *,
    kind: str | None = None,
    temperature: float = 1.0,
    jsd_weight: float = 0.5,
    logit_map: LogitMap,
    token_ids_T: Tensor | None = None,
    sampled: SampledTokens | None = None,
) -> Pass:
    rows_N, weights_N = visited
    if sampled is not None:
        check_lengths({"sampled.ids_T": sampled.ids_T}, inputs.tokens, "T")
    softmax = SoftmaxJob(
        kind=kind,
        temperature=temperature,
        jsd_weight=jsd_weight,
        logit_map=logit_map,
        padded_V=inputs.padded_V,
        statistics=token_ids_T is not None,
        sampled=sampled,
        given_logits=inputs.given_logits,
    )
    teacher, own = inputs.teacher_TH, inputs.teacher_head_VH
    count, dtype = rows_N.numel(), inputs.dtype
    return Pass(
        softmax=softmax,
        chunk=tokens_per_chunk(chunk, count, inputs.vocab, dtype, rows_N.device),
        matmul_dtype=dtype,
        rows_N=rows_N,
        weights_N=weights_N,
        ids_N=None if token_ids_T is None else token_ids_T.index_select(0, rows_N),
        sampled_ids_N=None if sampled is None else sampled.ids_T.index_select(0, rows_N),
        teacher_hidden_TH=None if teacher is None else teacher.detach(),
        teacher_head_VH=None if own is None else usable_head(own, inputs.padded_V, dtype),
    )


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
