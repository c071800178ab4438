"""Every kind of retry arm and control on one Ray start: a tiny model that knows nothing, on rows of
the user's own whose verifier is a pattern that random text matches now and then."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from . import runs

pytestmark = pytest.mark.e2e

TASKS = 12
ROUNDS = (
    "retry_bare", "retry_gold", "double_sample", "resample_until_pass", "uniform",
    "temperature_schedule", "frontier_rejection", "rejection", "compute_matched", "retry_feedback",
)  # fmt: skip
ARMS = (*ROUNDS, "retry_online", "sd_zero_opsd", "pi_reward_shaping")
EQUAL = ("double_sample", "uniform", "temperature_schedule", "frontier_rejection")


def rows(split: str, count: int, first: int) -> str:
    """A data file as a user would write it: `count` tasks of their own."""
    lines = [
        {
            "data_source": "own",
            "prompt": [{"role": "user", "content": f"Say something about number {number}."}],
            "ability": "text",
            "reward_model": {"style": "regex", "ground_truth": "(?s).*[bkw].*"},
            "extra_info": {"index": number, "split": split},
            "privileged": [{"kind": "gold_answer", "content": f"b{number}"}],
            "level": str(number % 3),
            "split": split,
        }
        for number in range(first, first + count)
    ]
    return "".join(json.dumps(line) + "\n" for line in lines)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("retry_arms")
    (folder / "train.jsonl").write_text(rows("train", TASKS, 0))
    (folder / "eval.jsonl").write_text(rows("heldout", 4, 100))
    process = runs.start(
        folder,
        f"model.path={runs.tiny_model(folder / 'model')}",
        f"data.train={folder / 'train.jsonl'}",
        f"data.eval={folder / 'eval.jsonl'}",
        "data.train_rows=null",
        "data.eval_rows=null",
        f"arms=[{','.join(ARMS)}]",
        "steps=2",
        "batch_size=4",
        "samples_per_prompt=2",
        "max_response_tokens=6",
        "retry.rounds=1",
        "retry.k=2",
        "retry.complete=false",
        "retry.probe=1",
        "retry.band=[0.0,0.5]",
        "warmup.enabled=false",
        recipe="retry_math",
    )
    return runs.finish(process, folder, 1200.0, recipe="retry_math")


def attempts(run: Path, arm: str) -> list[dict]:
    """Every attempt of an arm's round, those of its probe included."""
    files = sorted((run / "data").glob(f"collected-{arm}-seed0-round1*-attempts.parquet"))
    tables = [pq.read_table(file).to_pylist() for file in files]
    return [{"uid": r["row_uid"], **r["stored"]} for table in tables for r in table]


def spent(run: Path, arm: str) -> Counter[str]:
    total: Counter[str] = Counter()
    for attempt in attempts(run, arm):
        total[attempt["uid"]] += attempt["tokens"]
    return total


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_trains_with_a_finite_gradient(run, arm):
    lines = [
        x["metrics"]
        for x in runs.lines(run, "metrics")
        if x["arm"] == arm and x["phase"] == "train" and x["seconds"] is not None
    ]
    assert len(lines) == (4 if arm == "compute_matched" else 2)
    assert all(math.isfinite(line["grad_norm"]) for line in lines)
    if arm not in ("retry_online", "sd_zero_opsd"):  # there a step may sample nothing to learn from
        assert all(line["grad_norm"] > 0 for line in lines)


@pytest.mark.parametrize("arm", EQUAL)
def test_controls_generate_as_many_tokens_as_the_retries_to_the_token(run, arm):
    assert spent(run, arm).total() == spent(run, "retry_bare").total()


def test_the_budget_is_that_of_each_task_or_in_equal_parts(run):
    reference = spent(run, "retry_bare")
    assert spent(run, "double_sample") == spent(run, "temperature_schedule") == reference
    assert max(spent(run, "uniform").values()) - min(spent(run, "uniform").values()) <= 1
    until = spent(run, "resample_until_pass")
    assert all(until[uid] <= reference[uid] for uid in reference)


def test_only_what_passed_is_learnt_from(run):
    for arm in ROUNDS:
        table = pq.read_table(run / "data" / f"collected-{arm}-seed0-round1.parquet")
        kept = [row["stored"] for row in table.to_pylist()]
        assert kept and all(row["passed"] for row in kept)
        if arm in ("rejection", "compute_matched"):
            assert {row["number"] for row in kept} == {1}


def test_attempts_count_on_after_the_probe_and_none_is_drawn_twice(run):
    per_task: dict[str, list[int]] = {}
    for attempt in attempts(run, "frontier_rejection"):
        per_task.setdefault(attempt["uid"], []).append(attempt["number"])
    assert all(sorted(numbers) == list(range(1, len(numbers) + 1)) for numbers in per_task.values())
    assert any(len(numbers) > 1 for numbers in per_task.values())


def test_arms_of_the_same_attempts_share_them(run):
    one, other = attempts(run, "retry_bare"), attempts(run, "rejection")
    assert [a["response_ids"] for a in one] == [a["response_ids"] for a in other]


def test_the_online_arm_learns_from_its_ladder_in_every_step(run):
    lines = [t for t in runs.lines(run, "trajectories") if t["arm"] == "retry_online"]
    assert lines and all(1 <= len(t["attempts"]) <= 3 for t in lines)
    assert {t["stopped"] for t in lines} <= {"passed", "exhausted", "context_full"}
    for line in lines:
        assert line["tokens"] == sum(a["tokens"] for a in line["attempts"])
        assert line["verdict"]["passed"] == (line["stopped"] == "passed")


def test_an_arm_goes_on_from_the_last_round_of_another(run):
    done = json.loads((run / "stages" / "sd_zero_opsd-seed0.json").read_text())
    assert done["stage"]["start_from"] == "retry_bare-seed0"


def test_the_report_has_all_of_them(run):
    report = json.loads((run / "report.json").read_text())
    assert [arm["name"] for arm in report["arms"]] == list(ARMS)
    assert report["heldout"]["compared"] == TASKS and report["missing"] == []
