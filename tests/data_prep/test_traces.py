"""From traces to privileged information: which trace, which calls, what goes on to the hint."""

from __future__ import annotations

import json

import pytest

from data_prep.attempts import AttemptsFile
from data_prep.errors import DataError
from data_prep.family import make_row
from data_prep.schema import privileged, read_rows, write_rows
from data_prep.traces import calls_of, main
from rewards import Verdict, register_verifier


@register_verifier("ends_with_done")
def ends_with_done(response: str, ground_truth: str) -> Verdict:
    """Passes an episode whose last message is that text."""
    last = json.loads(response)[-1]["content"]
    return Verdict.ok() if last == ground_truth else Verdict.failed("wrong_answer")


ends_with_done.OPTIONS = frozenset()  # type: ignore[attr-defined]


def call(name, /, **arguments):
    function = {"name": name, "arguments": json.dumps(arguments)}
    tool_call = {"id": "1", "type": "function", "function": function}
    return {"role": "assistant", "content": None, "tool_calls": [tool_call]}


def episode(*calls, end="done"):
    answers = [m for c in calls for m in (c, {"role": "tool", "content": "{}"})]
    start = [{"role": "system", "content": "policy"}, {"role": "user", "content": "please"}]
    return [*start, *answers, {"role": "assistant", "content": end}]


LONG = episode(call("find", name="Ann"), call("look", order="#W1"), call("cancel", order="#W1"))
SHORT = episode(call("find", name="Ann"), call("cancel", order="#W1"))
WRONG = episode(call("cancel", order="#W2"), end="oops")


@pytest.fixture
def rows_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [
        make_row(
            data_source="own", prompt=f"Task {split} {n}", ability="tool_use",
            verifier="ends_with_done", ground_truth="done", split=split, index=n, task_id=str(n),
            privileged={"tool_calls_only": "1. stored"},
        )
        for split in ("train", "dev") for n in range(3)
    ]  # fmt: skip
    write_rows(path, rows, source="own")
    return path


def run(rows_file, tmp_path, traces, *options):
    path, out = tmp_path / "traces.jsonl", tmp_path / "out.jsonl"
    path.write_text("".join(json.dumps(trace) + "\n" for trace in traces))
    assert main([str(rows_file), f"traces={path}", f"out={out}", *options]) == 0
    return read_rows(out), AttemptsFile(out.with_name("out.jsonl.attempts.jsonl"))


def test_the_shortest_success_of_each_task_is_taken(rows_file, tmp_path, capsys):
    rows, attempts = run(
        rows_file, tmp_path,
        [{"task_id": 0, "reward": 1.0, "messages": LONG},
         {"task_id": 0, "reward": 1.0, "traj": SHORT},
         {"task_id": 0, "reward": 0.0, "messages": WRONG},
         {"task_id": 1, "passed": False, "messages": SHORT},
         {"task_id": 9, "reward": 1.0, "messages": SHORT}],
        "split=train",
    )  # fmt: skip
    assert privileged(rows[0], "tool_calls_and_arguments") == (
        '1. find(name="Ann")\n2. cancel(order="#W1")'
    )
    assert privileged(rows[0], "tool_calls_only") == "1. find\n2. cancel"
    for row in rows[1:]:
        assert [e["kind"] for e in row["privileged"]] == ["tool_calls_only"]
    assert list(attempts) == [rows[0]["uid"]]
    (attempt,) = attempts[rows[0]["uid"]]
    assert attempt.passed and "policy" not in attempt.response
    assert 'calls:\n1. cancel(order="#W1")\ntool: {}\nassistant: done' in attempt.response
    assert "5 traces: 1 of no row, 2 tasks, 1 solved" in capsys.readouterr().out


def test_the_verifier_can_say_what_succeeded(rows_file, tmp_path):
    uid = read_rows(rows_file)[4]["uid"]
    traces = [{"uid": uid, "messages": WRONG}, {"uid": uid, "reward": 0, "messages": SHORT}]
    rows, _ = run(rows_file, tmp_path, traces, "verify=true")
    assert privileged(rows[4], "tool_calls_only") == "1. find\n2. cancel"


def test_older_and_broken_calls():
    older = {"role": "assistant", "function_call": {"name": "a", "arguments": {"x": 1}}}
    broken = call("b")
    broken["tool_calls"][0]["function"]["arguments"] = "{not json"
    asked = {"role": "user", "content": "x", "tool_calls": call("c")["tool_calls"]}
    listed = call("d")
    listed["tool_calls"][0]["function"]["arguments"] = "[1]"
    assert [(c.name, dict(c.arguments)) for c in calls_of([older, broken, asked, listed])] == [
        ("a", {"x": 1})
    ]


def test_bad_traces_name_the_line_and_the_mend(rows_file, tmp_path):
    for line, message in (
        ("{", "line 1, line: not JSON"),
        ("[]", "not an object"),
        ('{"messages": []}', "add `task_id`"),
        ('{"task_id": 0}', "`messages`: missing or no list"),
        ('{"task_id": 0, "messages": [3]}', "no message with a role among system"),
        ('{"task_id": 0, "reward": "high", "messages": []}', "found 'high'"),
        ('{"task_id": 0, "messages": []}', "rows share the id 0.*split=NAME"),
        ('{"task_id": 77, "messages": []}', "no trace is of a row of the file"),
    ):
        path = tmp_path / "bad.jsonl"
        path.write_text(line + "\n")
        with pytest.raises(DataError, match=message):
            main([str(rows_file), f"traces={path}", f"out={tmp_path / 'o.jsonl'}"])
    assert not (tmp_path / "o.jsonl").exists()
