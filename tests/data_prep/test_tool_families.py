"""τ-bench, TravelPlanner and GEM: golden rows of our own, mistakes, and the published files."""

from __future__ import annotations

import importlib.util
import json
import os
from collections import Counter
from pathlib import Path

import pytest

import rewards
from data_prep import leak
from data_prep.__main__ import main
from data_prep.errors import DataError
from data_prep.family import Request
from data_prep.registry import get_family
from data_prep.schema import privileged, read_rows, validate_rows
from rewards.gem import INSTALL_COMMAND


def build(name, source=None, **options):
    family = get_family(name)
    defaults = {option.name: option.default for option in family.options}
    request = Request(family, source and str(source), {**defaults, **options})
    return validate_rows(family.build(request)), request.drops.counts


# --- τ-bench -------------------------------------------------------------------------------------

TASK = {
    "annotator": "own", "user_id": "ann_lee_1", "instruction": "You are Ann. Cancel #W1.",
    "actions": [{"name": "cancel", "kwargs": {"order_id": "#W1", "reason": "no longer needed"}}],
    "outputs": ["12.50"],
}  # fmt: skip
OLDER = {
    "user_id": "bo_1", "instruction": "You are Bo. Change the seat.",
    "actions": [{"name": "update", "arguments": {"seat": 3}}, {"name": "pay", "arguments": {}}],
}  # fmt: skip


