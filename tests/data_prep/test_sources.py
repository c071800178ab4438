"""Good input in every format, and bad input: one clear error or a counted drop, nothing else."""

from __future__ import annotations

import csv
import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.__main__ import main
from data_prep.errors import DataError
from data_prep.schema import read_rows
from data_prep.sources import Reading, read, split_of

GOOD = [
    {"question": "What is 1 + 1?", "answer": "Count.\n#### 2"},
    {"question": "Wie groß ist ½ + ½?", "answer": "Zählen.\n#### 1"},
]


def line(**fields) -> bytes:
    return json.dumps(fields, ensure_ascii=False).encode() + b"\n"


GOOD_LINES = b"".join(line(**row) for row in GOOD)


SEMICOLONS = (
    'question;answer\n"What is 1 + 1?";"Count, #### 2"\n"Wie groß ist ½ + ½?";"Zählen; #### 1"\n'
).encode()


def prepare(path, *options):
    """Run the command on a source; the status, and the rows written."""
    out = path.parent / "out"
    status = main(["gsm8k", f"source={path}", f"out={out}", *options])
    return status, [row for file in sorted(out.glob("*.parquet")) for row in read_rows(file)]


def write(folder, name, content):
    path = folder / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(content), path)
    else:
        with path.open("w", newline="") as file:
            table = csv.DictWriter(file, list(content[0]))
            table.writeheader()
            table.writerows(content)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.jsonl", GOOD_LINES),
        ("train.jsonl", b"\xef\xbb\xbf" + GOOD_LINES.replace(b"\n", b"\r\n\r\n")),
        ("train.jsonl.gz", gzip.compress(GOOD_LINES, mtime=0)),
        ("train.json", json.dumps(GOOD).encode()),
        ("train.json", json.dumps({"version": 1, "data": GOOD}).encode()),
        ("train.json.gz", gzip.compress(json.dumps(GOOD).encode())),
        ("train.csv", GOOD),
        ("train.csv", SEMICOLONS),
        ("train.csv", b"\xef\xbb\xbf" + SEMICOLONS.replace(b"\n", b"\r\n")),
        ("train.parquet", GOOD),
    ],
)
def test_every_format_gives_the_same_rows(tmp_path, name, content):
    status, rows = prepare(write(tmp_path, name, content))
    assert status == 0
    assert [row["reward_model"]["ground_truth"] for row in rows] == ["2", "1"]
    assert rows[1]["prompt"][0]["content"].startswith("Wie groß ist ½ + ½?\n")


def test_a_folder_is_read_file_by_file_and_names_give_the_split(tmp_path):
    (tmp_path / "data" / "test").mkdir(parents=True)
    write(tmp_path / "data", "train-00000-of-00001.jsonl", GOOD_LINES)
    write(tmp_path / "data" / "test", "part.csv", [{"question": "Is 3 odd?", "answer": "#### 1"}])
    write(tmp_path / "data", "README.md", b"not data")
    status, rows = prepare(tmp_path / "data")
    assert status == 0
    assert [row["split"] for row in rows] == ["test", "train", "train"]


@pytest.mark.parametrize(
    ("path", "split"),
    [
        ("validation/x.parquet", "validation"),
        ("data/test-00000-of-00001.parquet", "test"),
        ("Valid.lean", "valid"),
        ("math_train.jsonl", "train"),
        ("latest/contest.jsonl", None),
    ],
)
def test_splits_in_names(tmp_path, path, split):
    folder = tmp_path / "test"  # the folder that is given itself says nothing
    assert split_of(folder / path, folder) == split
    assert split_of(folder / "x.jsonl", folder / "x.jsonl") is None


BAD = line(question="Is it?", answer="no mark")
LONG = "x" * 1_000_000
DROPS = [
    ("not UTF-8", "x.jsonl", b'{"question": "gr\xfc\xdfe", "answer": "#### 1"}\n'),
    ("not JSON", "x.jsonl", b'{"question": "cut sho\n'),
    ("not JSON", "x.jsonl", b"[" * 100_000 + b"\n"),
    ("not JSON", "x.jsonl", b'{"question": ' + b"9" * 5000 + b"}\n"),
    ("not an object", "x.jsonl", b"[1, 2]\n"),
    ("column `question` is missing", "x.jsonl", line(answer="#### 1")),
    ("column `question` is missing", "x.jsonl", line(question=None, answer="#### 1")),
    ("column `question` is no text", "x.jsonl", line(question=3, answer="#### 1")),
    ("column `question` is no text", "x.jsonl", line(question=["a"], answer="#### 1")),
    ("column `question` is not UTF-8", "x.jsonl", b'{"question": "\\ud800", "answer": "#### 1"}\n'),
    ("column `question` is longer than", "x.jsonl", line(question=LONG, answer="#### 1")),
    ("no answer after `####`", "x.jsonl", line(question="Is it?", answer="no mark")),
    ("duplicate", "x.jsonl", line(**GOOD[0])),
    ("another number of columns", "x.csv", b"a,b,c\n"),
    ("column `question` is not UTF-8", "x.csv", b'"gr\xfc\xdfe",#### 1\n'),
    ("column `question` is longer than", "x.csv", LONG.encode() + b",#### 1\n"),
]


