"""The rows of a run: completed, checked, counted, and the same every time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from data_prep import core_lean
from data_prep.errors import DataError
from data_prep.leak import LeakError
from data_prep.schema import make_uid, privileged, write_rows
from recipes import data as run_data
from recipes.config import ConfigError, load

SMALL = ("data.train_rows=20", "data.eval_rows=14")


def config_of(*overrides: str) -> Any:
    return load("opsd_skeleton", ["profile=cpu", *SMALL, *overrides])


def arithmetic_row(number: int, split: str, **changes: Any) -> dict[str, Any]:
    """A row that is no Lean statement, as a user may bring it."""
    row: dict[str, Any] = {
        "data_source": "sums",
        "prompt": [{"role": "user", "content": f"What is {number} plus {number + 1}?"}],
        "ability": "math",
        "reward_model": {"style": "lean", "ground_truth": f"theorem t : {number} = {number} := by"},
        "extra_info": {"index": number, "split": split, "family": "sums"},
        "privileged": [
            {"kind": "skeleton", "content": f"have h : {number} = {number} := by sorry"}
        ],
        "level": "1",
        "split": split,
        **changes,
    }
    return {**row, "uid": make_uid(row)}


@pytest.fixture(scope="module")
def built(demo_tokenizer):
    return run_data.build(config_of(), demo_tokenizer, warm_up=True)


def test_every_training_row_has_what_the_controls_show(built):
    skeletons = {privileged(row, "skeleton") for row in core_lean.load("train")}
    assert len(built.train) == 20
    for row in built.train:
        wrong = privileged(row, "wrong_skeleton")
        assert privileged(row, "gibberish") == "XYZZY"
        assert wrong in skeletons and wrong != privileged(row, "skeleton")
        assert privileged(row, "gold_solution")


def test_the_choice_of_rows_is_spread_and_in_the_files_order(built):
    order = {row["uid"]: i for i, row in enumerate(core_lean.load("train"))}
    chosen = [order[row["uid"]] for row in built.train]
    assert chosen == sorted(chosen)
    assert len({row["extra_info"]["family"] for row in built.train}) > 5
    assert len(built.heldout) == 14


def test_format_mix_shows_easy_rows_in_either_view_and_target_rows_with_pi(built):
    rows = built.warmup[0]
    views: dict[bool, set[str]] = {True: set(), False: set()}
    for row in rows:
        views[row["extra_info"].get("role") == "target"].add(row["extra_info"]["view"])
    assert views == {True: {"teacher"}, False: {"student", "teacher"}}
    assert {row["uid"] for row in rows} == {row["uid"] for row in core_lean.load("warmup")}


def test_bare_mix_is_target_rows_and_half_of_them_with_pi_too(built):
    rows = built.warmup[1]
    count = {v: sum(row["extra_info"]["view"] == v for row in rows) for v in ("student", "teacher")}
    assert all(row["extra_info"]["role"] == "target" for row in rows)
    assert count["teacher"] == -(-count["student"] // 2)


def test_warm_up_rows_are_no_training_rows_and_no_held_out_rows(built):
    warm = {row["uid"] for rows in built.warmup for row in rows}
    assert warm.isdisjoint(row["uid"] for row in [*built.train, *built.heldout])


def test_without_a_warm_up_there_are_no_rows_for_it(demo_tokenizer):
    assert run_data.build(config_of(), demo_tokenizer, warm_up=False).warmup == []


def test_longest_prompts_are_measured(built, demo_tokenizer):
    limit = config_of().max_prompt_tokens
    assert all(50 < longest <= limit for longest in built.longest.values())
    assert built.longest.keys() == {"train", "heldout", "warmup"}


def test_rows_that_do_not_fit_are_dropped_and_counted(demo_tokenizer):
    limit = 100
    data = run_data.build(config_of(f"max_prompt_tokens={limit}"), demo_tokenizer, warm_up=False)
    assert 0 < len(data.train) < 20
    dropped = [line for line in data.dropped if line["arm"] == "train"]
    assert len(dropped) + len(data.train) == 20
    for line in dropped:
        assert line["reason"] == "view_overflow" and line["uid"]
        assert f"the limit is {limit}" in line["detail"]
    assert data.longest["train"] <= limit


def test_a_limit_that_nothing_fits_is_refused(demo_tokenizer):
    with pytest.raises(ConfigError, match="no train row fits max_prompt_tokens=10: raise it"):
        run_data.build(config_of("max_prompt_tokens=10"), demo_tokenizer, warm_up=False)


@pytest.mark.parametrize("role", ["train", "warmup"])
def test_a_held_out_statement_in_the_training_data_stops_the_run(demo_tokenizer, tmp_path, role):
    leaked = core_lean.load("heldout")[:2]
    write_rows(tmp_path / "leaked.jsonl", [*core_lean.load("train")[:30], *leaked], source="test")
    config = config_of(
        f"data.{role}={tmp_path}/leaked.jsonl", "data.train_rows=null", "data.eval_rows=null"
    )
    with pytest.raises(LeakError, match="2 held-out rows are in the training data") as error:
        run_data.build(config, demo_tokenizer, warm_up=True)
    assert leaked[0]["uid"] in str(error.value)


def test_the_same_configuration_writes_the_same_bytes(built, demo_tokenizer, tmp_path):
    again = run_data.build(config_of(), demo_tokenizer, warm_up=True)
    one = run_data.write(built, tmp_path / "one")
    two = run_data.write(again, tmp_path / "two")
    assert one.keys() == two.keys() == {"train", "train_gold", "eval", "warmup_0", "warmup_1"}
    for role, path in one.items():
        assert Path(path).read_bytes() == Path(two[role]).read_bytes(), role


def test_what_is_written_is_what_was_built(built, tmp_path):
    paths = run_data.write(built, tmp_path)
    rows = pq.read_table(paths["train"]).to_pylist()
    assert [row["row_uid"] for row in rows] == [row["uid"] for row in built.train]
    assert rows[0]["privileged"] == built.train[0]["privileged"]
    assert rows[0]["prompt"] == built.train[0]["prompt"]
    views = [row["extra_info"]["view"] for row in pq.read_table(paths["warmup_0"]).to_pylist()]
    assert views == [row["extra_info"]["view"] for row in built.warmup[0]]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_a_users_own_files_are_read_by_their_path(demo_tokenizer, tmp_path, suffix):
    train, held_out = tmp_path / f"train.{suffix}", tmp_path / f"eval.{suffix}"
    # Different contents: the control with another row's skeleton has to be possible.
    write_rows(train, [arithmetic_row(i, "train") for i in range(4, 12)], source="test")
    write_rows(held_out, [arithmetic_row(i, "test") for i in range(20, 24)], source="test")
    config = config_of(f"data.train={train}", f"data.eval={held_out}", "data.train_rows=null")
    data = run_data.build(config, demo_tokenizer, warm_up=False)
    assert len(data.train) == 8 and len(data.heldout) == 4
    assert data.train[0]["data_source"] == "sums"
    assert privileged(data.train[0], "wrong_skeleton") != privileged(data.train[0], "skeleton")


def test_a_file_that_is_not_there_is_named(demo_tokenizer, tmp_path):
    with pytest.raises(
        ConfigError,
        match=r"no data at .*gone\.parquet: give core_lean, worked_arithmetic, small_programs, or",
    ):
        run_data.load(str(tmp_path / "gone.parquet"), "train")


def test_a_file_of_another_schema_names_row_and_column(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"question": "?"}) + "\n")
    with pytest.raises(DataError, match=r"row 0.*column `question`"):
        run_data.load(str(path), "train")


def test_no_file_is_no_rows():
    assert run_data.load(None, "warmup") == []


def test_an_unknown_mix_is_refused(demo_tokenizer):
    config = config_of("warmup.phases=[{steps: 1, learning_rate: 1.0e-5, mix: fromat}]")
    with pytest.raises(ConfigError, match="no mix 'fromat'; known: plain, format, bare"):
        run_data.build(config, demo_tokenizer, warm_up=True)


def test_families_without_gold_proofs_keep_their_skeletons(demo_tokenizer):
    config = config_of("data.without_gold=[iff,dvd]", "data.train_rows=null")
    rows = run_data.build(config, demo_tokenizer, warm_up=False)
    lacking = [row for row in rows.train if privileged(row, "gold_solution") is None]
    assert {row["extra_info"]["family"] for row in lacking} == {"iff", "dvd"}
    assert all(privileged(row, "skeleton") for row in lacking)
    assert len(rows.with_gold()) == len(rows.train) - len(lacking) > 0
    for row in [*rows.train, *rows.heldout]:
        assert row["extra_info"]["has_gold"] is (row["extra_info"]["family"] not in ("iff", "dvd"))


def test_a_family_that_is_not_there_is_named(demo_tokenizer):
    with pytest.raises(ConfigError, match=r"no training row is of family abc; known: .*iff"):
        run_data.build(config_of("data.without_gold=[abc]"), demo_tokenizer, warm_up=False)
