"""Trajectories of the queue to training rows and back, without Ray."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tensordict import NonTensorData, NonTensorStack, TensorDict

from algorithms.base import TrainingRow, Turn
from algorithms.runtime import rows

PADDING = {"is_padding": True}


def jagged(values: list[list], dtype: torch.dtype) -> torch.Tensor:
    tensors = [torch.tensor(value, dtype=dtype) for value in values]
    return torch.nested.as_nested_tensor(tensors, layout=torch.jagged)


def objects(values: list[Any]) -> NonTensorStack:
    return NonTensorStack(*(NonTensorData(value) for value in values))  # pyright: ignore


def queue_batch(*, log_probs: bool = True) -> tuple[TensorDict, list[dict]]:
    """Three trajectories and a synthetic padding row, as `tq.kv_batch_get` hands them over."""
    verdict = {"acc": 1.0, "score": 1.0, "reason": "ok", "feedback": "", "row_uid": "a"}
    extra = [
        {
            "teacher_prompt_ids": [90, 91, 5, 6],
            "has_privileged": True,
            "view": "student",
            "group": "",
            "reward_extra_info": verdict,
        },
        {
            "teacher_prompt_ids": [90, 91, 7],
            "has_privileged": True,
            "view": "teacher",
            "group": "",
            "reward_extra_info": {**verdict, "acc": 0.0, "score": 0.0, "reason": "sorry"},
        },
        {"teacher_prompt_ids": [8, 9], "has_privileged": False, "view": "student", "group": ""},
    ]
    fields: dict[str, Any] = {
        "prompts": jagged([[5, 6], [7], [8, 9], [1] * 5], torch.int64),
        "responses": jagged([[20, 21, 22], [30, 1], [40, 41, 42, 43], [1]], torch.int64),
        "response_mask": jagged([[1, 1, 1], [1, 1], [1, 0, 0, 1], [0]], torch.int64),
        "rm_scores": jagged([[0.0, 0.0, 1.0], [0.0, 0.0], [0.0] * 4, [0.0]], torch.float32),
        # A padding row is a copy of the first real one but for its tensors.
        "extra_fields": objects([*extra, extra[0]]),
        "row_uid": objects(["a", "b", "c", "a"]),
        "raw_prompt": objects([[]] * 4),
    }
    if log_probs:
        values = [[-0.1, -0.2, -0.3], [-0.4, -0.5], [-0.6, 0.0, 0.0, -0.7], [0.0]]
        fields["rollout_log_probs"] = jagged(values, torch.float32)
    return TensorDict(fields, batch_size=4), [{}, {}, {"is_padding": False}, PADDING]


@pytest.fixture
def batch() -> rows.SampledBatch:
    return rows.read_batch(*queue_batch())


def lists(tensor: torch.Tensor) -> list[list]:
    return [row.tolist() for row in tensor.unbind()]


def test_a_batch_is_read_row_by_row(batch):
    assert [p.tolist() for p in batch.student_prompts] == [[5, 6], [7], [8, 9], [1] * 5]
    assert [p.tolist() for p in batch.teacher_prompts[:3]] == [[90, 91, 5, 6], [90, 91, 7], [8, 9]]
    assert [r.tolist() for r in batch.responses[:2]] == [[20, 21, 22], [30, 1]]
    assert batch.scores == [1.0, 0.0, 0.0, 0.0]
    assert batch.row_uids == ["a", "b", "c", "a"]
    assert batch.is_padding == [False, False, False, True]
    assert batch.real() == [0, 1, 2]


def test_the_fields_asked_for_are_those_that_are_read(batch):
    data, tags = queue_batch()
    assert set(data.keys()) <= set(rows.FETCH)
    assert rows.read_batch(data.select(*rows.FETCH), tags).row_uids == batch.row_uids


def test_a_verdict_is_there_only_where_something_judged(batch):
    assert batch.verdict(0) == {"acc": 1.0, "score": 1.0, "reason": "ok", "feedback": ""}
    verdict = batch.verdict(1)
    assert verdict is not None and verdict["reason"] == "sorry"
    assert batch.verdict(2) is None


def test_an_algorithm_sees_real_trajectories_alone(batch):
    first, second, third = rows.trajectories(batch, ["g", "g", "h", "pad"])
    assert (first.group, first.generated_tokens, first.score) == ("g", 3, 1.0)
    assert (first.has_privileged, first.sampled_view) == (True, "student")
    assert (second.score, second.sampled_view) == (0.0, "teacher")
    # Tool tokens do not count, and no verdict is not a failed one.
    assert (third.generated_tokens, third.score, third.has_privileged) == (2, None, False)


def test_dropped_and_padding_rows_get_no_weight(batch):
    fields = rows.row_fields(batch, [TrainingRow(1, nll=0.5)], need_old_log_probs=False)
    nothing = [0, 0, 0, 0, 0, 0]
    assert fields["term_weights"].tolist() == [nothing, [0, 0, 0.5, 0, 0, 0], nothing, nothing]
    assert fields.batch_size == torch.Size([4])
    assert "old_log_probs" not in set(fields.keys())


def test_weights_go_to_the_real_row_when_padding_comes_first():
    data, tags = queue_batch()
    order = [3, 0, 1, 2]
    columns = {name: _reordered(data[name], order) for name in list(data.keys())}
    shuffled = rows.read_batch(TensorDict(columns, batch_size=4), [tags[i] for i in order])
    fields = rows.row_fields(shuffled, [TrainingRow(0, distill=1.0)], need_old_log_probs=False)
    assert fields["term_weights"][:, 1].tolist() == [0, 1, 0, 0]


def _reordered(column: Any, order: list[int]) -> Any:
    if isinstance(column, torch.Tensor):
        tensors = column.unbind()
        return torch.nested.as_nested_tensor([tensors[i] for i in order], layout=torch.jagged)
    return objects([list(column)[i] for i in order])


def test_both_views_of_one_trajectory_have_weights_of_their_own(batch):
    both = [
        TrainingRow(0, distill=1.0, advantage=0.5),
        TrainingRow(0, view="teacher", policy_gradient=0.25, advantage=0.5),
    ]
    fields = rows.row_fields(batch, both, need_old_log_probs=False)
    assert fields["term_weights"][0].tolist() == [0, 1.0, 0, 0.25, 0, 0]
    with pytest.raises(ValueError, match="two training rows of one trajectory in the student's"):
        rows.row_fields(batch, [both[0], both[0]], need_old_log_probs=False)


def test_the_worker_is_told_who_sampled_and_what_the_teacher_sees(batch):
    fields = rows.view_fields(batch)
    assert lists(fields["teacher_input_ids"])[:2] == [
        [90, 91, 5, 6, 20, 21, 22],
        [90, 91, 7, 30, 1],
    ]
    # The extra fields of a padding row are another row's: its teacher prompt must not be taken.
    assert lists(fields["teacher_input_ids"])[3] == [1] * 6
    assert fields["sampled_view"].tolist() == [0, 1, 0, 0]
    assert fields["has_privileged"].tolist() == [True, True, False, False]


def test_turns_are_the_stretches_that_the_model_generated(batch):
    *_, third = rows.trajectories(batch, list("abcd"), decode=lambda ids: " ".join(map(str, ids)))
    assert third.turns == (Turn(1, "40"), Turn(1, "43"))
    assert rows.trajectories(batch, list("abcd"))[0].turns == (Turn(3),)


def test_the_kl_of_a_row_goes_to_its_trajectory():
    data, tags = queue_batch()
    order = [3, 0, 1, 2]
    columns = {name: _reordered(data[name], order) for name in list(data.keys())}
    shuffled = rows.read_batch(TensorDict(columns, batch_size=4), [tags[i] for i in order])
    seen = rows.trajectories(shuffled, list("abcd"), sequence_kl=[9.0, 1.0, 2.0, 3.0])
    assert [t.sequence_kl for t in seen] == [1.0, 2.0, 3.0]


def test_advantages_and_log_probs_are_per_token(batch):
    row = TrainingRow(2, policy_gradient=1.0, advantage=-0.5)
    fields = rows.row_fields(batch, [row], need_old_log_probs=True)
    assert lists(fields["advantages"]) == [[0.0] * 3, [0.0] * 2, [-0.5] * 4, [0.0]]
    assert lists(fields["returns"]) == lists(fields["advantages"])
    assert lists(fields["old_log_probs"])[2] == pytest.approx([-0.6, 0.0, 0.0, -0.7])
    # TransferQueue only logs a dtype that does not fit.
    floats = ("advantages", "returns", "old_log_probs", "term_weights")
    assert {fields[name].dtype for name in floats} == {torch.float32}


def test_policy_gradient_without_log_probs_is_refused():
    batch = rows.read_batch(*queue_batch(log_probs=False))
    assert batch.log_probs is None
    with pytest.raises(ValueError, match="calculate_log_probs=true"):
        rows.row_fields(batch, [TrainingRow(0, policy_gradient=1.0)], need_old_log_probs=True)


def test_other_terms_do_without_log_probs():
    batch = rows.read_batch(*queue_batch(log_probs=False))
    fields = rows.row_fields(batch, [TrainingRow(0, nll=1.0)], need_old_log_probs=True)
    assert lists(fields["old_log_probs"])[0] == [0.0, 0.0, 0.0]


def test_a_row_without_a_policy_gradient_does_not_touch_the_others_advantage(batch):
    pair = [
        TrainingRow(0, policy_gradient=1.0, advantage=0.5),
        TrainingRow(0, view="teacher", distill=1.0),
    ]
    fields = rows.row_fields(batch, pair, need_old_log_probs=True)
    assert lists(fields["advantages"])[0] == [0.5] * 3
    pair[1] = TrainingRow(0, view="teacher", policy_gradient=1.0, advantage=0.25)
    with pytest.raises(ValueError, match="different advantages"):
        rows.row_fields(batch, pair, need_old_log_probs=True)
