"""What a builder of privileged information is, and the two ways to make one of a small function.

A builder gets the rows once, and gives a function of a row and its number. So a kind that looks at
one row at a time costs nothing beforehand, a kind that shuffles keeps only what it shuffles, and
both serve a stream of any length.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

Row = Mapping[str, Any]
Content = Callable[[Row, int], str | None]
Builder = Callable[[Iterable[Row], int], Content]


def of_each(content: Callable[[Row, int], str | None]) -> Builder:
    """A builder whose `content(row, seed)` needs no other row."""

    def build(rows: Iterable[Row], seed: int) -> Content:
        return lambda row, number: content(row, seed)

    return build


def of_others(choose: Callable[[Iterable[Row], int], dict[int, str]]) -> Builder:
    """A builder whose contents come from other rows: `choose(rows, seed)` by row number."""

    def build(rows: Iterable[Row], seed: int) -> Content:
        chosen = choose(rows, seed)
        return lambda row, number: chosen.get(number)

    return build


def stored(row: Row, kind: str) -> str | None:
    """The row's own entry of that kind, or None."""
    return next((p["content"] for p in row["privileged"] if p["kind"] == kind), None)


def ground_truth(row: Row) -> tuple[str, str]:
    """Style and text of the ground truth; two empty texts where a row has none."""
    model = row.get("reward_model", {})
    return model.get("style", ""), model.get("ground_truth", "")


def ground_truth_object(row: Row) -> dict[str, Any]:
    """The ground truth as an object; empty where it is no JSON object."""
    text = ground_truth(row)[1]
    if not text.startswith("{"):
        return {}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
