"""GSM8K: grade-school word problems; the answer follows `####` in the worked solution."""

from __future__ import annotations

import re
from collections.abc import Iterator

from data_prep.family import Drop, Family, Hub, Record, Request, Row, make_row
from data_prep.math_text import math_prompt

SOURCE = "openai/gsm8k"
_CALCULATION = re.compile(r"<<[^<>]*>>")


def build(request: Request) -> Iterator[Row]:
    """Rows of records with `question` and `answer`."""
    return request.convert(_row)


def _row(record: Record, request: Request) -> Row:
    worked, mark, answer = record.text("answer").rpartition("####")
    answer = answer.strip().replace(",", "")
    if not mark or not answer:
        raise Drop("no answer after `####`")
    return make_row(
        data_source=SOURCE,
        prompt=math_prompt(record.text("question")),
        ability="math",
        verifier="math",
        ground_truth=answer,
        split=record.split or "train",
        index=record.number,
        family="gsm8k",
        privileged={
            "gold_answer": answer,
            "gold_solution": f"{_CALCULATION.sub('', worked).strip()}\n\\boxed{{{answer}}}",
        },
    )


GSM8K = Family(
    name="gsm8k",
    description="grade-school word problems",
    verifier="math",
    build=build,
    hub=Hub(SOURCE, splits=("train", "test"), configs=("main",)),
    licence="MIT",
    size="7,473 train, 1,319 test",
    kinds=("gold_answer", "gold_solution"),
)
