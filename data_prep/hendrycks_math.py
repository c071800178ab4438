"""MATH: competition problems of five levels and seven subjects; the answer is the last box."""

from __future__ import annotations

from collections.abc import Iterator

from data_prep.family import Family, Hub, Record, Request, Row
from data_prep.math_text import boxed_answer, math_row

SOURCE = "lighteval/MATH"
HUB = "EleutherAI/hendrycks_math"
SUBJECTS = (
    "algebra", "counting_and_probability", "geometry", "intermediate_algebra", "number_theory",
    "prealgebra", "precalculus",
)  # fmt: skip


def build(request: Request) -> Iterator[Row]:
    """Rows of records with `problem` and `solution`, and `level`, `type` where there are any."""
    return request.convert(_row)


def _row(record: Record, request: Request) -> Row:
    solution = record.text("solution")
    answer = boxed_answer(solution)
    family = record.text("type", "subject", default="")
    return math_row(record, SOURCE, answer, solution, "train", family)


MATH = Family(
    name="math",
    description="MATH: competition problems of five levels",
    verifier="math",
    build=build,
    hub=Hub(HUB, splits=("train", "test"), configs=SUBJECTS),
    licence="MIT",
    size="7,500 train, 5,000 test",
    kinds=("gold_answer", "gold_solution"),
    id_column="unique_id",
)
