"""τ-bench: retail and airline (arXiv 2406.12045).

The source is a folder with the published tasks (`tasks_train.jsonl`, `tasks_dev.jsonl`,
`tasks_test.jsonl`, those that are there) and the domain's policy (`wiki.md`).

A task's instruction tells whoever plays the user all that the user wants and knows. The agent has
to find that out by asking: the instruction is in `extra_info.instruction`, for the simulator, and
the prompt is the policy alone, after which the simulator speaks first. `user=stated` makes the
instruction the user's message: an easier task of one turn, for runs without a simulator.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from data_prep.errors import DataError
from data_prep.family import Drop, Family, Option, Request, Row, make_row
from data_prep.pi.tool_calls import Call, calls_and_arguments, calls_only
from data_prep.schema import make_uid

SPLITS = ("train", "dev", "test")


def simulated_or_stated(text: str) -> str:
    """How the user speaks: `simulated` or `stated`."""
    if text not in ("simulated", "stated"):
        raise ValueError("give simulated or stated")
    return text


USER = Option("user", simulated_or_stated, "simulated", "or stated: the user says all at once")
_SOURCE = "sierra-research/tau-bench"


def build(request: Request, domain: str) -> Iterator[Row]:
    """Rows of all task files of the folder, in the order of SPLITS."""
    folder = request.path
    policy = _policy(folder)
    files = [(split, folder / f"tasks_{split}.jsonl") for split in SPLITS]
    if not any(path.is_file() for _, path in files):
        mend = f"give the folder that holds {', '.join(path.name for _, path in files)}"
        raise DataError(str(folder), "tasks", f"no tasks of {_SOURCE}", mend)
    for split, path in files:
        if path.is_file():
            yield from _rows(path, split, domain, policy, request)


def _rows(path: Path, split: str, domain: str, policy: str, request: Request) -> Iterator[Row]:
    with path.open("rb") as file:
        for number, line in enumerate(file):
            where = f"{path}, line {number + 1}"
            try:
                row = _row(_task(line), number, split, domain, policy)
                yield row if request["user"] == "stated" else _without_the_user(row)
            except Drop as drop:
                request.drops.add(where, drop.reason, drop.detail)


def _task(line: bytes) -> dict[str, Any]:
    try:
        task = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise Drop("not JSON", str(error)) from None
    if not isinstance(task, dict):
        raise Drop("no JSON object")
    for name in ("instruction", "user_id"):
        if not isinstance(task.get(name), str):
            raise Drop(f"`{name}` is missing or no text")
    return task


def _row(task: dict[str, Any], number: int, split: str, domain: str, policy: str) -> Row:
    calls = [_call(action) for action in _list(task, "actions")]
    outputs = [str(output) for output in _list(task, "outputs")]
    actions = [{"name": call.name, "kwargs": call.arguments} for call in calls]
    return make_row(
        data_source=f"tau_bench_{domain}",
        prompt=[
            {"role": "system", "content": policy},
            {"role": "user", "content": task["instruction"]},
        ],
        ability="tool_use",
        verifier="tool_use",
        ground_truth={"actions": actions, "outputs": outputs},
        split=split,
        index=number,
        family=domain,
        privileged={
            "tool_calls_and_arguments": calls_and_arguments(calls),
            "tool_calls_only": calls_only(calls),
        },
        domain=domain,
        instruction=task["instruction"],
        task_id=str(number),
        user_id=task["user_id"],
    )


def _without_the_user(row: Row) -> Row:
    """The row for a simulated user. Its uid is that of the stated one: tasks of equal actions
    differ in what the user says."""
    return {**row, "prompt": row["prompt"][:-1], "uid": make_uid(row)}


def _call(action: Any) -> Call:
    """Published tasks call the arguments `kwargs` or `arguments`."""
    if not isinstance(action, dict) or not isinstance(action.get("name"), str):
        raise Drop("an action has no name")
    arguments = action.get("kwargs", action.get("arguments", {}))
    if not isinstance(arguments, dict):
        raise Drop("an action's arguments are no object", action["name"])
    return Call(action["name"], arguments)


def _list(task: dict[str, Any], name: str) -> list[Any]:
    """A list of the task; tasks without `outputs` leave it out."""
    value = task.get(name, [] if name == "outputs" else None)
    if not isinstance(value, list):
        raise Drop(f"`{name}` is missing or no list")
    return value


def _policy(folder: Path) -> str:
    path = folder / "wiki.md"
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        mend = f"copy wiki.md of {_SOURCE} into the folder"
        raise DataError(str(path), "policy", "there is no such file", mend) from None
    except UnicodeDecodeError as error:
        raise DataError(str(path), "policy", "not UTF-8", "convert it to UTF-8") from error


def _family(domain: str, size: str) -> Family:
    return Family(
        name=f"tau_{domain}",
        description=f"τ-bench, {domain}: a support agent with tools over a database",
        verifier="tool_use",
        build=partial(build, domain=domain),
        reads="files",
        licence="MIT",
        size=size,
        kinds=("tool_calls_and_arguments", "tool_calls_only"),
        options=(USER,),
    )


RETAIL = _family("retail", "500 train, 20 dev, 115 test")
AIRLINE = _family("airline", "50 test")
