"""What ``algorithms.divergence.divergence_loss`` refuses, and how to mend it."""

from __future__ import annotations

import math

from torch import Tensor

from algorithms.divergence.kinds import KINDS


def check_shapes(
    student: Tensor, teacher: Tensor, head: Tensor | None, teacher_head: Tensor | None
) -> None:
    named = {
        "student_hidden_TH": student,
        "teacher_hidden_TH": teacher,
        "head_weight_VH": head,
        "teacher_head_weight_VH": teacher_head,
    }
    for name, tensor in named.items():
        if tensor is None:
            continue
        if tensor.dim() != 2:
            raise ValueError(
                f"{name} must have two dimensions, got {list(tensor.shape)}: flatten [B, T, H] to "
                "[B*T, H]"
            )
        if not tensor.is_floating_point():
            raise TypeError(f"{name} must be floating point, got {tensor.dtype}")
    if student.shape[0] != teacher.shape[0]:
        raise ValueError(
            f"student and teacher must hold the same positions, got {student.shape[0]} and "
            f"{teacher.shape[0]}: select the response positions of both views first"
        )
    if head is None:
        _check_logits(student, teacher, teacher_head)
        return
    teacher_head = head if teacher_head is None else teacher_head
    if student.shape[1] != head.shape[1] or teacher.shape[1] != teacher_head.shape[1]:
        raise ValueError(
            f"hidden sizes do not fit: student {list(student.shape)} with head "
            f"{list(head.shape)}, teacher {list(teacher.shape)} with head "
            f"{list(teacher_head.shape)}; a teacher of another size needs teacher_head_weight_VH"
        )
    if head.shape[0] != teacher_head.shape[0]:
        raise ValueError(
            f"student's and teacher's vocabularies differ: {head.shape[0]} and "
            f"{teacher_head.shape[0]} rows; cut or pad one head (vocab_mask_V marks padding)"
        )
    if head.shape[0] == 0:
        raise ValueError("head_weight_VH has no rows")


def _check_logits(student: Tensor, teacher: Tensor, teacher_head: Tensor | None) -> None:
    if teacher_head is not None:
        raise ValueError("without head_weight_VH the teacher's states are logits too: give no head")
    if student.shape[1] != teacher.shape[1]:
        raise ValueError(
            f"student's and teacher's vocabularies differ: {student.shape[1]} and "
            f"{teacher.shape[1]} logits"
        )


def check_options(kind: str, temperature: float, jsd_weight: float, chunk: int | str) -> None:
    if kind not in KINDS:
        raise ValueError(f"unknown divergence {kind!r}: choose one of {', '.join(KINDS)}")
    if not (temperature > 0.0 and math.isfinite(temperature)):
        raise ValueError(f"temperature must be positive and finite, got {temperature}")
    if kind == "jsd" and not 0.0 < jsd_weight < 1.0:
        raise ValueError(
            f"jsd_weight must lie strictly between 0 and 1, got {jsd_weight}: at both ends JSD "
            "vanishes. Its scaled limits are kind='forward_kl' (JSD/w at w -> 0) and "
            "kind='reverse_kl' (JSD/(1-w) at w -> 1)"
        )
    if chunk != "auto" and (not isinstance(chunk, int) or isinstance(chunk, bool) or chunk < 1):
        raise ValueError(f"chunk_tokens must be 'auto' or a positive integer, got {chunk!r}")


def check_lengths(vectors: dict[str, Tensor | None], length: int, axis: str) -> None:
    for name, vector in vectors.items():
        if vector is not None and tuple(vector.shape) != (length,):
            raise ValueError(f"{name} must be [{axis}] = [{length}], got {list(vector.shape)}")