def tau_folder(folder, **files):
    folder.mkdir(exist_ok=True)
    (folder / "wiki.md").write_text("# Policy\n\nBe kind.\n")
    for split, tasks in files.items():
        lines = [task if isinstance(task, str) else json.dumps(task) for task in tasks]
        (folder / f"tasks_{split}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def test_a_tau_row(tmp_path):
    rows, drops = build("tau_retail", tau_folder(tmp_path / "t", train=[TASK], test=[OLDER]))
    first, second = rows
    assert first["prompt"] == [{"role": "system", "content": "# Policy\n\nBe kind."}]
    assert first["reward_model"] == {
        "style": "tool_use",
        "ground_truth": '{"actions": [{"kwargs": {"order_id": "#W1", "reason": "no longer needed"},'
        ' "name": "cancel"}], "outputs": ["12.50"]}',
    }
    assert first["privileged"] == [
        {"kind": "tool_calls_and_arguments",
         "content": '1. cancel(order_id="#W1", reason="no longer needed")'},
        {"kind": "tool_calls_only", "content": "1. cancel"},
    ]  # fmt: skip
    extra = first["extra_info"]
    assert (extra["domain"], extra["task_id"], extra["user_id"]) == ("retail", "0", "ann_lee_1")
    assert extra["instruction"] == TASK["instruction"]
    assert (first["data_source"], first["split"], second["split"]) == (
        "tau_bench_retail", "train", "test",
    )  # fmt: skip
    assert privileged(second, "tool_calls_and_arguments") == "1. update(seat=3)\n2. pay()"
    assert json.loads(second["reward_model"]["ground_truth"])["outputs"] == []
    assert not drops


def test_only_the_simulated_user_knows_the_instruction(tmp_path):
    """Tasks of equal actions that ask for different things are different tasks, in both forms."""
    other = {**TASK, "instruction": "You are Cy. Cancel #W1."}
    folder = tau_folder(tmp_path / "t", train=[TASK, other], test=[TASK])
    forms = {}
    for user in ("simulated", "stated"):
        out = tmp_path / user
        assert main(["tau_retail", f"source={folder}", f"out={out}", f"user={user}"]) == 0
        forms[user] = [*read_rows(out / "train.parquet"), *read_rows(out / "test.parquet")]
    # The test task is dropped from the training rows in both.
    assert [[row["extra_info"]["instruction"] for row in rows] for rows in forms.values()] == [
        [other["instruction"], TASK["instruction"]]
    ] * 2
    for row in forms["simulated"]:
        assert row["extra_info"]["instruction"] not in json.dumps(row["prompt"])
    for row in forms["stated"]:
        assert row["prompt"][-1] == {"role": "user", "content": row["extra_info"]["instruction"]}
    uids = [[row["uid"] for row in rows] for rows in forms.values()]
    assert uids[0] == uids[1] and len(set(uids[0])) == 2


def test_a_user_who_does_not_exist(tmp_path, capsys):
    assert main(["tau_retail", f"source={tmp_path}", "user=silent"]) == 2
    assert "give simulated or stated" in capsys.readouterr().err


def test_bad_tasks_are_dropped_and_counted(tmp_path):
    bad = ["{", "[]", {**TASK, "user_id": 3}, {**TASK, "actions": "none"},
           {**TASK, "actions": [{}]}, {**TASK, "actions": [{"name": "a", "kwargs": []}]},
    ]  # fmt: skip
    rows, drops = build("tau_airline", tau_folder(tmp_path / "t", dev=[TASK, *bad]))
    assert len(rows) == 1 and rows[0]["data_source"] == "tau_bench_airline"
    assert drops == {
        "not JSON": 1, "no JSON object": 1, "`user_id` is missing or no text": 1,
        "`actions` is missing or no list": 1, "an action has no name": 1,
        "an action's arguments are no object": 1,
    }  # fmt: skip


def test_a_folder_without_tasks_or_policy(tmp_path):
    with pytest.raises(DataError, match="no tasks of sierra-research/tau-bench"):
        build("tau_retail", tau_folder(tmp_path / "t"))
    folder = tau_folder(tmp_path / "u", train=[TASK])
    (folder / "wiki.md").unlink()
    with pytest.raises(DataError, match=r"copy wiki\.md"):
        build("tau_retail", folder)


# --- TravelPlanner -------------------------------------------------------------------------------

DAY = {"days": 1, "current_city": "from A to B", "transportation": "Flight Number: F1",
       "breakfast": "-", "attraction": "Zoo, B", "lunch": "-", "dinner": "-", "accommodation": "-",
       "note": "not asked for"}  # fmt: skip
REFERENCE = [
    {"Description": "Attractions in B", "Content": "Name\n Zoo"},
    {"Description": "Flight from A to B on 2022-03-16", "Content": "F1 474"},
]
QUERY = {
    "org": "A", "dest": "B", "days": 1, "date": ["2022-03-16"], "people_number": 1, "budget": 900,
    "query": "Plan a day from A to B.", "level": "easy", "visiting_city_number": 1,
    "local_constraint": {"house rule": None, "cuisine": ["Thai"]},
    "annotated_plan": [{"org": "A"}, [DAY, {}, {}]], "origin_ref_info": REFERENCE,
}  # fmt: skip


def as_text(query):
    """As on the hub: nested columns as Python literals in text."""
    nested = ("date", "local_constraint", "annotated_plan")
    row = {k: repr(v) if k in nested else v for k, v in query.items()}
    return {**row, "reference_information": repr(row.pop("origin_ref_info"))}


def travel(tmp_path, *queries):
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(query) + "\n" for query in queries))
    return build("travel_planner", path)


@pytest.mark.parametrize("form", [dict, as_text])
def test_a_travel_row(tmp_path, form):
    ((row,), drops) = travel(tmp_path, form(QUERY))
    assert row["prompt"][1]["content"] == (
        "Attractions in B\nName\n Zoo\n\nFlight from A to B on 2022-03-16\nF1 474\n\n"
        "Query: Plan a day from A to B."
    )
    truth = json.loads(row["reward_model"]["ground_truth"])
    assert truth == {
        "org": "A", "dest": "B", "days": 1, "people_number": 1, "budget": 900,
        "date": ["2022-03-16"], "local_constraint": {"house rule": None, "cuisine": ["Thai"]},
        "visiting_city_number": 1, "reference_information": [REFERENCE[1]],
    }  # fmt: skip
    plan = json.loads(privileged(row, "gold_solution") or "")
    assert plan == [{key: value for key, value in DAY.items() if key != "note"}]
    assert (row["level"], row["split"], row["reward_model"]["style"]) == (
        "easy", "train", "travel_planner",
    )  # fmt: skip
    assert not drops


