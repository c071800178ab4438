"""A Triton kernel for a chunk's softmax statistics and logit gradient, on CUDA.

Two or three readings of the logits and one writing, instead of one of each for every operation.
Capped logits, padded vocabularies and losses of the sampled tokens are not for it.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

KINDS = ("reverse_kl", "forward_kl", "jsd")
VALUES = ("divergence", "log_prob", "entropy", "kl_student", "kl_teacher")
BLOCK = 4096


def fused_values(
    logits_nV: Tensor,
    teacher_logits_nV: Tensor,
    *,
    kind: str,
    scale: float,
    jsd_weight: float,
    ids_n: Tensor | None,
    needs_grad: bool,
) -> dict[str, Tensor]:
    """Values of a chunk, [n]; with ``needs_grad`` dD / d(scaled logits) takes the logits' place.

    Args:
        logits_nV: of the student, contiguous rows; overwritten with ``needs_grad``.
        teacher_logits_nV: of the teacher.
        scale: the factor of both logits, with the temperature in it.
        ids_n: tokens whose log-probability is wanted; None: none, and no other statistics.
    """
    count, vocab = logits_nV.shape
    values_5n = torch.empty(len(VALUES), count, dtype=torch.float32, device=logits_nV.device)
    ids = torch.zeros(count, dtype=torch.long, device=logits_nV.device) if ids_n is None else ids_n
    w = jsd_weight if kind == "jsd" else 0.5
    if count:
        from algorithms.divergence.triton_kernel import divergence

        launch: Any = divergence
        with _current(logits_nV.device):
            launch[(count,)](
                logits_nV, teacher_logits_nV, ids, values_5n,
                logits_nV.stride(0), teacher_logits_nV.stride(0), count, vocab,
                scale, w, math.log(w), math.log1p(-w),
                KIND=KINDS.index(kind), GRAD=needs_grad, BLOCK=BLOCK,
            )  # fmt: skip
    names = VALUES if ids_n is not None else VALUES[:1]
    return {name: values_5n[VALUES.index(name)] for name in names}


@lru_cache(maxsize=1)
def available() -> bool:
    """Whether Triton is there."""
    try:
        import triton  # noqa: F401
    except ImportError:
        return False
    return True


def _current(device: torch.device) -> Any:
    """Triton launches on the current device, whatever its arguments are on."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
