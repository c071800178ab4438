"""MATH-500: 500 of the test problems of MATH, the usual held-out set of mathematics."""

from __future__ import annotations

from collections.abc import Iterator

from data_prep.family import Family, Hub, Record, Request, Row, make_row
from data_prep.math_text import boxed_answer, level_of, math_prompt

SOURCE = "HuggingFaceH4/MATH-500"


def build(request: Request) -> Iterator[Row]:
    """Rows of records with `problem` and `answer` (or a boxed one in `solution`)."""
    return request.convert(_row)


def _row(record: Record, request: Request) -> Row:
    solution = record.text("solution", default="")
    answer = record.text("answer", default="").strip() or boxed_answer(solution)
    return make_row(
        data_source=SOURCE,
        prompt=math_prompt(record.text("problem")),
        ability="math",
        verifier="math",
        ground_truth=answer,
        split=record.split or "test",
        index=record.number,
        family=record.text("subject", "type", default=""),
        level=level_of(record),
        privileged={"gold_answer": answer, "gold_solution": solution},
    )


MATH500 = Family(
    name="math500",
    description="MATH-500: 500 of MATH's test problems",
    verifier="math",
    build=build,
    hub=Hub(SOURCE, splits=("test",)),
    licence="MIT",
    size="500 test",
    kinds=("gold_answer", "gold_solution"),
    id_column="unique_id",
)
