"""miniF2F: small files of our own in each format, and the publishers' files where they are."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from data_prep import minif2f
from data_prep.errors import DataError
from data_prep.lean_text import code_tokens
from data_prep.schema import privileged, read_rows, validate_rows, write_rows

HEADER = "import Mathlib\n\nopen Nat Real\n\n"
STATEMENT = "theorem amc12_2000_p1 (x : ℝ) (h₀ : x + 1 = 2) :\n    x = 1 := by"
PROOF = "  have h₁ : x = 2 - 1 := by linarith\n  linarith"
SKELETON = "  have h₁ : x = 2 - 1 := by sorry\n  linarith"
OPEN = "theorem mathd_algebra_1 : 1 + 1 = 2 := by"


def jsonl(path: Path, *records: dict) -> Path:
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records))
    return path


def check_pair(rows):
    first, second = rows
    assert first["reward_model"] == {"style": "lean", "ground_truth": HEADER + STATEMENT}
    assert privileged(first, "gold_solution") == PROOF
    assert privileged(first, "skeleton") == SKELETON
    assert first["extra_info"]["name"] == "amc12_2000_p1"
    assert second["reward_model"]["ground_truth"] == HEADER + OPEN
    assert second["privileged"] == []
    assert {row["data_source"] for row in rows} == {"minif2f"}
    assert {row["split"] for row in rows} == {"valid"}
    assert [row["level"] for row in rows] == ["amc12", "mathd"]
    assert len(validate_rows(rows)) == 2


def test_one_lean_file_a_row(tmp_path):
    path = jsonl(
        tmp_path / "x.jsonl",
        {"name": "a", "split": "valid", "lean": f"{HEADER}{STATEMENT}\n{PROOF}\n"},
        {"name": "b", "split": "valid", "lean": f"{HEADER}{OPEN} sorry"},
    )
    check_pair(minif2f.load(path))


def test_the_parts_apart(tmp_path):
    path = jsonl(
        tmp_path / "x.jsonl",
        {
            "name": "a",
            "split": "valid",
            "header": HEADER,
            "informal_prefix": "/-- Show that x is 1. -/\n",
            "formal_statement": STATEMENT + "\n",
            "formal_proof": f"  /- Subtract 1. have you? -/\n{PROOF}",
        },
        {"name": "b", "split": "valid", "header": HEADER, "formal_statement": f"{OPEN}\n"},
    )
    check_pair(minif2f.load(path))


def test_a_folder_of_lean_files(tmp_path):
    folder = tmp_path / "Valid"
    folder.mkdir()
    (folder / "a.lean").write_text(f"{HEADER}/-- Show it. -/\n{STATEMENT}\n{PROOF}\n")
    (folder / "b.lean").write_text(f"{HEADER}{OPEN}\n  sorry\n")
    check_pair(minif2f.load(folder))
    check_pair(minif2f.load(tmp_path))


def test_one_file_of_many_theorems(tmp_path):
    path = tmp_path / "Valid.lean"
    path.write_text(f"-- miniF2F\n{HEADER}{STATEMENT}\n{PROOF}\n\n/-- next -/\n{OPEN}\n  sorry\n")
    check_pair(minif2f.load(path))


def test_a_term_proof_becomes_a_tactic_block(tmp_path):
    path = jsonl(tmp_path / "x.jsonl", {"lean": f"{HEADER}theorem a : 1 = 1 :=\n  rfl -- by"})
    (row,) = minif2f.load(path)
    assert row["reward_model"]["ground_truth"] == f"{HEADER}theorem a : 1 = 1 := by"
    assert privileged(row, "gold_solution") == "  exact (rfl)"
    assert privileged(row, "skeleton") is None


def test_a_default_header_stands_in_for_none(tmp_path):
    path = jsonl(tmp_path / "x.jsonl", {"formal_statement": OPEN, "formal_proof": "  norm_num"})
    (row,) = minif2f.load(path)
    assert row["reward_model"]["ground_truth"].startswith("import Mathlib\n")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"name": "a"}', "line 1, `formal_statement`: missing"),
        ('{"lean": "import Mathlib"}', "line 1, `lean`: 0 theorems"),
        ('{"lean": "theorem a : P"}', "a: no `:=` after the statement"),
        ('{"formal_statement": "def a := 1"}', "`formal_statement`: no theorem in it"),
        ("[]", "line 1, line: not an object"),
        ("{", "line 1, line: not JSON"),
        ("", "miniF2F: no theorem in it"),
        ('{"lean": "theorem a : P := by sorry"}\n' * 2, "a: occurs twice"),
    ],
)
def test_bad_input_is_one_clear_error(tmp_path, line, problem):
    (tmp_path / "x.jsonl").write_text(line + "\n")
    with pytest.raises(DataError, match=problem):
        minif2f.load(tmp_path / "x.jsonl")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.jsonl, file: No such file"):
        minif2f.load(tmp_path / "gone.jsonl")


def published(name: str) -> Path:
    """A publisher's file, below $VERL_PI_DATA."""
    return Path(os.environ["VERL_PI_DATA"]) / "minif2f_lean4" / name


@pytest.mark.conformance
def test_the_published_statements(tmp_path):
    rows = minif2f.load(published("valid.jsonl"))
    assert len(rows) == 244
    assert all(row["privileged"] == [] for row in rows)
    headers = {row["extra_info"]["header"] for row in rows}
    (header,) = headers
    lines = (
        "import Mathlib",
        "set_option maxHeartbeats 0",
        "open BigOperators Real Nat Topology Rat",
    )
    assert header == "".join(f"{line}\n\n" for line in lines)
    assert all(row["reward_model"]["ground_truth"].endswith(":= by") for row in rows)
    write_rows(tmp_path / "valid.parquet", rows, source="miniF2F")
    assert read_rows(tmp_path / "valid.parquet") == validate_rows(rows)


@pytest.mark.conformance
def test_the_published_statements_are_unchanged():
    path = published("valid.jsonl")
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for record, row in zip(records, minif2f.load(path), strict=True):
        ours = [t.text for t in code_tokens(row["reward_model"]["ground_truth"])]
        theirs = [t.text for t in code_tokens(record["lean"])]
        assert [*ours, "sorry"] == theirs
        assert row["extra_info"]["name"] == record["name"]


@pytest.mark.conformance
def test_the_published_proofs():
    path = published("dsp15_minif2f_valid_few_shot.jsonl")
    records = [json.loads(line) for line in path.read_text().splitlines()]
    rows = minif2f.load(path)
    assert len(rows) == 67
    for record, row in zip(records, rows, strict=True):
        proof = privileged(row, "gold_solution") or ""
        assert [t.text for t in code_tokens(proof)] == [
            t.text for t in code_tokens(record["formal_proof"])
        ]
        assert "/-" not in proof
        # One proof has a `have`, and that one states nothing: no skeleton can be taken from it.
        assert privileged(row, "skeleton") is None
    assert sum("have" in (privileged(row, "gold_solution") or "").split() for row in rows) == 1
