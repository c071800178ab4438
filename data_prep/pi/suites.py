"""Kinds of privileged information for programs: the tests, and another problem's tests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from data_prep.pi.builder import Row, ground_truth_object, stored
from data_prep.pi.derangement import scatter


def test_suite(row: Row, seed: int = 0) -> str | None:
    """The tests that judge the row: its own entry, or those of its ground truth."""
    own = stored(row, "test_suite")
    if own is not None:
        return own
    truth = ground_truth_object(row)
    form = _FORMS.get(str(truth.get("kind")))
    return form(truth) if form else None


def shuffled_test_suites(rows: Iterable[Row], seed: int = 0) -> dict[int, str]:
    """By row number the tests of another problem: a seeded derangement, never equal tests."""
    suites = {n: t for n, row in enumerate(rows) if (t := test_suite(row)) is not None}
    numbers, texts = list(suites), list(suites.values())
    target = scatter([" ".join(text.split()) for text in texts], seed)
    return {number: texts[j] for number, j in zip(numbers, target, strict=True)}


def _humaneval(truth: dict[str, Any]) -> str:
    return f"{truth['test'].strip()}\n\ncheck({truth['entry_point']})"


def _asserts(truth: dict[str, Any]) -> str:
    return "\n".join([*filter(None, [truth.get("setup", "").strip()]), *truth["tests"]])


def _stdio(truth: dict[str, Any]) -> str:
    return "\n\n".join(
        f"input:\n{case['input'].rstrip()}\noutput:\n{case['output'].rstrip()}"
        for case in truth["cases"]
    )


_FORMS = {"humaneval": _humaneval, "asserts": _asserts, "stdio": _stdio}
