"""Retry, filter and fine-tune as a user starts it: two rounds of a real model, killed in the middle
of the first, and the control at an equal budget."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data_prep import worked_arithmetic

from . import runs

pytestmark = pytest.mark.e2e

TASKS = 24
# After a short warm-up few answers are right, but many have the form, and half of these are even.
EVEN = {"style": "regex", "ground_truth": r"(?ms).*^Answer: \d*[02468]\s*"}
ARMS = ("retry_bare", "double_sample")


def generations(run: Path) -> list[str]:
    """What was generated: the weights and the key of each answer, in the order of the files."""
    files = sorted((run / "data" / "generations").rglob("*.jsonl"))
    lines = [(f.parent.name, json.loads(line)) for f in files for line in f.open()]
    return [f"{weights}/{x['key']}" for weights, x in lines if "token_ids" in x["value"]]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A warm-up of the real model, then two arms, two rounds each; killed once."""
    folder = tmp_path_factory.mktemp("retry")
    for split, count in (("train", TASKS), ("heldout", 10)):
        rows = [
            {**row, "reward_model": EVEN, "extra_info": {"index": i, "split": split}}
            for i, row in enumerate(worked_arithmetic.load(split)[:count])
        ]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = (
        f"data.train={folder / 'train.jsonl'}",
        f"data.eval={folder / 'heldout.jsonl'}",
        "warmup.enabled=true",
        "data.train_rows=null",
        "data.eval_rows=null",
        f"arms=[{','.join(ARMS)}]",
        "steps=2",
        "batch_size=4",
        "warmup.phases=[{steps: 8, learning_rate: 2.0e-4, mix: plain}]",
        "max_response_tokens=32",
        "retry.rounds=2",
        "retry.k=1",
    )
    process = runs.start(folder, *settings, recipe="retry_math")
    unfinished = folder / "outputs" / "retry_math" / "test"
    runs.wait_until(
        lambda: process.poll() is not None or len(generations(unfinished)) >= TASKS // 2,
        600.0,
        "answers in the journal",
    )
    runs.kill(process)
    (folder / "before.json").write_text(json.dumps(generations(unfinished)))
    process = runs.start(folder, *settings, recipe="retry_math")
    return runs.finish(process, folder, 900.0, recipe="retry_math")


def collected(run: Path, name: str) -> list[dict]:
    table = pq.read_table(run / "data" / f"collected-{name}-attempts.parquet")
    return [{"uid": r["row_uid"], **r["stored"]} for r in table.to_pylist()]


def test_a_killed_round_repeats_no_answer_and_loses_none(run):
    before = json.loads((run.parents[2] / "before.json").read_text())
    every = generations(run)
    assert len(before) >= TASKS // 2 and set(before) <= set(every)
    assert max(Counter(every).values()) == 1
    attempted = {a["uid"] for a in collected(run, "retry_bare-seed0-round1")}
    assert len(attempted) == TASKS


def test_each_round_starts_from_the_weights_of_the_one_before(run):
    stages = {p.stem: json.loads(p.read_text())["stage"] for p in (run / "stages").glob("*.json")}
    assert stages["retry_bare-seed0-round1-collect"]["start_from"] == "warmup1"
    assert stages["retry_bare-seed0-round2-collect"]["start_from"] == "retry_bare-seed0-round1"
    assert stages["retry_bare-seed0"]["start_from"] == "retry_bare-seed0-round1"


def test_the_control_generates_what_the_retries_did_to_the_token(run):
    for number in (1, 2):
        spent = [
            {
                uid: sum(a["tokens"] for a in attempts if a["uid"] == uid)
                for uid in {a["uid"] for a in attempts}
            }
            for arm in ("retry_bare", "double_sample")
            if (attempts := collected(run, f"{arm}-seed0-round{number}"))
        ]
        assert spent[0] == spent[1]


def test_arms_share_the_first_attempts_of_the_first_round(run):
    first = [
        {a["uid"]: a["response_ids"] for a in collected(run, name) if a["number"] == 1}
        for name in ("retry_bare-seed0-round1", "double_sample-seed0-round1")
    ]
    whole = [uid for uid in first[0] if len(first[1][uid]) == len(first[0][uid])]
    assert whole and all(first[0][uid] == first[1][uid] for uid in whole)


def test_what_failed_is_dropped_by_reason_and_what_passed_is_trained_on(run):
    attempts = collected(run, "retry_bare-seed0-round1")
    kept = pq.read_table(run / "data" / "collected-retry_bare-seed0-round1.parquet").to_pylist()
    assert kept and all(row["stored"]["passed"] and row["stored"]["complete"] for row in kept)
    dropped = [
        line
        for line in runs.lines(run, "dropped")
        if line["arm"] == "retry_bare" and line["step"] <= 1
    ]
    assert len(kept) + len(dropped) == len(attempts)
    assert {line["reason"] for line in dropped} <= {"failed", "incomplete", "duplicate"}


def test_steps_go_on_counting_over_rounds_and_every_round_is_evaluated(run):
    assert runs.steps_of(run, "retry_bare") == [1, 2, 3, 4]
    evaluated = {x["step"] for x in runs.lines(run, "evaluations") if x["arm"] == "retry_bare"}
    assert evaluated == {2, 4}


def test_the_report_tells_of_retries(run):
    report = json.loads((run / "report.json").read_text())
    assert [arm["name"] for arm in report["arms"]] == list(ARMS)
    assert report["recipe"] == "retry_math" and report["status"] == "complete"
