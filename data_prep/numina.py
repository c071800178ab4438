"""NuminaMath-CoT: problems from nine collections with worked solutions; the answer is boxed.

Rows without a boxed answer (proofs, mostly) are dropped. Parts of it come from MATH and GSM8K, so
`against=` the set that is evaluated on.
"""

from __future__ import annotations

from collections.abc import Iterator

from data_prep.family import Drop, Family, Hub, Option, Record, Request, Row
from data_prep.math_text import boxed_answer, math_row

SOURCE = "AI-MO/NuminaMath-CoT"


def build(request: Request) -> Iterator[Row]:
    """Rows of records with `problem` and `solution`, and `source` (the collection)."""
    return request.convert(_row)


def _row(record: Record, request: Request) -> Row:
    collection = record.text("source", default="")
    wanted = list(filter(None, request["collections"].split(",")))
    if wanted and collection not in wanted:
        raise Drop("another collection")
    solution = record.text("solution")
    answer = boxed_answer(solution)
    return math_row(record, SOURCE, answer, solution, "train", collection)


NUMINA = Family(
    name="numina",
    description="NuminaMath-CoT: problems with worked solutions (rows=10000 for the 10k subset)",
    verifier="math",
    build=build,
    hub=Hub(SOURCE, splits=("train", "test")),
    licence="Apache-2.0",
    size="859,494 train, 100 test",
    kinds=("gold_answer", "gold_solution"),
    options=(Option("collections", str, "", "only these, like olympiads,amc_aime"),),
)
