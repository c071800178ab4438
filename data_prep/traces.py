"""`python -m data_prep traces`: from a frontier model's tool use to privileged information.

A trace is a list of OpenAI-style messages with what came of it. Of the traces of each task that
succeeded, the one with the fewest steps is taken; its calls, with and without arguments, become
`tool_calls_and_arguments` and `tool_calls_only`, and the trace goes into OUT.attempts.jsonl, from
which `python -m data_prep pi` has a model write the third kind, the hint.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rewards
from data_prep import pi
from data_prep.attempts import Attempted, Journal, verifier_options
from data_prep.errors import DataError, no_rows
from data_prep.family import Option, boolean
from data_prep.options import REQUIRED, help_text, parse
from data_prep.pi.tool_calls import Call, calls_and_arguments, calls_only
from data_prep.pi.written import Attempt
from data_prep.schema import Row, RowFile, write_rows

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
OPTIONS = (
    Option("traces", str, REQUIRED, "a .jsonl file, one trace a line"),
    Option("out", str, REQUIRED, "the rows with the kinds added: .parquet or .jsonl"),
    Option("split", str, None, "the traces are of rows of this split (task ids may recur)"),
    Option("verify", boolean, False, "let the rows' verifier say what succeeded, not the file"),
)
ABOUT = """\
Adds tool_calls_and_arguments and tool_calls_only from traces of a stronger model: of the traces
of each task that succeeded, the one with the fewest calls. A line of the traces:
  {"task_id": "12", "reward": 1.0, "messages": [...]}
