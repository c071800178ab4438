"""The contestants of scripts/bench/divergence.py: each a forward and backward of the reverse KL.

Every one takes the student's hidden states and the head, which get gradients, and the teacher's
hidden states. The peers come from their own packages, unchanged; `verl top-k` computes another
quantity (a forward KL over the teacher's 64 likeliest tokens), and is there for what it costs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from algorithms.divergence import divergence_loss

TOP_K = 64
Contestant = Callable[[Tensor, Tensor, Tensor], Tensor | None]


@cache
def _buffers(
    hidden_shape: torch.Size, head_shape: torch.Size, dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Kept from call to call: the floor is the products alone, without page faults."""
    logits = torch.empty(hidden_shape[0], head_shape[0], dtype=dtype, device=device)
    return logits, logits.new_empty(hidden_shape), logits.new_empty(head_shape)


def floor(student: Tensor, teacher: Tensor, head: Tensor) -> None:
    """The four products that any exact method needs."""
    with torch.no_grad():
        logits, grad_hidden, grad_head = _buffers(
            student.shape, head.shape, head.dtype, head.device
        )
        torch.mm(teacher, head.t(), out=logits)
        torch.mm(student, head.t(), out=logits)
        torch.mm(logits, head, out=grad_hidden)
        torch.mm(logits.t(), student, out=grad_head)


def ours(student: Tensor, teacher: Tensor, head: Tensor) -> Tensor:
    return divergence_loss(student, teacher, head).loss


def ours_no_grad(student: Tensor, teacher: Tensor, head: Tensor) -> None:
    with torch.no_grad():
        divergence_loss(student, teacher, head)


def plain(student: Tensor, teacher: Tensor, head: Tensor) -> Tensor:
    """Autograd on full logits."""
    with torch.no_grad():
        log_q = torch.log_softmax((teacher @ head.t()).float(), -1)
    log_p = torch.log_softmax((student @ head.t()).float(), -1)
    return (log_p.exp() * (log_p - log_q)).sum()


def trl(student: Tensor, teacher: Tensor, head: Tensor) -> Tensor:
    from trl.experimental.sdft.loss_utils import compute_full_logit_self_distillation_loss

    with torch.no_grad():
        teacher_logits = teacher @ head.t()
    return compute_full_logit_self_distillation_loss(
        student @ head.t(), teacher_logits, distillation_alpha=1.0
    ).sum()


def _liger(compiled: bool, student: Tensor, teacher: Tensor, head: Tensor) -> Tensor:
    from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss

    loss = LigerFusedLinearJSDLoss(0.0, 1.0, beta=1.0, compiled=compiled)
    labels = torch.zeros(len(student), dtype=torch.long, device=student.device)
    found = loss(student, head, teacher, head.detach(), labels)
    assert isinstance(found, Tensor)
    return found * len(student)  # Liger's is a mean over tokens


def liger(student: Tensor, teacher: Tensor, head: Tensor) -> Tensor:
    return _liger(False, student, teacher, head)


def liger_compiled(student: Tensor, teacher: Tensor, head: Tensor) -> Tensor:
    return _liger(True, student, teacher, head)


def _verl(chunked: bool, student: Tensor, teacher: Tensor, head: Tensor) -> Tensor:
    from verl.trainer.distillation.fsdp.losses import compute_forward_kl_topk
    from verl.workers.config import DistillationConfig, DistillationLossConfig

    with torch.no_grad():
        log_q = torch.log_softmax((teacher @ head.t()).float(), -1).topk(TOP_K, -1)
        log_q_top, ids_top = (
            torch.nested.as_nested_tensor([x], layout=torch.jagged) for x in log_q
        )
    config = DistillationConfig(
        distillation_loss=DistillationLossConfig(topk=TOP_K, use_chunked_topk=chunked)
    )
    logits = (student @ head.t()).unsqueeze(0)
    found: Any = compute_forward_kl_topk(logits, log_q_top, ids_top, config, "thd")
    return found["distillation_losses"].sum()


def verl_top_k(student: Tensor, teacher: Tensor, head: Tensor) -> Tensor:
    return _verl(False, student, teacher, head)


def verl_top_k_chunked(student: Tensor, teacher: Tensor, head: Tensor) -> Tensor:
    return _verl(True, student, teacher, head)


CONTESTANTS: dict[str, Contestant] = {
    "floor": floor,
    "ours": ours,
    "plain": plain,
    "TRL": trl,
    "Liger": liger,
    "Liger compiled": liger_compiled,
    "verl top-k": verl_top_k,
    "verl top-k chunked": verl_top_k_chunked,
    "ours, no gradient": ours_no_grad,
}
# Whose loss and gradients are those of the reverse KL.
EXACT = ("ours", "plain", "TRL", "Liger", "Liger compiled")
