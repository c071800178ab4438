"""The generated arithmetic: right in every line, apart in every split, judged as it says."""

from __future__ import annotations

import ast
import operator
from collections import Counter

import pytest

import rewards
from data_prep import worked_arithmetic
from data_prep.__main__ import main
from data_prep.errors import DataError
from data_prep.leak import check_disjoint, find_leaks
from data_prep.schema import make_uid, read_rows
from data_prep.worked_arithmetic import FAMILIES, unordered
from rewards.verl_score import compute_score

SPLITS = worked_arithmetic.build()
ALL = [row for rows in SPLITS.values() for row in rows]
OPERATORS = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip


def value(expression: str) -> float:
    """The value, by Python's own reading of the expression."""

    def of(node):
        if isinstance(node, ast.Constant):
            assert isinstance(node.value, int)
            return node.value
        return OPERATORS[type(node.op)](of(node.left), of(node.right))

    return of(ast.parse(expression, mode="eval").body)


def expression(row) -> str:
    asked = row["prompt"][-1]["content"]
    assert asked.startswith("Compute ") and asked.endswith(".")
    return asked[len("Compute ") : -1]


def kinds(row) -> dict[str, str]:
    return {entry["kind"]: entry["content"] for entry in row["privileged"]}


def score(row, response) -> dict:
    truth = row["reward_model"]["ground_truth"]
    return compute_score(row["data_source"], response, truth, row["extra_info"])


def test_counts_and_balance():
    assert {split: len(rows) for split, rows in SPLITS.items()} == {
        "warmup": 1200, "train": 1200, "heldout": 600,
    }  # fmt: skip
    for rows in SPLITS.values():
        cells = Counter((row["extra_info"]["family"], row["level"]) for row in rows)
        assert len(cells) == 5 * len(FAMILIES) and len(set(cells.values())) == 1
        assert len({(r["extra_info"]["family"], r["level"]) for r in rows[: len(cells)]}) == 40


def test_no_expression_occurs_twice_in_any_order_of_its_operands():
    assert len({unordered(expression(row)) for row in ALL}) == len(ALL)
    check_disjoint([*SPLITS["warmup"], *SPLITS["train"]], SPLITS["heldout"])
    check_disjoint(SPLITS["warmup"], SPLITS["train"])
    assert find_leaks([*SPLITS["train"], SPLITS["heldout"][7]], SPLITS["heldout"])


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("3+4", "4+3", True),
        ("7*8+25", "25+8*7", True),
        ("2+3+4", "4+2+3", True),
        ("(2+3)*4", "4*(3+2)", True),
        ("3-4", "4-3", False),
        ("8/2", "2/8", False),
        ("2*3+4", "2+3*4", False),
        ("(2+3)*4", "2+3*4", False),
    ],
)
def test_what_counts_as_one_expression(one, other, same):
    assert (unordered(one) == unordered(other)) == same


def test_every_line_is_true_and_leads_to_the_answer():
    for row in ALL:
        *steps, last = kinds(row)["gold_solution"].splitlines()
        truth = row["reward_model"]["ground_truth"]
        assert value(expression(row)) == int(truth) >= 0
        for step in steps:
            left, _, right = step.partition("=")
            assert value(left) == int(right)
        assert steps[-1].endswith(f"={truth}") and last == f"Answer: {truth}"
        assert 1 <= len(steps) <= 5
        assert row["uid"] == make_uid(row)


def test_privileged_information():
    for row in ALL:
        found = kinds(row)
        truth = row["reward_model"]["ground_truth"]
        assert set(found) == set(worked_arithmetic.KINDS)
        assert found["gold_answer"] == truth != found["wrong_answer"]
        assert found["gold_solution"].startswith(found["first_step"] + "\n")
        assert found["gibberish"] == "XYZZY"
    for rows in SPLITS.values():
        wrong = Counter(kinds(row)["wrong_answer"] for row in rows)
        assert wrong == Counter(kinds(row)["gold_answer"] for row in rows)


def test_gold_solutions_pass_and_other_answers_do_not():
    rows = SPLITS["heldout"][:40]
    items = [
        ("exact", response, row["reward_model"]["ground_truth"], {"prefix": "Answer:"})
        for row in rows
        for response in (
            kinds(row)["gold_solution"],
            f"Answer: {kinds(row)['wrong_answer']}",
            f"Answer: {expression(row)}",
            kinds(row)["gold_solution"].partition("\nAnswer")[0],
        )
    ]
    reasons = [verdict.reason for verdict in rewards.verify_batch(items)]
    assert reasons == ["ok", "wrong_answer", "wrong_answer", "no_answer"] * len(rows)


def test_the_row_alone_tells_verl_how_to_judge_it():
    row = SPLITS["train"][0]
    assert score(row, kinds(row)["gold_solution"])["score"] == 1.0
    assert score(row, kinds(row)["first_step"])["reason"] == "no_answer"


def test_the_command_writes_what_load_gives(tmp_path, capsys):
    assert main(["worked_arithmetic", f"out={tmp_path}", "keep=heldout"]) == 0
    assert read_rows(tmp_path / "heldout.parquet") == SPLITS["heldout"]
    assert "dropped" not in capsys.readouterr().out


def test_load_gives_one_split():
    assert worked_arithmetic.load("train") == SPLITS["train"]


def test_an_unknown_split_is_named():
    with pytest.raises(DataError, match="use one of warmup, train, heldout"):
        worked_arithmetic.load("test")
