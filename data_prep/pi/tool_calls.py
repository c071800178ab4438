"""Kinds of privileged information for tool use: the right calls, with and without arguments.

Both come from a frontier model's trace where the row has entries of one (`data_prep.traces`), else
from the gold actions of the ground truth, which leave out the calls that only look things up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from data_prep.pi.builder import Row, ground_truth_object, stored


@dataclass(frozen=True)
class Call:
    """One call of a tool."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


def tool_calls_and_arguments(row: Row, seed: int = 0) -> str | None:
    """The calls in their order, each with its arguments."""
    return stored(row, "tool_calls_and_arguments") or calls_and_arguments(_gold_calls(row))


def tool_calls_only(row: Row, seed: int = 0) -> str | None:
    """The names of the calls in their order."""
    return stored(row, "tool_calls_only") or calls_only(_gold_calls(row))


def calls_and_arguments(calls: Sequence[Call]) -> str | None:
    """One numbered line a call; None for no call."""
    lines = [f"{call.name}({_arguments(call)})" for call in calls]
    return _numbered(lines)


def calls_only(calls: Sequence[Call]) -> str | None:
    """One numbered line a call, its name alone; None for no call."""
    return _numbered([call.name for call in calls])


def _numbered(lines: Sequence[str]) -> str | None:
    return "\n".join(f"{n}. {line}" for n, line in enumerate(lines, start=1)) or None


def _arguments(call: Call) -> str:
    values = {k: json.dumps(v, ensure_ascii=False) for k, v in call.arguments.items()}
    return ", ".join(f"{name}={value}" for name, value in values.items())


def _gold_calls(row: Row) -> list[Call]:
    actions = ground_truth_object(row).get("actions") or []
    return [Call(action["name"], action.get("kwargs", {})) for action in actions]
