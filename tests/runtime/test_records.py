"""What a run leaves on disk, also when it is killed in the middle of a line."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from algorithms.runtime.records import RunRecords


def read(path: Path) -> list:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def records(tmp_path) -> RunRecords:
    return RunRecords(tmp_path / "outputs" / "run")


def test_lines_are_appended_one_object_a_line(records):
    records.write("metrics", {"step": 1}, {"step": 2})
    records.write("metrics", {"step": 3, "text": "α ≤ β\nnew line"})
    path = records.folder / "metrics.jsonl"
    assert read(path) == [{"step": 1}, {"step": 2}, {"step": 3, "text": "α ≤ β\nnew line"}]
    assert "α ≤ β" in path.read_text()  # not escaped: it is read by people


def test_nothing_to_write_writes_nothing(records):
    records.write("dropped")
    assert (records.folder / "dropped.jsonl").read_text() == ""


def test_a_half_written_last_line_stays_alone(records):
    path = records.folder / "evaluations.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 2, "respo')
    records.write("evaluations", {"step": 2})
    assert path.read_bytes() == b'{"step": 1}\n{"step": 2, "respo\n{"step": 2}\n'
    records.write("evaluations", {"step": 3})
    assert path.read_text().endswith('{"step": 2}\n{"step": 3}\n')


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float32("nan"), np.inf])
def test_numbers_that_json_does_not_have_become_null(records, value):
    records.write("metrics", {"metrics": {"loss": value, "list": [1.0, value]}})
    assert read(records.folder / "metrics.jsonl") == [
        {"metrics": {"loss": None, "list": [1, None]}}
    ]


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (np.float32(0.5), 0.5),
        (np.float64(0.25), 0.25),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (np.array(3.0), 3.0),
        (np.array([4]), [4]),
        (np.array([1.0, np.nan]), [1.0, None]),
        (torch.tensor(2), 2),
        (torch.tensor(0.5, dtype=torch.bfloat16, requires_grad=True), 0.5),
        (torch.tensor(float("inf")), None),
        (torch.tensor([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        ((1, "a", None, True), [1, "a", None, True]),
        ({1: 2}, {"1": 2}),
        (Path("/data/train.parquet"), "/data/train.parquet"),
    ],
)
def test_values_become_plain(records, value, written):
    records.write("metrics", {"value": value})
    (line,) = read(records.folder / "metrics.jsonl")
    assert line == {"value": written}
    assert type(line["value"]) is type(written)


def test_an_unknown_file_is_refused(records):
    with pytest.raises(ValueError, match="no record file 'metric'; known: metrics, "):
        records.write("metric", {})


def test_events_and_progress_say_when_and_where(records):
    records.event("warning", "entropy fell", arm="online", seed=1, step=3)
    records.progress("train", 3, 20, arm="online", kl=0.5, pass_rate=None)
    (event,) = read(records.folder / "events.jsonl")
    (progress,) = read(records.folder / "progress.jsonl")
    assert event.pop("time") > 0 and progress.pop("time") > 0
    assert event == {
        "kind": "warning", "message": "entropy fell", "arm": "online", "seed": 1, "step": 3,
    }  # fmt: skip
    assert progress == {"phase": "train", "done": 3, "total": 20, "arm": "online", "kl": 0.5}
