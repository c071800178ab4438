"""The bundled theorems: counts, splits, forms; each proof and skeleton before the real Lean."""

from __future__ import annotations

import pytest

from data_prep import core_lean
from data_prep.canonical import canonical, unordered
from data_prep.core_lean import build
from data_prep.errors import DataError
from data_prep.leak import normalise
from data_prep.lean_text import code_tokens
from data_prep.schema import make_uid, privileged

SPLITS = {split: core_lean.load(split) for split in core_lean.SPLITS}
ALL = [row for rows in SPLITS.values() for row in rows]
TARGETS = {family.name for family in build.TARGETS}
EASY = {family.name for family in build.EASY}


def statement(row) -> str:
    return row["reward_model"]["ground_truth"]


def structure(row) -> tuple[str, ...]:
    return unordered(statement(row), numerals=False)


def some(split: str, **info):
    return [r for r in SPLITS[split] if all(r["extra_info"][k] == v for k, v in info.items())]


def test_counts():
    assert len(SPLITS["train"]) >= 250 and len(SPLITS["heldout"]) >= 200
    assert len(some("warmup", role="target")) >= 250
    assert len(some("heldout", structure="seen")) >= 150
    assert len(some("heldout", structure="new")) >= 40
    assert len(TARGETS) >= 10


def test_families():
    def families(rows):
        return {row["extra_info"]["family"] for row in rows}

    assert families(SPLITS["train"]) == families(some("warmup", role="target")) == TARGETS
    assert families(some("heldout", structure="new")) == TARGETS
    assert families(some("heldout", structure="seen")) == TARGETS
    assert families(some("warmup", role="easy")) == EASY
    assert not TARGETS & EASY


def test_no_statement_occurs_twice_under_any_name_or_order():
    keys = [unordered(statement(row)) for row in ALL]
    assert len(set(keys)) == len(ALL)


def test_no_held_out_statement_is_trained_on_not_even_renamed():
    trained = {canonical(statement(row)) for s in ("warmup", "train") for row in SPLITS[s]}
    assert trained.isdisjoint(canonical(statement(row)) for row in SPLITS["heldout"])


def test_new_structures_are_in_no_training_row_and_seen_ones_are():
    trained = {structure(row) for split in ("warmup", "train") for row in SPLITS[split]}
    for row in SPLITS["heldout"]:
        seen = row["extra_info"]["structure"] == "seen"
        assert (structure(row) in trained) == seen, statement(row)
    easy = {structure(row) for row in some("warmup", role="easy")}
    assert easy.isdisjoint(structure(row) for row in ALL if row["extra_info"]["role"] == "target")


def test_the_warm_up_shows_every_form_that_is_trained():
    warm = {structure(row) for row in some("warmup", role="target")}
    assert warm == {structure(row) for row in SPLITS["train"]}


def test_any_beginning_of_a_split_is_balanced():
    for split, count in (("train", 28), ("heldout", 30)):
        families = [row["extra_info"]["family"] for row in SPLITS[split][:count]]
        assert set(families) == TARGETS
    new = [row["extra_info"]["structure"] == "new" for row in SPLITS["heldout"]]
    assert abs(sum(new[:105]) - sum(new[105:])) <= 2


def test_the_form_of_a_row():
    for row in ALL:
        header, proof, shape = (
            statement(row),
            *(privileged(row, kind) or "" for kind in ("gold_solution", "skeleton")),
        )
        assert header.startswith("theorem t ") and header.endswith(" := by")
        assert row["prompt"] == build.prompt(header)
        assert row["uid"] == make_uid(row)
        assert proof != shape and "sorry" in shape and "sorry" not in proof
        for line in proof.splitlines():
            assert line.startswith("  ") and line == line.rstrip()
        words = {token.text for token in code_tokens(f"{proof}\n{shape}")}
        assert words.isdisjoint(row["extra_info"]["forbid"])
        assert len(proof.splitlines()) <= 5
        assert "lean 4" in normalise(row["prompt"][0]["content"])


def test_generating_again_gives_the_same_bytes(tmp_path):
    assert build.write(tmp_path) == {
        str(tmp_path / f"{split}.jsonl"): len(rows) for split, rows in SPLITS.items()
    }
    for split in core_lean.SPLITS:
        bundled = (build.Path(core_lean.__file__).parent / f"{split}.jsonl").read_bytes()
        assert (tmp_path / f"{split}.jsonl").read_bytes() == bundled
        assert len(bundled) < 500_000


def test_a_family_that_runs_out_of_statements_is_named():
    from data_prep.core_lean.theorem import Theorem

    def always_the_same(pick):
        return Theorem("", "1 = 1", ())

    with pytest.raises(DataError, match="family x, generator: only 1 of 2 statements differ"):
        list(build._draw("x", always_the_same, 2, set()))


def test_an_unknown_split_is_named():
    with pytest.raises(DataError, match="use one of warmup, train, heldout"):
        core_lean.load("test")
