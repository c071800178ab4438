"""A Triton kernel for a chunk's softmax statistics and logit gradient, on CUDA.

Two or three readings of the logits and one writing, instead of one of each for every operation. It
gives what ``softmax.softmax_pass`` gives, and is taken where it was measured to be faster, on the
first chunk of a size (``VERL_PI_DIVERGENCE_KERNEL=always`` or ``never`` decides otherwise). Capped
logits, padded vocabularies and losses of the sampled tokens take the plain operations.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

SWITCH = "VERL_PI_DIVERGENCE_KERNEL"
CHOICES = ("measured", "always", "never")
KINDS = ("reverse_kl", "forward_kl", "jsd")
VALUES = ("divergence", "log_prob", "entropy", "kl_student", "kl_teacher")
BLOCK = 4096
MEASURED_ROUNDS = 5


def choice() -> str:
    """What the environment says.

    Raises:
        ValueError: something else than one of ``CHOICES``.
    """
    found = os.environ.get(SWITCH, "measured")
    if found not in CHOICES:
        raise ValueError(f"{SWITCH} is one of {', '.join(CHOICES)}; got {found!r}")
    return found


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
    if count:
        from algorithms.divergence.triton_kernel import divergence

        launch: Any = divergence
        launch[(count,)](
            logits_nV, teacher_logits_nV, ids, values_5n,
            logits_nV.stride(0), teacher_logits_nV.stride(0), count, vocab,
            scale, jsd_weight, math.log(jsd_weight), math.log1p(-jsd_weight),
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


def faster(plain: Callable[[], Any], fused: Callable[[], Any], name: str) -> bool:
    """Times both on the device, in turns; says in the log which one is taken."""
    best = [math.inf, math.inf]
    for _ in range(MEASURED_ROUNDS):
        for index, call in enumerate((plain, fused)):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            call()
            end.record()
            torch.cuda.synchronize()
            best[index] = min(best[index], start.elapsed_time(end))
    taken = "kernel" if best[1] < best[0] else "plain operations"
    logger.warning(
        "divergence, %s: plain operations %.2f ms, kernel %.2f ms: %s taken", name, *best, taken
    )
    return best[1] < best[0]