@pytest.mark.parametrize(("reason", "name", "bad"), DROPS)
def test_a_bad_row_is_dropped_counted_and_named(tmp_path, capsys, reason, name, bad):
    good = (
        GOOD_LINES
        if name == "x.jsonl"
        else b'question,answer\nIs 3 odd?,#### 1\n"Is 2\n?",#### 0\n'
    )
    path = write(tmp_path, name, good + bad)
    status, rows = prepare(path)
    shown = capsys.readouterr().out
    assert status == 0 and len(rows) == 2
    assert f"dropped 1: {reason}" in shown
    first, place = map(json.loads, (tmp_path / "out" / "dropped.jsonl").read_text().splitlines())
    assert list(first["dropped"].values()) == [1] and place["reason"].startswith(reason)
    assert place["where"].endswith(("x.jsonl:3", "x.csv:5", "gsm8k, row 2"))
    status, _ = prepare(path, "strict=true")
    error = capsys.readouterr().err
    assert status == 2 and reason in error and error.count("\n") == 1 and len(error) < 600


@pytest.mark.parametrize("reading_limit", [256])
def test_a_line_too_long_to_hold_is_skipped(tmp_path, monkeypatch, reading_limit):
    monkeypatch.setattr("data_prep.sources.MAX_LINE", reading_limit)
    path = write(tmp_path, "x.jsonl", line(question="y" * 2000, answer="") + GOOD_LINES)
    reading = Reading()
    assert [dict(record.fields) for record in read(str(path), None, reading)] == GOOD
    assert dict(reading.drops.counts) == {f"longer than {reading_limit} bytes": 1}


def parquet_bytes(tmp_path) -> bytes:
    return write(tmp_path, "whole.parquet", GOOD).read_bytes()


ERRORS = [
    ("x.parquet", b"", "no readable parquet"),
    ("x.parquet", b"PAR1 and then nothing PAR1", "no readable parquet"),
    ("x.jsonl", b"", "no row is left (there was none)"),
    ("x.jsonl", BAD * 3, "no row is left (3 × no answer after `####`; the first: "),
    ("x.jsonl", BAD * 5000, "no row is left (1000 × no answer"),
    ("x.jsonl", GOOD_LINES.decode().encode("utf-16"), "UTF-16"),
    ("x.jsonl.gz", gzip.compress(GOOD_LINES, mtime=0)[:-20], "data that cannot be read"),
    ("x.jsonl.gz", b"plain text", "compressed data that cannot be read"),
    ("x.json", b"[1, 2", "not JSON"),
    ("x.json", b'{"a": "\xff"}', "not UTF-8"),
    ("x.csv", b"", "it is empty"),
    ("x.csv", b"question,question\n", "column `question` occurs twice"),
    ("x.csv", b'question,answer\n"never closed,1\n', "no CSV"),
    ("x.xlsx", b"", "no format of ours"),
]


@pytest.mark.parametrize(("name", "content", "message"), ERRORS)
def test_a_bad_file_is_one_clear_error(tmp_path, capsys, name, content, message):
    status, rows = prepare(write(tmp_path, name, content))
    error = capsys.readouterr().err
    assert status == 2 and not rows
    assert message in error and error.count("\n") == 1 and "To mend it: " in error


def test_a_truncated_parquet_file_is_one_clear_error(tmp_path, capsys):
    whole = parquet_bytes(tmp_path)
    for length in (len(whole) - 1, len(whole) // 2, 8):
        status, _ = prepare(write(tmp_path, "x.parquet", whole[:length]))
        assert status == 2 and "no readable parquet" in capsys.readouterr().err


def test_parquet_text_that_is_no_utf8_is_dropped(tmp_path):
    text = pa.array([b"fine", b"\xff\xfe"]).cast(pa.binary())
    broken = pa.StringArray.from_buffers(2, *text.buffers()[1:])
    answers = pa.array(["#### 1", "#### 2"])
    pq.write_table(pa.table({"question": broken, "answer": answers}), tmp_path / "x.parquet")
    reading = Reading()
    (record,) = read(str(tmp_path / "x.parquet"), None, reading)
    assert record.fields["question"] == "fine" and dict(reading.drops.counts) == {"not UTF-8": 1}


def test_a_file_that_may_not_be_read_is_named(tmp_path):
    (tmp_path / "x.jsonl").symlink_to("/proc/self/mem")
    with pytest.raises(DataError, match=r"x\.jsonl, file: "):
        list(read(str(tmp_path / "x.jsonl"), None, Reading()))


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=200), name=st.sampled_from(["x.jsonl", "x.csv", "x.json",
       "x.parquet", "x.jsonl.gz"]))  # fmt: skip
def test_any_bytes_give_records_drops_or_our_error(tmp_path_factory, content, name):
    path = tmp_path_factory.mktemp("any") / name
    path.write_bytes(content)
    try:
        for record in read(str(path), None, Reading()):
            assert isinstance(record.fields, dict)
    except DataError as error:
        assert "To mend it: " in str(error)
