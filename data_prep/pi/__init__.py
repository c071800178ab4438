"""Builders of privileged information (PI): for each row, the content of one kind, or None.

`contents(rows, kind, seed)` gives one entry per row; `attach` adds them to `privileged`, so that
one file serves every arm. A kind is one small function, by its name in `BUILDERS`; what a model
writes or a checker says of an attempt is in `data_prep.pi.written`.
"""

from __future__ import annotations

from collections.abc import Sequence

from data_prep.errors import DataError
from data_prep.pi.answers import (
    GIBBERISH,
    gibberish,
    gold_answer,
    gold_solution,
    matched_gibberish,
    wrong_answers,
)
from data_prep.pi.builder import Builder, Row, of_each, of_others
from data_prep.pi.derangement import derangement, scatter
from data_prep.pi.lean import check_skeletons, skeleton, wrong_skeletons
from data_prep.pi.steps import first_step
from data_prep.pi.suites import shuffled_test_suites, test_suite
from data_prep.pi.tool_calls import tool_calls_and_arguments, tool_calls_only
from data_prep.pi.written import REQUESTS, Attempts, Generate, type_checker, write

__all__ = [
    "ATTEMPT_KINDS", "BUILDERS", "GIBBERISH", "NEEDS", "attach", "attempt_contents",
    "check_skeletons", "contents", "derangement", "nothing_of", "scatter", "with_kind",
]  # fmt: skip

Rows = Sequence[Row]
Contents = list[str | None]


def none(row: Row, seed: int = 0) -> str | None:
    """No privileged information: the teacher's view equals the student's."""
    return None


BUILDERS: dict[str, Builder] = {
    "skeleton": of_each(skeleton),
    "gold_solution": of_each(gold_solution),
    "wrong_skeleton": of_others(wrong_skeletons),
    "gibberish": of_each(gibberish),
    "none": of_each(none),
    "gold_answer": of_each(gold_answer),
    "wrong_answer": of_others(wrong_answers),
    "matched_gibberish": of_each(matched_gibberish),
    "first_step": of_each(first_step),
    "test_suite": of_each(test_suite),
    "shuffled_test_suite": of_others(shuffled_test_suites),
    "tool_calls_and_arguments": of_each(tool_calls_and_arguments),
    "tool_calls_only": of_each(tool_calls_only),
}
# From attempts at the tasks; all but the first are written by a model.
ATTEMPT_KINDS = ("type_checker", *REQUESTS)
# What of a row a kind is made of: rows that lack it have no content of that kind.
NEEDS = {
    "skeleton": "Lean proofs with `have` steps",
    "wrong_skeleton": "Lean proofs with `have` steps",
    "gold_solution": "a `gold_solution` (see the data set's help)",
    "gold_answer": "answers for ground truths (mathematics), or entries `gold_answer`",
    "wrong_answer": "answers for ground truths (mathematics), or entries `gold_answer`",
    "matched_gibberish": "a `gold_solution` or `gold_answer`",
    "first_step": "a `gold_solution` of more than one step (mathematics, Lean, code)",
    "test_suite": "tests for ground truths (code)",
    "shuffled_test_suite": "tests for ground truths (code)",
    "tool_calls_and_arguments": "actions for ground truths (tool use), or traces",
    "tool_calls_only": "actions for ground truths (tool use), or traces",
    "type_checker": "attempts at these rows that failed with words",
    "hint": "attempts at these rows that passed",
    "cross_model_hint": "attempts at these rows that passed",
    "failure_diagnosis": "attempts at these rows that failed",
}


def contents(rows: Rows, kind: str, seed: int = 0) -> Contents:
    """The content of `kind` for each row; None where the row has nothing of that kind.

    Raises DataError for an unknown kind, or where a control cannot be built.
    """
    content = builder(kind)(rows, seed)
    return [content(row, number) for number, row in enumerate(rows)]


def builder(kind: str) -> Builder:
    """The builder of that name. Raises DataError that lists the known ones."""
    if kind in BUILDERS:
        return BUILDERS[kind]
    if kind in ATTEMPT_KINDS:
        mend = "give attempts: `attempt_contents`, or attempts=FILE on the command line"
        raise DataError("privileged information", kind, "it comes from attempts", mend)
    mend = f"use one of {', '.join([*BUILDERS, *ATTEMPT_KINDS])}"
    raise DataError("privileged information", "kind", f"there is no `{kind}`", mend)


def nothing_of(kind: str, where: str) -> DataError:
    """The error for rows of which none can have `kind`."""
    mend = f"give rows with {NEEDS[kind]}, or choose another kind"
    return DataError(where, f"kind `{kind}`", "no row can have it", mend)


def attempt_contents(
    rows: Rows, kind: str, attempts: Attempts, generate: Generate | None = None
) -> Contents:
    """The content of a kind of ATTEMPT_KINDS for each row; `attempts` by uid.

    Raises DataError for another kind, or where a model is needed and there is none.
    """
    if kind == "type_checker":
        return [type_checker(row, attempts.get(row["uid"], ())) for row in rows]
    if generate is None and kind in REQUESTS:
        raise DataError("privileged information", kind, "a model writes it", "add model=...")
    return write(rows, kind, attempts, generate or (lambda requests: []))


def attach(rows: Rows, kind: str, seed: int = 0) -> list[dict]:
    """New rows with `kind` in `privileged`, in place of an entry of that kind, if there is one."""
    found = contents(rows, kind, seed)
    return [with_kind(row, kind, content) for row, content in zip(rows, found, strict=True)]


def with_kind(row: Row, kind: str, content: str | None) -> dict:
    """A new row with that entry in place of one of its kind; content None takes it out."""
    kept = [entry for entry in row["privileged"] if entry["kind"] != kind]
    added = [] if content is None else [{"kind": kind, "content": content}]
    return {**row, "privileged": [*kept, *added]}
