"""Sampled trajectories as parquet: what is stored is what offline training reads."""

from __future__ import annotations

import json
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from algorithms.retry.filter import FilterSettings
from algorithms.runtime.collection import Collection
from algorithms.runtime.rows import SampledBatch

ROWS = {
    "a": {"uid": "a", "row_uid": "a", "prompt": [{"role": "user", "content": "?"}], "level": "1"},
    "b": {"uid": "b", "row_uid": "b", "prompt": [{"role": "user", "content": "!"}], "level": "2"},
}
VERDICT = {"acc": 1.0, "score": 1.0, "reason": "ok", "feedback": "", "row_uid": "a"}


def batch(*, log_probs: bool = True) -> SampledBatch:
    """Two samples of row a, one of row b that nothing judged, and a padding row."""
    extra: list[dict[str, Any]] = [
        {"view": "student", "reward_extra_info": VERDICT},
        {"view": "student", "reward_extra_info": {**VERDICT, "acc": 0.0, "reason": "timeout"}},
        {"view": "teacher", "reward_extra_info": {}},
        {"view": "student"},
    ]
    responses = [torch.tensor(ids) for ids in ([5, 6, 1], [7, 1], [8], [0])]
    return SampledBatch(
        student_prompts=[torch.tensor([2])] * 4,
        teacher_prompts=[torch.tensor([2, 3])] * 4,
        responses=responses,
        masks=[torch.ones_like(ids) for ids in responses],
        log_probs=[-0.5 * ids.float() for ids in responses] if log_probs else None,
        scores=[1.0, 0.0, 0.0, 0.0],
        extra=extra,
        row_uids=["a", "a", "b", "padding"],
        is_padding=[False, False, False, True],
        messages=[[]] * 4,
    )


def test_real_rows_are_stored_in_sampling_order(tmp_path):
    path = tmp_path / "data" / "collected.parquet"
    collection = Collection(path)
    collection.add(1, batch(), ROWS)
    collection.add(2, batch(), ROWS)
    collection.finish()
    rows = pq.read_table(path).to_pylist()
    assert [row["uid"] for row in rows] == ["a", "a", "b"] * 2
    assert [row["stored"]["step"] for row in rows] == [1, 1, 1, 2, 2, 2]
    first = rows[0]
    assert first["prompt"] == ROWS["a"]["prompt"] and first["level"] == "1"
    assert first["stored"]["response_ids"] == [5, 6, 1]
    assert first["stored"]["log_probs"] == [-2.5, -3.0, -0.5]
    assert first["stored"]["score"] == 1.0
    assert json.loads(first["stored"]["verdict"])["reason"] == "ok"
    assert [row["stored"]["view"] for row in rows[:3]] == ["student", "student", "teacher"]
    assert json.loads(rows[2]["stored"]["verdict"]) == {}


def test_samples_of_one_task_at_one_step_are_a_group(tmp_path):
    collection = Collection(tmp_path / "collected.parquet")
    collection.add(1, batch(), ROWS)
    collection.add(2, batch(), ROWS)
    groups = [row["stored"]["group"] for row in collection.rows]
    assert groups == ["a-1", "a-1", "b-1", "a-2", "a-2", "b-2"]


def test_without_sampling_log_probs_the_column_is_empty(tmp_path):
    path = tmp_path / "collected.parquet"
    collection = Collection(path)
    collection.add(1, batch(log_probs=False), ROWS)
    collection.finish()
    assert [row["stored"]["log_probs"] for row in pq.read_table(path).to_pylist()] == [[], [], []]


def test_the_data_rows_are_not_changed(tmp_path):
    collection = Collection(tmp_path / "collected.parquet")
    collection.add(1, batch(), ROWS)
    assert "stored" not in ROWS["a"]


def test_nothing_collected_is_an_error_and_leaves_no_file(tmp_path):
    path = tmp_path / "collected.parquet"
    with pytest.raises(ValueError, match=r"nothing was collected for .*collected\.parquet"):
        Collection(path).finish()
    assert list(tmp_path.iterdir()) == []


def test_the_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "collected.parquet"
    path.write_text("an older file")
    collection = Collection(path)
    collection.add(1, batch(), ROWS)
    collection.finish()
    assert pq.read_table(path).num_rows == 3
    assert [file.name for file in tmp_path.iterdir()] == ["collected.parquet"]


def ladder(*scores: float) -> SampledBatch:
    """Row a with an attempt of each score."""
    attempts = [
        {
            "number": number, "response": f"{score}", "response_ids": [5, number], "log_probs": [],
            "tokens": 2, "passed": score == 1.0, "score": score, "reason": "ok", "feedback": "",
            "verify_seconds": 0.0, "cut": False, "cut_by_budget": False,
        }
        for number, score in enumerate(scores, 1)
    ]  # fmt: skip
    ids = torch.tensor([5])
    return SampledBatch(
        student_prompts=[ids], teacher_prompts=[ids], responses=[ids], masks=[ids], log_probs=None,
        scores=[0.0], extra=[{"view": "student", "attempts": attempts, "round": 1}],
        row_uids=["a"], is_padding=[False], messages=[[]],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("threshold", "scores", "in_vain"),
    [(0.5, (0.0, 1.0), True), (0.5, (0.0, 0.5), False), (1.0, (0.0, 1.0), False)],
)
def test_a_graded_filter_tells_when_nothing_was_graded(tmp_path, threshold, scores, in_vain):
    collection = Collection(tmp_path / "kept.parquet", FilterSettings(threshold=threshold))
    collection.add(1, ladder(*scores), ROWS)
    assert collection.grades_in_vain is in_vain
    assert collection.finish() == {"failed": 1, "kept": 1}
