"""When a chunk goes to the Triton kernel, and how it gets there."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from algorithms.divergence import kernels

if TYPE_CHECKING:
    from algorithms.divergence.softmax import Chunk, ChunkResult, SoftmaxJob

    Pass = Callable[[Chunk, SoftmaxJob, bool], ChunkResult]

logger = logging.getLogger(__name__)

SWITCH = "VERL_PI_DIVERGENCE_KERNEL"
CHOICES = ("measured", "always", "never")
ROUNDS = 5
# Rows of a chunk from which on a measurement says something.
ENOUGH_ROWS = 128

_measured: dict[tuple[Any, ...], bool] = {}


def takes_kernel(chunk: Chunk, job: SoftmaxJob, needs_grad: bool, plain_pass: Pass) -> bool:
    """Whether the kernel can do this chunk, and was measured or is asked to be the one.

    Raises:
        ValueError: the environment asks for something else than one of ``CHOICES``.
    """
    asked = os.environ.get(SWITCH, CHOICES[0])
    if asked not in CHOICES:
        raise ValueError(f"{SWITCH} is one of {', '.join(CHOICES)}; got {asked!r}")
    uncapped = replace(job, logit_map=replace(job.logit_map, scale=1.0)).products_are_logits
    able = chunk.teacher_logits is not None and job.sampled is None and uncapped
    if asked == "never" or not able or chunk.logits.dtype == torch.float64:
        return False
    if asked == "always":
        return True
    if not (chunk.logits.is_cuda and kernels.available()):
        return False
    name = (job.kind, chunk.logits.dtype, chunk.logits.shape[1], job.statistics, needs_grad)
    if name not in _measured:
        if len(chunk) < ENOUGH_ROWS:
            return False
        _measured[name] = _is_faster(chunk, job, needs_grad, plain_pass, name)
    return _measured[name]


def kernel_pass(chunk: Chunk, job: SoftmaxJob, needs_grad: bool) -> ChunkResult:
    """``softmax.softmax_pass`` by the kernel."""
    from algorithms.divergence.softmax import ChunkResult

    assert job.kind is not None and chunk.teacher_logits is not None
    scale = job.logit_map.scale / job.temperature
    values = kernels.fused_values(
        chunk.logits,
        chunk.teacher_logits,
        kind=job.kind,
        scale=scale,
        jsd_weight=job.jsd_weight,
        ids_n=chunk.ids,
        needs_grad=needs_grad,
    )
    nothing = chunk.weights.new_zeros(())
    return ChunkResult(values | {"weights": chunk.weights}, chunk.weights * scale, nothing)


def _is_faster(
    chunk: Chunk, job: SoftmaxJob, needs_grad: bool, plain_pass: Pass, name: tuple[Any, ...]
) -> bool:
    """Times both in turns on copies; the log has what came out.

    A Triton that is there need not work (no compiler, an unknown device): then the plain operations
    serve.
    """
    assert chunk.teacher_logits is not None
    copy = replace(chunk, logits=chunk.logits.clone(), teacher_logits=chunk.teacher_logits.clone())
    milliseconds = [math.inf, math.inf]
    try:
        for _ in range(ROUNDS):
            for index, call in enumerate((plain_pass, kernel_pass)):
                milliseconds[index] = min(
                    milliseconds[index], _milliseconds(lambda c=call: c(copy, job, needs_grad))
                )
    except Exception as error:
        logger.warning("divergence, %s: the kernel cannot run here: %s", name, error)
        return False
    taken = "kernel" if milliseconds[1] < milliseconds[0] else "plain operations"
    logger.warning(
        "divergence, %s: plain operations %.2f ms, kernel %.2f ms: %s taken",
        name,
        *milliseconds,
        taken,
    )
    return milliseconds[1] < milliseconds[0]


def _milliseconds(call: Callable[[], Any]) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    call()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end)