`uid` may stand for `task_id`, `passed` for `reward`, `traj` for `messages`."""


@dataclass(frozen=True)
class Trace:
    """One episode: the task's id or its row's uid, the messages, the calls in them.

    passed: None where the file does not say.
    """

    task: str
    messages: tuple[Mapping[str, Any], ...]
    calls: tuple[Call, ...]
    passed: bool | None
    where: str = ""


def main(arguments: list[str]) -> int:
    """The command. Returns the exit status."""
    if arguments[:1] in (["--help"], ["-h"]):
        print(help_text("traces FILE traces=FILE out=FILE [key=value ...]", ABOUT, OPTIONS))
        return 0
    (path,), options = parse("traces", arguments, OPTIONS)
    out = Path(options["out"])
    traces = list(read_traces(options["traces"]))
    by_uid, unknown = _of_rows(RowFile(path), traces, options["split"])
    if options["verify"]:
        by_uid = _verified(RowFile(path), by_uid)
    best = {uid: chosen for uid, found in by_uid.items() if (chosen := shortest(found))}
    source = f"{Path(path).name}, with calls of {Path(options['traces']).name}"
    total = write_rows(out, (_with_calls(row, best) for row in RowFile(path)), source=source)
    journal_path = out.with_name(f"{out.name}.attempts.jsonl")
    _write_attempts(journal_path, best, Path(options["traces"]).name)
    print(f"{len(traces)} traces: {unknown} of no row, {len(by_uid)} tasks, {len(best)} solved")
    print(f"{out}: {total} rows, {len(best)} with calls; hints: attempts={journal_path}")
    return 0


def read_traces(path: str | Path) -> Iterator[Trace]:
    """The traces of a jsonl file. Raises DataError naming file and line."""
    path = Path(path)
    if not path.is_file():
        raise DataError(str(path), "file", "there is no such file", "check the path")
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield _trace(line, f"{path}, line {number}")


def calls_of(messages: Sequence[Mapping[str, Any]]) -> list[Call]:
    """The calls that the assistant makes, in order: `tool_calls`, or the older `function_call`.

    Calls whose arguments are no JSON object are left out, as the server leaves them out. Raises
    ValueError for messages of another shape.
    """
    calls = []
    for message in messages:
        if not isinstance(message, Mapping) or message.get("role") not in ROLES:
            raise ValueError(f"no message with a role among {', '.join(ROLES)}")
        if message["role"] == "assistant":
            made = message.get("tool_calls") or []
            functions = [call.get("function") for call in made if isinstance(call, Mapping)]
            calls += filter(None, map(_call, [*functions, message.get("function_call")]))
    return calls


def shortest(traces: Iterable[Trace]) -> Trace | None:
    """Of the traces that succeeded the one with the fewest calls; of equals the shorter text."""
    passed = [trace for trace in traces if trace.passed]
    return min(passed, key=lambda t: (len(t.calls), len(as_text(t.messages))), default=None)


def as_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """What happened after the first user message, for a model that is to write of it."""
    lines = []
    for message in messages:
        if message["role"] in ("system", "developer"):
            continue
        if content := _text(message.get("content")):
            lines.append(f"{message['role']}: {content}")
        if made := calls_and_arguments(calls_of([message])):
            lines.append(f"calls:\n{made}")
    return "\n".join(lines)


def _trace(line: bytes, where: str) -> Trace:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(where, "line", f"not JSON ({error})", "write one object") from error
    if not isinstance(record, dict):
        raise DataError(where, "line", "not an object", "write one object a line")
    task = record.get("uid", record.get("task_id"))
    messages = record.get("messages", record.get("traj"))
    if task is None:
        raise DataError(where, "`task_id`", "missing", "add `task_id`, or the row's `uid`")
    if not isinstance(messages, list):
        raise DataError(where, "`messages`", "missing or no list", "add the list of messages")
    try:
        calls = calls_of(messages)
    except ValueError as error:
        raise DataError(where, "`messages`", str(error), "give OpenAI-style messages") from error
    return Trace(str(task), tuple(messages), tuple(calls), _passed(record, where), where)


def _passed(record: Mapping[str, Any], where: str) -> bool | None:
    value = record.get("passed", record.get("reward"))
    if value is not None and not isinstance(value, (bool, int, float)):
        raise DataError(where, "`reward`", f"found {value!r}", "give a number, or `passed`")
    return None if value is None else value >= 1


def _call(function: Any) -> Call | None:
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        return None
    arguments = function.get("arguments") or {}
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            return None
    return Call(function["name"], arguments) if isinstance(arguments, Mapping) else None


def _text(content: Any) -> str:
    """The text of a message, given as text or in typed parts."""
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _of_rows(
    rows: RowFile, traces: Sequence[Trace], split: str | None
) -> tuple[dict[str, list[Trace]], int]:
    """Traces by the uid of their row, and how many are of no row."""
    uid_of: dict[str, str] = {}
    times: Counter[str] = Counter()
    for row in rows:
        if split is None or row["split"] == split:
            uid_of[row["uid"]] = row["uid"]
            if (task := row["extra_info"].get("task_id")) is not None:
                uid_of[str(task)] = row["uid"]
                times[str(task)] += 1
    if not uid_of and split is None:
        raise no_rows(rows.path)
    found: dict[str, list[Trace]] = defaultdict(list)
    unknown = 0
    for trace in traces:
        if times[trace.task] > 1:
            mend = "give split=NAME, or write the row's `uid` into the traces"
            raise DataError(trace.where, "`task_id`", f"rows share the id {trace.task}", mend)
        if trace.task in uid_of:
            found[uid_of[trace.task]].append(trace)
        unknown += trace.task not in uid_of
    _check_known(found)
    return found, unknown


def _check_known(found: Mapping[str, Sequence[Trace]]) -> None:
    if not found:
        mend = "give the file whose tasks these traces are of"
        raise DataError("traces", "`task_id`", "no trace is of a row of the file", mend)


def _verified(rows: Iterable[Row], by_uid: Mapping[str, Sequence[Trace]]) -> dict[str, list[Trace]]:
    """The traces with what the rows' verifier says of them."""
    chosen = [(row, trace) for row in rows for trace in by_uid.get(row["uid"], ())]
    verdicts = rewards.verify_batch([_item(row, trace) for row, trace in chosen])
    judged: dict[str, list[Trace]] = defaultdict(list)
    for (row, trace), verdict in zip(chosen, verdicts, strict=True):
        passed = Trace(trace.task, trace.messages, trace.calls, verdict.passed, trace.where)
        judged[row["uid"]].append(passed)
    return judged


def _item(row: Row, trace: Trace) -> tuple[str, str, str, dict[str, Any]]:
    model = row["reward_model"]
    options = verifier_options(model["style"], row["extra_info"])
    return model["style"], json.dumps(list(trace.messages)), model["ground_truth"], options


def _with_calls(row: Row, best: Mapping[str, Trace]) -> Row:
    trace = best.get(row["uid"])
    if trace is None or not trace.calls:
        return row
    row = pi.with_kind(row, "tool_calls_and_arguments", calls_and_arguments(trace.calls))
    return pi.with_kind(row, "tool_calls_only", calls_only(trace.calls))


def _write_attempts(path: Path, best: Mapping[str, Trace], source: str) -> None:
    path.unlink(missing_ok=True)  # made anew from the traces, in a moment
    journal = Journal(path, {"traces": source})
    for uid, trace in best.items():
        journal.add(Attempted(uid, (Attempt(as_text(trace.messages), True, "ok"),)))
    journal.close()
