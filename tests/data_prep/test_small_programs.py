"""The generated programs: what they return, which tests hold, and that no split shares a task."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from itertools import pairwise

import pytest

import rewards
from data_prep import small_programs
from data_prep.__main__ import main
from data_prep.errors import DataError
from data_prep.leak import check_disjoint, find_leaks
from data_prep.schema import make_uid, read_rows
from data_prep.small_programs import FAMILIES, Task, behaviour
from rewards.verl_score import compute_score

SPLITS = small_programs.build()
ALL = [row for rows in SPLITS.values() for row in rows]
# Of each family one task by hand: what is asked, an argument, the value.
BY_HAND = {
    "chain": ("x minus 2 then times 10 then times 6", 5, 180),
    "branch": ("x times 8 if below 10, else minus 4", 10, 6),
    "sum": ("sum of xs above 7, minus 6", [7, 8, 9], 11),
    "count": ("how many xs divisible by 6, minus 9", [6, 12, 13], -7),
    "each": ("each x times 4 then plus 10 then plus 2", [1, 2], [16, 20]),
    "kept": ("list xs below 9, each times 9 then minus 11", [8, 9], [61]),
    "largest": ("smallest x times 8, minus the largest", [2, 5, 3], 11),
    "sum_to": ("sum of i plus 5 then times 8 for i below n", 3, 144),
    "digits": ("number of digits of n minus 6 then times 10", 305, -30),
    "text": ("s without first 5, repeated 4 times, cut to 8", "Verifier", "ierierie"),
}


def kinds(row) -> dict[str, str]:
    return {entry["kind"]: entry["content"] for entry in row["privileged"]}


def assertions(row) -> list[str]:
    return json.loads(row["reward_model"]["ground_truth"])["tests"]


def holds(solution: str, tests: list[str]) -> bool:
    """Whether this program (of ours) passes, run in this process."""
    names: dict = {}
    exec(solution, names)
    try:
        exec("\n".join(tests), names)
    except (AssertionError, IndexError):
        return False
    return True


def test_counts_and_balance():
    assert {split: len(rows) for split, rows in SPLITS.items()} == {
        "warmup": 400, "train": 400, "heldout": 500,
    }  # fmt: skip
    for rows in SPLITS.values():
        assert len(set(Counter(row["extra_info"]["family"] for row in rows).values())) == 1
        assert {row["extra_info"]["family"] for row in rows[:10]} == set(FAMILIES)
        assert {row["level"] for row in rows} == {"1", "2", "3", "4"}


def test_no_statement_and_no_function_occurs_twice():
    assert len({row["prompt"][-1]["content"] + row["prompt"][0]["content"] for row in ALL}) == 1300
    assert len({(kinds(row)["gold_solution"]) for row in ALL}) == 1300
    check_disjoint([*SPLITS["warmup"], *SPLITS["train"]], SPLITS["heldout"])
    check_disjoint(SPLITS["warmup"], SPLITS["train"])
    assert find_leaks([*SPLITS["train"], SPLITS["heldout"][7]], SPLITS["heldout"])


def test_any_part_of_the_training_rows_passes_the_guard():
    for count in (20, 60, 150):
        check_disjoint(SPLITS["train"][:count], SPLITS["heldout"])


def test_functions_count_as_one_by_what_they_return():
    one = Task("x", "", "x * 4 + 8", 2)
    assert behaviour(one) == behaviour(Task("x", "", "(x + 2) * 4", 2))
    assert behaviour(one) != behaviour(Task("x", "", "x * 4 + 9", 2))


@pytest.mark.parametrize("family", FAMILIES)
def test_what_a_solution_returns_by_hand(family):
    asked, argument, wanted = BY_HAND[family]
    found = [row for row in ALL if row["prompt"][-1]["content"] == asked]
    assert [row["extra_info"]["family"] for row in found] == [family]
    names: dict = {}
    exec(kinds(found[0])["gold_solution"], names)
    assert names["f"](argument) == wanted


def test_every_solution_passes_its_tests_and_no_other_of_its_family_does():
    families = defaultdict(list)
    for row in ALL:
        assert holds(kinds(row)["gold_solution"], assertions(row))
        assert row["uid"] == make_uid(row)
        families[row["extra_info"]["family"]].append(row)
    for rows in families.values():
        for row, other in zip(rows, [*rows[1:], rows[0]], strict=True):
            assert not holds(kinds(other)["gold_solution"], assertions(row)), other


def test_privileged_information():
    for row in ALL:
        found = kinds(row)
        assert set(found) >= set(small_programs.KINDS) - {"first_step"}
        assert found["test_suite"] == "\n".join(assertions(row)) != found["shuffled_test_suite"]
        assert found.get("first_step", "def") in found["gold_solution"]
    assert sum("first_step" in kinds(row) for row in ALL) > 1000


def test_the_verifier_judges_them():
    rows = SPLITS["heldout"][:3]
    for row, other in pairwise(rows):
        scores = [
            compute_score(row["data_source"], text, row["reward_model"]["ground_truth"])["score"]
            for text in (kinds(row)["gold_solution"], kinds(other)["gold_solution"])
        ]
        assert scores == [1.0, 0.0]
    assert rewards.verifier_for("small_programs") == "code"


def test_the_command_writes_what_load_gives(tmp_path):
    assert main(["small_programs", f"out={tmp_path}", "keep=heldout"]) == 0
    assert read_rows(tmp_path / "heldout.parquet") == SPLITS["heldout"]


def test_load_gives_one_split():
    assert small_programs.load("train") == SPLITS["train"]


def test_an_unknown_split_is_named():
    with pytest.raises(DataError, match="use one of warmup, train, heldout"):
        small_programs.load("test")
