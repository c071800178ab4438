"""What an evaluation writes of each held-out answer."""

from __future__ import annotations

import json

from algorithms.runtime.recording import StageRecorder
from algorithms.runtime.records import RunRecords
from algorithms.runtime.stages import Stage

ROW = {"reward_model": {"ground_truth": "9"}, "extra_info": {"family": "sums"}}
NONE = {**ROW, "extra_info": None}


def test_an_evaluated_answer_has_its_rows_level_and_verdict(tmp_path):
    stage = Stage(name="baseline", arm="baseline", seed=0, phase="evaluate", algorithm="sft")
    recorder = StageRecorder(RunRecords(tmp_path), stage, None)
    extra = {
        "row_uid": ["a", "b"],
        "uid": ["val_0_0_x", "val_1_3_x"],
        "reason": ["ok", "verifier_error"],
        "acc": [1.0, 0.0],
        "score": [1.0, 0.0],
        "feedback": ["", "no sandbox"],
    }
    rows = {"a": {**ROW, "level": "4"}, "b": NONE}
    recorder.evaluations("student", 7, ["4 + 5?", "?"], ["9", "8"], extra, rows)
    first, second = map(json.loads, (tmp_path / "evaluations.jsonl").read_text().splitlines())
    assert (first["level"], first["family"], first["structure"]) == ("4", "sums", "seen")
    assert (first["passed"], first["step"], first["statement"]) == (True, 7, "9")
    # a row without a level, and an answer that nobody could judge
    assert (second["level"], second["passed"]) == ("", None)
