"""The bundled theorems before the real Lean: every proof, every skeleton, and short cuts."""

from __future__ import annotations

from collections import Counter

import pytest

from data_prep import core_lean, pi
from data_prep.__main__ import main
from data_prep.schema import privileged, read_rows, write_rows
from rewards import Verdict, verify_batch

# Hundreds of proofs in one process: minutes, which the fast half does not have.
pytestmark = [pytest.mark.lean, pytest.mark.e2e]

ROWS = [row for split in core_lean.SPLITS for row in core_lean.load(split)]
# `trivial` tries `rfl`, `assumption`, `contradiction` and `decide` in turn.
SHORT_CUTS = ("trivial", "norm_cast", "exact ⟨_, rfl⟩")


def check(proofs: list[str], rows: list[dict], **options) -> list[Verdict]:
    return verify_batch(
        [
            (
                "lean",
                proof,
                row["reward_model"]["ground_truth"],
                {"forbid": row["extra_info"]["forbid"], **options},
            )
            for proof, row in zip(proofs, rows, strict=True)
        ]
    )


def failures(proofs: list[str], verdicts: list[Verdict]) -> list[str]:
    return [f"{p}\n{v.feedback}" for p, v in zip(proofs, verdicts, strict=True) if not v.passed]


def test_every_proof_passes():
    proofs = [privileged(row, "gold_solution") or "" for row in ROWS]
    assert failures(proofs, check(proofs, ROWS)) == []


def test_every_skeleton_compiles_and_proves_nothing():
    skeletons = [privileged(row, "skeleton") or "" for row in ROWS]
    assert failures(skeletons, check(skeletons, ROWS, allow_sorry=True)) == []
    assert not any(verdict.passed for verdict in check(skeletons, ROWS))


def test_the_command_leaves_out_skeletons_that_lean_refuses(tmp_path, capsys):
    rows = core_lean.load("heldout")[::42]
    rows[1] = pi.with_kind(rows[1], "skeleton", "  have h : 1 = 2 := by rfl\n  exact h")
    rows[2] = pi.with_kind(rows[2], "skeleton", "  have h : no_such := by sorry\n  exact h")
    statement = f"import Mathlib\n\n{rows[3]['reward_model']['ground_truth']}"
    rows[3] |= {"reward_model": {"style": "lean", "ground_truth": statement}, "uid": "mathlib"}
    given, out = tmp_path / "rows.jsonl", tmp_path / "checked.jsonl"
    write_rows(given, rows, source="own")
    assert main(["pi", str(given), "kinds=[skeleton]", "check=true", f"out={out}"]) == 0
    kept = [privileged(row, "skeleton") is not None for row in read_rows(out)]
    assert kept == [True, False, False, True, True]
    shown = capsys.readouterr().out
    assert "2 accepted, 2 refused, 1 not to be judged here" in shown


def test_a_forbidden_tactic_fails_although_it_proves():
    rows = [row for row in ROWS if row["extra_info"]["family"] == "mul_comm"][:3]
    assert {v.reason for v in check(["grind"] * 3, rows)} == {"forbidden"}


def test_no_single_allowed_tactic_proves_half_of_a_target_family():
    rows = core_lean.load("heldout")
    sizes = Counter(row["extra_info"]["family"] for row in rows)
    for tactic in SHORT_CUTS:
        verdicts = check([tactic] * len(rows), rows)
        solved = Counter(
            row["extra_info"]["family"]
            for row, verdict in zip(rows, verdicts, strict=True)
            if verdict.passed
        )
        assert all(2 * solved[family] < sizes[family] for family in solved), (tactic, solved)
