"""MATH-500: 500 of the test problems of MATH, the usual held-out set of mathematics."""

from __future__ import annotations

from collections.abc import Iterator

from data_prep.family import Family, Hub, Record, Request, Row
from data_prep.math_text import boxed_answer, math_row

SOURCE = "HuggingFaceH4/MATH-500"


def build(request: Request) -> Iterator[Row]:
    """Rows of records with `problem` and `answer` (or a boxed one in `solution`)."""
    return request.convert(_row)


def _row(record: Record, request: Request) -> Row:
    solution = record.text("solution", default="")
    answer = record.text("answer", default="").strip() or boxed_answer(solution)
    family = record.text("subject", "type", default="")
    return math_row(record, SOURCE, answer, solution, "test", family)


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