def test_bad_queries_are_dropped_and_counted(tmp_path):
    rows, drops = travel(
        tmp_path,
        {**QUERY, "annotated_plan": None},
        {**QUERY, "query": "Other.", "days": "some"},
        {**QUERY, "origin_ref_info": "[1, 2"},
        {**QUERY, "origin_ref_info": [3]},
        {**QUERY, "origin_ref_info": None},
        {**QUERY, "days": 3},
        {k: v for k, v in QUERY.items() if k != "budget"},
    )
    assert len(rows) == 1 and rows[0]["privileged"] == []
    assert drops == {
        "column `days` is no number": 1, "column `reference_information` cannot be read": 1,
        "the reference information has an entry without a description": 1,
        "the reference information is no list": 1, "column `budget` is missing": 1,
        "the annotated plan has not as many days as the query": 1,
    }  # fmt: skip


# --- GEM -----------------------------------------------------------------------------------------


needs_gem = pytest.mark.skipif(
    importlib.util.find_spec("gem") is None, reason=f"GEM is missing: {INSTALL_COMMAND}"
)


@needs_gem
def test_games_that_begin_alike_are_split_by_their_seed(tmp_path):
    options = ["envs=[game:Sudoku-v0-easy]", "count=40", "split=train:0.75,test:0.25"]
    assert main(["gem", *options, f"out={tmp_path}"]) == 0
    train, test = (read_rows(tmp_path / f"{split}.parquet") for split in ("train", "test"))
    assert len(train) + len(test) == 40 and 4 <= len(test) <= 16
    assert len({row["prompt"][0]["content"] for row in (*train, *test)}) == 1
    leak.check_disjoint(train, test)
    with pytest.raises(leak.LeakError):
        leak.check_disjoint(train, train[:1])


@needs_gem
def test_gem_rows_start_their_environments():
    rows, _ = build("gem", envs=["rg:leg_counting"], count=3, first_seed=5)
    assert [json.loads(row["reward_model"]["ground_truth"]) for row in rows] == [
        {"env_id": "rg:leg_counting", "seed": seed, "kwargs": {},
         "observation": row["prompt"][0]["content"]}
        for row, seed in zip(rows, (5, 6, 7), strict=True)
    ]  # fmt: skip
    verdict = rewards.verify("gem", "no answer", rows[0]["reward_model"]["ground_truth"])
    assert verdict.reason == "wrong_answer", verdict
    assert len({row["prompt"][0]["content"] for row in rows}) == 3
    again, _ = build("gem", envs=["rg:leg_counting"], count=3, first_seed=5)
    assert rows == again
    with pytest.raises(DataError, match=r"environment nope:x.*check envs="):
        build("gem", envs=["nope:x"])


@pytest.mark.skipif(importlib.util.find_spec("gem") is not None, reason="GEM is installed")
def test_without_gem_the_error_says_how_to_install_it():
    with pytest.raises(DataError, match=r"pip install .*gem-llm==0\.1\.0"):
        build("gem")


# --- the published files -------------------------------------------------------------------------


def published(*parts):
    return Path(os.environ["VERL_PI_DATA"]).joinpath(*parts)


@pytest.mark.conformance
def test_published_retail_tasks():
    rows, drops = build("tau_retail", published("tau_bench_retail"))
    counts = Counter(row["split"] for row in rows)
    assert (counts["train"], counts["dev"]) == (500, 20) and counts["test"] in (0, 115)
    assert not drops
    for row in rows:
        actions = json.loads(row["reward_model"]["ground_truth"])["actions"]
        calls = privileged(row, "tool_calls_only") or ""
        assert calls.splitlines() == [f"{n}. {a['name']}" for n, a in enumerate(actions, start=1)]
        assert "policy" in row["prompt"][0]["content"]


@pytest.mark.conformance
def test_published_travel_queries():
    rows, drops = build("travel_planner", published("travelplanner", "train_queries_45.jsonl"))
    assert len(rows) == 45 and not drops
    assert Counter(row["level"] for row in rows) == {"easy": 15, "medium": 15, "hard": 15}
    assert all(privileged(row, "gold_solution") for row in rows)
    for row in rows:
        truth = json.loads(row["reward_model"]["ground_truth"])
        plan = json.loads(privileged(row, "gold_solution") or "")
        assert len(plan) == truth["days"] and len(truth["date"]) == truth["days"]
