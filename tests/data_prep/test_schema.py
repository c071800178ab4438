"""The schema: what goes in comes out, the same bytes each time, and errors that can be mended."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.errors import DataError
from data_prep.schema import (
    make_uid,
    privileged,
    read_rows,
    validate_rows,
    write_rows,
)


def row(question: str = "What is 1 + 1?", **changes):
    good = {
        "data_source": "arithmetic",
        "prompt": [{"role": "user", "content": question}],
        "ability": "math",
        "reward_model": {"style": "rule", "ground_truth": "2"},
        "extra_info": {"index": 0, "split": "train", "family": "sum", "structure": "seen"},
        "privileged": [{"kind": "gold_answer", "content": "2"}],
        "level": "1",
        "split": "train",
    }
    return {**good, **changes}


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
generated_rows = st.lists(
    st.builds(
        lambda question, kinds, extra: row(
            question,
            privileged=[{"kind": k, "content": question[::-1]} for k in kinds],
            extra_info={"index": 3, **extra},
        ),
        text,
        st.sets(st.sampled_from(["skeleton", "gibberish", "gold_answer"])),
        st.fixed_dictionaries(
            {}, optional={"note": text, "count": st.integers(-9, 9), "forbid": st.lists(text)}
        ),
    ),
    max_size=6,
    unique_by=lambda r: r["prompt"][0]["content"],
)


@settings(max_examples=40, deadline=None)
@given(rows=generated_rows, suffix=st.sampled_from([".parquet", ".jsonl"]))
def test_a_file_gives_back_its_rows_and_the_same_bytes(tmp_path_factory, rows, suffix):
    folder = tmp_path_factory.mktemp("rows")
    first, second = folder / f"a{suffix}", folder / f"b{suffix}"
    assert write_rows(first, rows, source="test") == len(rows)
    read = read_rows(first)
    assert read == validate_rows(rows)
    write_rows(second, read, source="test")
    assert first.read_bytes() == second.read_bytes()


def test_parquet_metadata_names_version_source_and_counts(tmp_path):
    rows = [row("a"), row("b"), row("c", split="test")]
    write_rows(tmp_path / "x.parquet", rows, source="somewhere")
    metadata = pq.read_schema(tmp_path / "x.parquet").metadata
    assert metadata[b"verl_pi.schema_version"] == b"1"
    assert metadata[b"verl_pi.source"] == b"somewhere"
    assert json.loads(metadata[b"verl_pi.rows"]) == {"test": 1, "train": 2}


def test_the_uid_follows_the_task_and_not_its_place():
    assert make_uid(row()) == make_uid(row(split="test", level="5", privileged=[]))
    assert make_uid(row()) != make_uid(row("What is 1 + 2?"))
    assert validate_rows([row()])[0]["uid"] == make_uid(row())


def test_privileged_finds_a_kind():
    assert privileged(row(), "gold_answer") == "2"
    assert privileged(row(), "skeleton") is None


def without(column):
    return {k: v for k, v in row().items() if k != column}


@pytest.mark.parametrize(
    ("bad", "column"),
    [
        (without("prompt"), "column `prompt`"),
        (without("privileged"), "column `privileged`"),
        (row(ability=None), "column `ability`"),
        (row(level=3), "column `level`"),
        (row(prompt=[]), "column `prompt`"),
        (row(prompt=[{"role": "robot", "content": ""}]), "column `prompt`"),
        (row(prompt=[{"role": "user"}]), "column `prompt`"),
        (row(reward_model={"style": "rule", "ground_truth": 2}), "column `reward_model`"),
        (row(extra_info={"index": 0, "what": {}}), "column `extra_info.what`"),
        (row(extra_info={"index": "0"}), "column `extra_info.index`"),
        (row(privileged=[{"kind": "a", "content": "x"}] * 2), "column `privileged`"),
        (row(uid=""), "column `uid`"),
        (row(colour="red"), "column `colour`"),
        ("no row at all", "row"),
    ],
)
def test_an_error_names_row_column_and_mend(bad, column):
    with pytest.raises(DataError) as caught:
        validate_rows([row("fine"), bad], "file.jsonl")
    assert caught.value.where == "file.jsonl, row 1"
    assert caught.value.what == column
    assert "To mend it: " in str(caught.value)


def test_two_rows_of_one_uid_are_refused():
    with pytest.raises(DataError, match=r"the same uid .* as row 0"):
        validate_rows([row(), row()])


def test_an_extra_column_of_two_types_is_refused():
    rows = [row("a", extra_info={"n": 1}), row("b", extra_info={"n": "1"})]
    with pytest.raises(DataError, match=r"row 1, column `extra_info\.n`"):
        validate_rows(rows)


def test_a_very_long_value_is_shown_in_short():
    with pytest.raises(DataError) as caught:
        validate_rows([row(level=["x" * 1_000_000])])
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("x.parquet", b"PAR1 cut short", "no readable parquet"),
        ("x.jsonl", b'{"a": 1', "not JSON"),
        ("x.jsonl", b"\xff\xfe\n", "not UTF-8"),
        ("x.jsonl", b"[1, 2]\n", "not an object"),
        ("x.xml", b"", "no format of ours"),
    ],
)
def test_a_bad_file_is_one_clear_error(tmp_path, name, content, problem):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=problem):
        read_rows(tmp_path / name)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match="there is no such file"):
        read_rows(tmp_path / "gone.parquet")


def test_a_truncated_parquet_file_is_named(tmp_path):
    path = tmp_path / "x.parquet"
    write_rows(path, [row()], source="test")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="no readable parquet"):
        read_rows(path)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "x.jsonl"
    write_rows(path, [row("old")], source="test")
    before = path.read_bytes()
    with pytest.raises(DataError):
        write_rows(path, [row("new"), row(level=1)], source="test")
    for lone in (row("\ud800"), row(privileged=[{"kind": "a", "content": "\ud800"}])):
        with pytest.raises(DataError, match="half of a surrogate pair"):
            write_rows(path, [lone], source="test")
    assert path.read_bytes() == before
    assert [p.name for p in Path(tmp_path).iterdir()] == ["x.jsonl"]


def test_the_error_survives_pickling():
    error = DataError("here", "column `x`", "is wrong", "put it right")
    copy = pickle.loads(pickle.dumps(error))
    assert isinstance(copy, ValueError)
    assert str(copy) == str(error) == "here, column `x`: is wrong. To mend it: put it right."
