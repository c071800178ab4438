"""A round on disk: attempts, what is kept of them, budgets of the next arm, rows for a batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from algorithms.retry.filter import FilterSettings
from algorithms.runtime.collection import (
    Collection,
    CollectionIncomplete,
    attempts_file,
    read_attempts,
)
from algorithms.runtime.rounds import TokenBudget, ready
from algorithms.runtime.rows import SampledBatch
from algorithms.runtime.stages import Sampling, Stage

# Attempts of each task: (passed, tokens).
COURSE = {
    "a": [(True, 4)],
    "b": [(False, 6), (True, 3)],
    "c": [(False, 5), (False, 5), (False, 5)],
    "d": [(False, 2), (True, 2)],
}


def attempt(number: int, passed: bool, tokens: int, **other: Any) -> dict[str, Any]:
    return {
        "number": number, "response": f"answer {number}", "response_ids": [7] * tokens,
        "log_probs": [-0.5] * tokens, "tokens": tokens, "prompt_tokens": 9, "temperature": None,
        "cut": False,
        "cut_by_budget": False, "passed": passed, "score": float(passed), "feedback": "",
        "reason": "ok" if passed else "wrong_answer", "verify_seconds": 0.1, **other,
    }  # fmt: skip


def ladders(course: dict[str, list[tuple[bool, int]]]) -> SampledBatch:
    extra: list[dict[str, Any]] = [
        {
            "view": "student",
            "attempts": [attempt(n, *made) for n, made in enumerate(attempts, start=1)],
            "stopped": "passed" if attempts[-1][0] else "exhausted",
            "round": 1,
            "reward_extra_info": {"reason": "ok", "acc": 1.0},
        }
        for attempts in course.values()
    ]
    ids = [torch.tensor(e["attempts"][-1]["response_ids"]) for e in extra]
    prompts = [torch.tensor([2])] * len(ids)
    return SampledBatch(
        student_prompts=prompts, teacher_prompts=prompts,
        responses=ids, masks=[torch.ones_like(i) for i in ids], log_probs=None,
        scores=[float(a[-1][0]) for a in course.values()], extra=extra, row_uids=list(course),
        is_padding=[False] * len(ids), messages=[[]] * len(ids),
    )  # fmt: skip


def data_rows() -> dict[str, dict[str, Any]]:
    return {uid: {"uid": uid, "row_uid": uid, "prompt": [{"content": uid}]} for uid in COURSE}


def collected(path: Path, course=COURSE, **settings: Any) -> Collection:
    collection = Collection(path, FilterSettings(**settings))
    collection.add(1, ladders(course), data_rows())
    return collection


def written(path: Path) -> list[dict[str, Any]]:
    return pq.read_table(path).to_pylist()


def test_every_attempt_is_stored_and_what_passes_is_kept(tmp_path):
    collection = collected(tmp_path / "round.parquet")
    assert collection.finish() == {"kept": 3, "failed": 5}
    everything = written(attempts_file(tmp_path / "round.parquet"))
    assert [(r["uid"], r["stored"]["number"]) for r in everything] == [
        ("a", 1), ("b", 1), ("b", 2), ("c", 1), ("c", 2), ("c", 3), ("d", 1), ("d", 2)
    ]  # fmt: skip
    kept = written(tmp_path / "round.parquet")
    assert [(r["uid"], r["stored"]["number"]) for r in kept] == [("a", 1), ("b", 2), ("d", 2)]
    assert kept[1]["stored"]["response_ids"] == [7] * 3 and kept[1]["prompt"] == [{"content": "b"}]
    first = {"uid": "b", "round": 1, "attempt": 1, "reason": "failed"}
    assert collection.dropped[0] == first
    assert len(collection.dropped) == 5


def test_the_order_is_that_of_the_data_whatever_ended_first(tmp_path):
    backwards = dict(reversed(COURSE.items()))
    collected(tmp_path / "one.parquet").finish()
    collected(tmp_path / "other.parquet", backwards).finish()
    assert written(tmp_path / "one.parquet") == written(tmp_path / "other.parquet")


def test_where_nothing_passes_the_file_has_no_rows_and_all_columns(tmp_path):
    path = tmp_path / "round.parquet"
    assert collected(path, {"c": COURSE["c"]}).finish() == {"failed": 3}
    assert written(path) == []
    assert pq.read_schema(path).equals(pq.read_schema(attempts_file(path)))


def test_attempts_of_an_earlier_collection_are_chosen_from_as_well(tmp_path):
    collected(tmp_path / "probe.parquet", {"a": [(True, 4)], "b": [(False, 6)]}).finish()
    later = Collection(
        tmp_path / "round.parquet",
        FilterSettings(),
        [str(attempts_file(tmp_path / "probe.parquet"))],
    )
    later.add(1, ladders({"b": [(True, 3)]}), data_rows())
    assert later.finish() == {"kept": 2, "failed": 1}
    assert [r["uid"] for r in written(tmp_path / "round.parquet")] == ["a", "b"]


def test_a_collection_whose_budget_was_spent_before_has_what_the_probe_found(tmp_path):
    collected(tmp_path / "probe.parquet").finish()
    probe = str(attempts_file(tmp_path / "probe.parquet"))
    later = Collection(tmp_path / "round.parquet", FilterSettings(), [probe])
    assert later.finish()["kept"] == 3
    assert written(attempts_file(tmp_path / "round.parquet")) == []


def test_tasks_whose_sampling_failed_stop_the_run(tmp_path):
    stage = Stage("r", "arm", 0, "collect", "sft", keep={})
    collection = collected(tmp_path / "round.parquet")
    collection.check_complete(4, stage)
    with pytest.raises(CollectionIncomplete, match="failed for 2 of 6 tasks"):
        collection.check_complete(6, stage)


def test_a_budget_for_each_task_is_what_the_reference_took_on_it(tmp_path):
    collected(tmp_path / "ref.parquet").finish()
    budget = TokenBudget(str(tmp_path / "ref.parquet"))
    assert budget.of_tasks(list(COURSE)) == {"a": 4, "b": 9, "c": 15, "d": 4}


def test_a_uniform_budget_sums_to_the_same_total(tmp_path):
    collected(tmp_path / "ref.parquet").finish()
    tokens = TokenBudget(str(tmp_path / "ref.parquet"), "uniform").of_tasks(list(COURSE))
    assert tokens == {"a": 8, "b": 8, "c": 8, "d": 8}


def test_the_frontier_gets_what_the_probe_left(tmp_path):
    collected(tmp_path / "ref.parquet").finish()
    probe = {
        "a": [(True, 1)] * 2,
        "b": [(False, 1), (True, 1)],
        "c": [(False, 1)] * 2,
        "d": [(True, 1)],
    }
    collected(tmp_path / "probe.parquet", probe).finish()
    budget = TokenBudget(
        str(tmp_path / "ref.parquet"), "frontier", str(tmp_path / "probe.parquet"), (0.3, 0.5)
    )
    assert budget.of_tasks(list(COURSE)) == {"b": 32 - 7}


def save(rows: list[dict[str, Any]], path: Path) -> str:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return str(path)


def test_a_stage_with_a_budget_gets_rows_that_name_it(tmp_path):
    collected(tmp_path / "ref.parquet").finish()
    data = save(list(data_rows().values()), tmp_path / "train.parquet")
    stage = Stage(
        "control", "control", 0, "collect", "sft", data=data, steps=1, batch_size=4,
        budget={"of": str(tmp_path / "ref.parquet"), "allocation": "per_task"},
    )  # fmt: skip
    made, remark = ready(stage, tmp_path / "data")
    assert (made.steps, made.batch_size, remark) == (1, 4, "")
    assert {r["uid"]: r["token_budget"] for r in written(Path(made.data))} == {
        "a": 4, "b": 9, "c": 15, "d": 4
    }  # fmt: skip


def training(data: str, **settings: Any) -> Stage:
    return Stage(
        "t", "arm", 0, "train", "sft", sampling=Sampling(source="stored"), data=data,
        **{"steps": 5, "batch_size": 4, **settings},
    )  # fmt: skip


def test_kept_rows_that_fill_no_batch_are_repeated_and_said_so(tmp_path):
    collected(tmp_path / "round.parquet").finish()
    made, remark = ready(training(str(tmp_path / "round.parquet")), tmp_path / "data")
    assert len(written(Path(made.data))) == 6 and made.steps == 5
    assert remark == (
        "3 responses were kept, fewer than a batch of 4: each counts 2 times in a pass"
    )


def test_nothing_kept_is_nothing_trained(tmp_path):
    collected(tmp_path / "round.parquet", {"c": COURSE["c"]}).finish()
    made, remark = ready(training(str(tmp_path / "round.parquet")), tmp_path / "data")
    assert made.steps == 0 and "nothing was kept" in remark


@pytest.mark.parametrize(("epochs", "steps"), [(1.0, 1), (2.0, 2), (0.1, 1)])
def test_steps_can_be_passes_over_what_was_kept(tmp_path, epochs, steps):
    collected(tmp_path / "round.parquet").finish()
    stage = training(str(tmp_path / "round.parquet"), data_epochs=epochs, batch_size=3)
    assert ready(stage, tmp_path / "data")[0].steps == steps


def test_other_stages_are_left_as_they_are(tmp_path):
    stage = Stage("t", "arm", 0, "train", "opsd", data="x", steps=3)
    assert ready(stage, tmp_path) == (stage, "")


def test_what_a_collection_says_of_its_attempts(tmp_path):
    collected(tmp_path / "ref.parquet").finish()
    first = read_attempts(tmp_path / "ref.parquet")[0]
    assert (first["uid"], first["tokens"], first["passed"], first["number"]) == ("a", 4, True, 1)
