"""Trajectories of TransferQueue to training rows and back: what the trainer hands to the worker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

from algorithms.base import VIEWS, TrainingRow, Trajectory, Turn
from algorithms.terms import TERMS

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
    messages: list[list[dict[str, Any]]]

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

    def answer(self, index: int) -> dict[str, Any]:
        """The attempt that a ladder came to; empty for rows that none sampled."""
        return self.extra[index].get("answer") or {}


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
        messages=[list(m) for m in _objects(data["raw_prompt"])],
    )


def _objects(column: Any) -> list[Any]:
    values = column.tolist() if hasattr(column, "tolist") else list(column)
    return [getattr(v, "data", v) if type(v).__name__ == "NonTensorData" else v for v in values]


def trajectories(
    batch: SampledBatch,
    groups: Sequence[str],
    *,
    decode: Callable[[list[int]], str] | None = None,
    sequence_kl: Sequence[float] | None = None,
) -> list[Trajectory]:
    """The real rows as an algorithm sees them; ``groups`` are the batch's group ids.

    ``decode`` gives the text of assistant messages, ``sequence_kl`` has one entry a row.
    """
    return [
        Trajectory(
            group=groups[i],
            generated_tokens=int(batch.masks[i].sum()),
            score=batch.scores[i] if batch.judged(i) else None,
            unjudged=batch.verdict(i) is not None and not batch.judged(i),
            has_privileged=bool(batch.extra[i]["has_privileged"]),
            sampled_view=batch.extra[i]["view"],
            sequence_kl=None if sequence_kl is None else float(sequence_kl[i]),
            turns=_turns(batch.responses[i].tolist(), batch.masks[i].tolist(), decode),
            attempt=batch.answer(i).get("number", 1),
            complete=not batch.answer(i).get("cut", False),
        )
        for i in batch.real()
    ]


def _turns(
    response: list[int], mask: list[int], decode: Callable[[list[int]], str] | None
) -> tuple[Turn, ...]:
    """The assistant's messages: stretches of tokens that the model generated."""
    turns = []
    for generated, group in groupby(zip(response, mask, strict=True), key=lambda pair: pair[1]):
        if generated:
            ids = [token for token, _ in group]
            turns.append(Turn(len(ids), decode(ids) if decode else ""))
    return tuple(turns)


def view_fields(batch: SampledBatch) -> TensorDict:
    """What the worker needs for both views; the queue's own ``input_ids`` are the student's."""
    padding = batch.is_padding
    responses = enumerate(batch.responses)
    teacher_ids = [torch.cat([_teacher_prompt(batch, i), response]) for i, response in responses]
    sampled = [0 if padding[i] else VIEWS.index(e["view"]) for i, e in enumerate(batch.extra)]
    privileged = [bool(e["has_privileged"]) and not padding[i] for i, e in enumerate(batch.extra)]
    fields = {
        "teacher_input_ids": _jagged(teacher_ids),
        "sampled_view": torch.tensor(sampled),
        "has_privileged": torch.tensor(privileged),
    }
    return TensorDict(fields, batch_size=len(batch.responses))


def row_fields(
    batch: SampledBatch, rows: Sequence[TrainingRow], *, need_old_log_probs: bool
) -> TensorDict:
    """The weights that the worker trains on, one entry a row of the batch.

    ``term_weights`` is [B, 6]: policy gradient, distill and nll of the student's view, then of the
    teacher's. Rows that the algorithm dropped, and padding rows, get zero weights.

    Raises:
        ValueError: log-probs from sampling time are needed and not there, or a trajectory has two
            rows of one view or two advantages.
    """
    real = batch.real()
    size = len(batch.responses)
    weights_B23 = torch.zeros(size, len(VIEWS), len(TERMS))
    advantages_B = torch.zeros(size)
    chosen: dict[tuple[int, str], TrainingRow] = {}
    taken: dict[int, float] = {}
    for row in rows:
        index = real[row.trajectory]
        if (index, row.view) in chosen:
            raise ValueError(f"two training rows of one trajectory in the {row.view}'s view")
        chosen[index, row.view] = row
        weights = [getattr(row, term) for term in TERMS]
        weights_B23[index, VIEWS.index(row.view)] = torch.tensor(weights)
        if row.policy_gradient:
            if taken.setdefault(index, row.advantage) != row.advantage:
                raise ValueError("two training rows of one trajectory have different advantages")
            advantages_B[index] = row.advantage
    _check_log_probs(batch, rows, need_old_log_probs)
    advantages = _jagged(
        [torch.full(r.shape, float(a)) for r, a in zip(batch.responses, advantages_B, strict=True)]
    )
    fields = {
        "term_weights": weights_B23.flatten(1),
        "advantages": advantages,
        "returns": advantages,
    }
    if need_old_log_probs:
        fields["old_log_probs"] = _jagged([_old_log_probs(batch, i) for i in range(size)])
    return TensorDict(fields, batch_size=size)


def _teacher_prompt(batch: SampledBatch, index: int) -> Tensor:
    prompts = batch.student_prompts if batch.is_padding[index] else batch.teacher_prompts
    return prompts[index]


def _check_log_probs(batch: SampledBatch, rows: Sequence[TrainingRow], needed: bool) -> None:
    if batch.log_probs is None and needed and any(r.policy_gradient or r.distill for r in rows):
        raise ValueError(
            "importance ratios need the log-probs taken at sampling time, but the rollout sent "
            "none: set verl.actor_rollout_ref.rollout.calculate_log_probs=true"
        )


def _old_log_probs(batch: SampledBatch, index: int) -> Tensor:
    if batch.log_probs is None:
        return torch.zeros(batch.responses[index].shape, dtype=torch.float32)
    return batch.log_probs[index].float()


def _jagged(tensors: list[Tensor]) -> Tensor:
    return torch.nested.as_nested_tensor(tensors, layout=torch.jagged)
