"""AIME-style problems: the answer is a whole number from 0 to 999."""

from __future__ import annotations

from collections.abc import Iterator

from data_prep.family import Drop, Family, Hub, Record, Request, Row, make_row
from data_prep.math_text import boxed_answer, math_prompt

SOURCE = "aime"
HUB = "HuggingFaceH4/aime_2024"


def build(request: Request) -> Iterator[Row]:
    """Rows of records with `problem` (or `question`) and `answer`; `solution`, `year` if any."""
    return request.convert(_row)


def _row(record: Record, request: Request) -> Row:
    solution = record.text("solution", "Solution", default="")
    return make_row(
        data_source=SOURCE,
        prompt=math_prompt(record.text("problem", "Problem", "question", "Question")),
        ability="math",
        verifier="math",
        ground_truth=(answer := _answer(record, solution)),
        # Publishers call the one split of such a set `train`; it is an evaluation all the same.
        split="test",
        index=record.number,
        family=str(record.fields.get("year") or record.fields.get("Year") or "aime"),
        privileged={"gold_answer": answer, "gold_solution": solution},
    )


def _answer(record: Record, solution: str) -> str:
    found = next((record.fields[n] for n in ("answer", "Answer") if n in record.fields), None)
    text = boxed_answer(solution) if found is None else str(found).strip()
    if not (text.isascii() and text.isdigit() and int(text) <= 999):
        raise Drop("the answer is no number from 0 to 999", text[:40])
    return str(int(text))  # 073 is 73


AIME = Family(
    name="aime",
    description="AIME-style problems: answers from 0 to 999",
    verifier="math",
    build=build,
    hub=Hub(HUB, splits=("train",)),
    licence="not stated by the publisher",
    size="30 test (2024)",
    kinds=("gold_answer", "gold_solution"),
)
