"""What all data sets have in common: splits, disjointness, the same bytes, files whole or not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import leak
from data_prep.__main__ import main
from data_prep.schema import read_rows, validate_rows
from data_prep.write import Spool

NOUNS = ("apples", "boats", "cards", "drums", "eggs", "forks", "goats", "hats")


def problem(i: int) -> dict[str, str]:
    """Problems that share no run of eight words."""
    words = " ".join(f"{NOUNS[(i >> (3 * k)) % 8]}{i * k}" for k in range(9))
    return {"question": f"Sum {words}?", "answer": f"#### {i}"}


def source(folder, records, name="train.jsonl"):
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def prepare(out, path, *options) -> dict[str, list]:
    assert main(["gsm8k", f"source={path}", f"out={out}", *options]) == 0
    return {file.stem: read_rows(file) for file in sorted(out.glob("*.parquet"))}


def answers(rows) -> list[str]:
    return [row["reward_model"]["ground_truth"] for row in rows]


text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
records = st.lists(
    st.fixed_dictionaries({"question": text, "answer": text.map("{}\n#### 7".format)}),
    min_size=1, max_size=8, unique_by=lambda record: record["question"],
)  # fmt: skip


@settings(max_examples=10, deadline=None)
@given(records=records, halves=st.booleans())
def test_the_same_input_gives_the_same_bytes(tmp_path_factory, records, halves):
    folder = tmp_path_factory.mktemp("same")
    options = ["split=train:0.5,test:0.5"] if halves else []
    path = source(folder, records)
    first = prepare(folder / "a", path, *options)
    # From another folder and of another age: neither is in the file.
    other = source(folder / "elsewhere", records)
    prepare(folder / "b", other, *options)
    for split, rows in first.items():
        files = [folder / x / f"{split}.parquet" for x in "ab"]
        assert files[0].read_bytes() == files[1].read_bytes()
        assert rows == validate_rows(rows)
    leak.check_disjoint(first.get("train", []), first.get("test", []))


def test_metadata_says_what_the_file_is(tmp_path):
    prepare(tmp_path / "out", source(tmp_path, [problem(i) for i in range(5)]))
    metadata = pq.read_schema(tmp_path / "out" / "train.parquet").metadata
    assert metadata[b"verl_pi.source"] == b"gsm8k train.jsonl"
    assert json.loads(metadata[b"verl_pi.rows"]) == {"train": 5}


def test_a_training_row_that_is_held_out_too_is_dropped(tmp_path):
    train = [problem(i) for i in range(30)]
    # Once in other letters, once with a word more.
    twin = {**train[3], "question": train[3]["question"].upper()}
    longer = {**train[4], "question": f"Please, {train[4]['question']}"}
    source(tmp_path / "data", train)
    source(tmp_path / "data", [twin, longer, problem(99)], "test.jsonl")
    rows = prepare(tmp_path / "out", tmp_path / "data")
    assert answers(rows["test"]) == ["3", "4", "99"]
    assert answers(rows["train"]) == [str(i) for i in range(30) if i not in (3, 4)]
    leak.check_disjoint(rows["train"], rows["test"])
    # The training file is the same where it alone is written.
    alone = prepare(tmp_path / "alone", tmp_path / "data", "keep=train")
    assert alone == {"train": rows["train"]}


def test_against_files_that_other_commands_wrote(tmp_path):
    held_out = prepare(tmp_path / "test", source(tmp_path, [problem(5)], "test.jsonl"))
    assert answers(held_out["test"]) == ["5"]
    files = f"against={tmp_path / 'test' / 'test.parquet'}"
    rows = prepare(tmp_path / "out", source(tmp_path, map(problem, range(8))), files)
    assert answers(rows["train"]) == ["0", "1", "2", "3", "4", "6", "7"]


def test_a_part_is_drawn_by_seed_and_not_by_order(tmp_path):
    path = source(tmp_path, map(problem, range(50)))
    turned = source(tmp_path / "turned", map(problem, reversed(range(50))))
    part = answers(prepare(tmp_path / "a", path, "rows=12")["train"])
    assert len(part) == 12 and part == sorted(part, key=int)
    assert sorted(answers(prepare(tmp_path / "b", turned, "rows=12")["train"]), key=int) == part
    assert answers(prepare(tmp_path / "c", path, "rows=12", "seed=1")["train"]) != part
    assert len(prepare(tmp_path / "d", path, "rows=99")["train"]) == 50


def test_a_new_split_follows_the_problem(tmp_path):
    path = source(tmp_path, map(problem, range(200)))
    rows = prepare(tmp_path / "a", path, "split=train:0.7,dev:0.1,test:0.2")
    assert {split: round(len(part) / 200, 1) for split, part in rows.items()} == {
        "train": 0.7, "dev": 0.1, "test": 0.2,
    }  # fmt: skip
    for split, part in rows.items():
        assert {row["split"] for row in part} == {split}
        assert {row["extra_info"]["split"] for row in part} == {split}
    again = prepare(tmp_path / "b", source(tmp_path, map(problem, range(50, 250))),
                    "split=train:0.7,dev:0.1,test:0.2")  # fmt: skip
    known = {row["uid"]: split for split, part in rows.items() for row in part}
    for split, part in again.items():
        assert all(known.get(row["uid"], split) == split for row in part)


def test_jsonl_and_parquet_hold_the_same(tmp_path):
    path = source(tmp_path, map(problem, range(5)))
    (rows,) = prepare(tmp_path / "a", path).values()
    assert main(["gsm8k", f"source={path}", f"out={tmp_path / 'x.jsonl'}"]) == 0
    assert main(["gsm8k", f"source={path}", f"out={tmp_path / 'b'}", "format=jsonl"]) == 0
    assert read_rows(tmp_path / "x.jsonl") == rows == read_rows(tmp_path / "b" / "train.jsonl")


def test_no_list_of_drops_is_left_from_the_time_before(tmp_path):
    out = tmp_path / "x.parquet"
    bad = source(tmp_path, [problem(1), {"question": "?", "answer": "none"}])
    assert main(["gsm8k", f"source={bad}", f"out={out}"]) == 0
    assert (tmp_path / "x.parquet.dropped.jsonl").exists()
    good = source(tmp_path, [problem(1)])
    assert main(["gsm8k", f"source={good}", f"out={out}"]) == 0
    assert not (tmp_path / "x.parquet.dropped.jsonl").exists()


def test_the_spool_can_be_read_again_and_keeps_all_text(tmp_path):
    rows = [
        {"uid": str(i), "extra_info": {"n": i}, "text": "line\u2028\n\0é" * i} for i in range(9)
    ]
    with Spool(tmp_path) as spool:
        for row in rows:
            spool.append(row)
        assert not list(tmp_path.iterdir())
        assert list(spool) == rows and list(spool) == rows and len(spool) == 9


SLOW = """
import sys, time
from data_prep import write
inner = write._write_parquet
def slowly(file, rows, schema):
    def one_by_one():
        for number, row in enumerate(rows):
            if number == 30:
                file.write(b"x" * 10000); file.flush()
                print("half", flush=True); time.sleep(60)
            yield row
    inner(file, one_by_one(), schema)
write._WRITERS[".parquet"] = slowly
import runpy
sys.argv = ["data_prep", *sys.argv[1:]]
runpy.run_module("data_prep", run_name="__main__")
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stop_in_the_middle_leaves_the_old_file(tmp_path, number):
    out = tmp_path / "out"
    prepare(out, source(tmp_path, [problem(1)]))
    before = (out / "train.parquet").read_bytes()
    path = source(tmp_path, map(problem, range(60)))
    command = [sys.executable, "-c", SLOW, "gsm8k", f"source={path}", f"out={out}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "half\n"
        process.send_signal(number)
        assert process.wait(20) == (143 if number == signal.SIGTERM else -9)
    assert (out / "train.parquet").read_bytes() == before
    left = [name for name in os.listdir(out) if name != "train.parquet"]
    assert all(name.startswith(".train.parquet.") for name in left)
    assert len(left) == (0 if number == signal.SIGTERM else 1)
