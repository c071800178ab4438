"""Trajectories of TransferQueue to training rows and back: what the trainer hands to the worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

from algorithms.base import TrainingRow, Trajectory

FETCH = [
    "prompts",
    "responses",
    "response_mask",
    "rm_scores",
    "rollout_log_probs",
    "extra_fields",
    "row_uid",
    "raw_prompt",
]


@dataclass
class SampledBatch:
    """A batch as the trainer sees it; lists have one entry a row, padding rows included."""

    student_prompts: list[Tensor]
    teacher_prompts: list[Tensor]
    responses: list[Tensor]
    masks: list[Tensor]
    log_probs: list[Tensor] | None
    scores: list[float]
    extra: list[dict[str, Any]]
    row_uids: list[str]
    is_padding: list[bool]

    def real(self) -> list[int]:
        """Indices of the rows that are no padding."""
        return [i for i, padding in enumerate(self.is_padding) if not padding]

    def verdict(self, index: int) -> dict[str, Any] | None:
        """What the verifier said; None where nothing judged the row."""
        info = self.extra[index].get("reward_extra_info") or {}
        return {k: v for k, v in info.items() if k != "row_uid"} if "reason" in info else None

    def judged(self, index: int) -> bool:
        """Whether a verifier told right from wrong."""
        verdict = self.verdict(index)
        return verdict is not None and verdict["reason"] != "verifier_error"


def read_batch(data: TensorDict, tags: Sequence[dict[str, Any]]) -> SampledBatch:
    """Unpack what ``kv_batch_get`` returned for ``FETCH``."""
    extra = _objects(data["extra_fields"])
    return SampledBatch(
        student_prompts=list(data["prompts"].unbind()),
        teacher_prompts=[torch.tensor(e["teacher_prompt_ids"], dtype=torch.int64) for e in extra],
        responses=list(data["responses"].unbind()),
        masks=list(data["response_mask"].unbind()),
        log_probs=(
            list(data["rollout_log_probs"].unbind())
            if "rollout_log_probs" in data.keys()  # noqa: SIM118
            else None
        ),
        scores=[float(s.sum()) for s in data["rm_scores"].unbind()],
        extra=extra,
        row_uids=[str(u) for u in _objects(data["row_uid"])],
        is_padding=[bool(tag.get("is_padding", False)) for tag in tags],
    )


def _objects(column: Any) -> list[Any]:
    values = column.tolist() if hasattr(column, "tolist") else list(column)
    return [getattr(v, "data", v) if type(v).__name__ == "NonTensorData" else v for v in values]


def trajectories(batch: SampledBatch, groups: Sequence[str]) -> list[Trajectory]:
    """The real rows as an algorithm sees them; ``groups`` are the batch's group ids."""
    return [
        Trajectory(
            group=groups[i],
            generated_tokens=int(batch.masks[i].sum()),
            score=batch.scores[i] if batch.judged(i) else None,
            unjudged=batch.verdict(i) is not None and not batch.judged(i),
            has_privileged=bool(batch.extra[i]["has_privileged"]),
            sampled_view=batch.extra[i]["view"],
        )
        for i in batch.real()
    ]


def row_fields(
    batch: SampledBatch, rows: Sequence[TrainingRow], *, need_old_log_probs: bool
) -> TensorDict:
    """The fields that the worker trains on, one entry a row of the batch.

    Rows that the algorithm dropped, and padding rows, get zero weights.

    Raises:
        ValueError: a row with a policy-gradient weight has no log-probs from sampling time, or a
            trajectory has two rows.
    """
    real = batch.real()
    chosen: dict[int, TrainingRow] = {real[row.trajectory]: row for row in rows}
    if len(chosen) < len(rows):
        raise ValueError("two training rows of one trajectory: a row of the queue carries one view")
    size = len(batch.responses)
    weights_B3 = torch.zeros(size, 3)
    inputs, positions, prompts, references, reference_positions, advantages, old = (
        [] for _ in range(7)
    )
    for index in range(size):
        row = chosen.get(index, TrainingRow(trajectory=-1))
        weights_B3[index] = torch.tensor([row.policy_gradient, row.distill, row.nll])
        prompt = _prompt(batch, index, row.view)
        reference = _prompt(batch, index, row.reference_view or row.view)
        response = batch.responses[index]
        prompts.append(prompt)
        for prefix, ids, where in (
            (prompt, inputs, positions),
            (reference, references, reference_positions),
        ):
            ids.append(torch.cat([prefix, response]))
            where.append(torch.arange(len(ids[-1])))
        advantages.append(torch.full(response.shape, row.advantage, dtype=torch.float32))
        old.append(_old_log_probs(batch, index, row))
    fields = {
        "term_weights": weights_B3,
        "prompts": _jagged(prompts),
        "input_ids": _jagged(inputs),
        "position_ids": _jagged(positions),
        "reference_input_ids": _jagged(references),
        "reference_position_ids": _jagged(reference_positions),
        "advantages": _jagged(advantages),
        "returns": _jagged(advantages),
    }
    if need_old_log_probs:
        fields["old_log_probs"] = _jagged(old)
    return TensorDict(fields, batch_size=size)


def _prompt(batch: SampledBatch, index: int, view: str) -> Tensor:
    prompts = batch.teacher_prompts if view == "teacher" else batch.student_prompts
    return batch.student_prompts[index] if batch.is_padding[index] else prompts[index]


def _old_log_probs(batch: SampledBatch, index: int, row: TrainingRow) -> Tensor:
    if batch.log_probs is None:
        if row.policy_gradient:
            raise ValueError(
                "policy gradient needs the log-probs taken at sampling time, but the rollout sent "
                "none: set actor_rollout_ref.rollout.calculate_log_probs=true"
            )
        return torch.zeros(batch.responses[index].shape, dtype=torch.float32)
    return batch.log_probs[index].float()


def _jagged(tensors: list[Tensor]) -> Tensor:
    return torch.nested.as_nested_tensor(tensors, layout=torch.jagged)
