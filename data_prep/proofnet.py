"""ProofNet: theorems of undergraduate textbooks, in Lean 4 with Mathlib (the ProofNet# port)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from data_prep.family import Family, Hub, Record, Request, Row
from data_prep.minif2f import DEFAULT_HEADER, lean_row, problem_of

SOURCE = "proofnet"
HUB = "PAug/ProofNetSharp"


def build(request: Request) -> Iterator[Row]:
    """Rows of records with `lean4_formalization` and `lean4_src_header`, or with
    `formal_statement` and `header`."""
    return request.convert(_row)


def _row(record: Record, request: Request) -> Row:
    header = record.text("lean4_src_header", "header", default=DEFAULT_HEADER)
    statement = record.text("lean4_formalization", "formal_statement")
    problem = problem_of(record, header=f"{header.rstrip()}\n\n", formal_statement=statement)
    name = record.text("id", "name", default=problem.name)
    book = name.partition("|")[0] if "|" in name else "proofnet"
    return lean_row(replace(problem, name=name), record.number, SOURCE, book)


PROOFNET = Family(
    name="proofnet",
    description="ProofNet: undergraduate theorems in Lean 4",
    verifier="lean",
    build=build,
    hub=Hub(HUB, splits=("valid", "test")),
    licence="MIT",
    size="185 valid, 186 test",
    kinds=("skeleton", "gold_solution"),
    id_column="id",
)
