"""`heuristic_lean`: what a look at the text alone finds, and what it lets pass."""

from __future__ import annotations

import time

import pytest

from rewards.heuristic_lean import HeuristicLean

THEOREM = "theorem comm (a b : Nat) : a + b = b + a := by"


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ("omega", "ok"),
        (f"```lean4\n{THEOREM}\n  omega\n```", "ok"),
        ("<think>sorry</think>\n```lean\nsimp\n```", "ok"),
        ("-- sorry\nomega", "ok"),
        ("sorry", "forbidden"),
        ("have h : 1 = 1 := by\n  admit\nomega", "forbidden"),
        ("simp [Nat.add_comm", "compile_error"),
        ("theorem other (a : Nat) : a = a := by\n  rfl", "wrong_answer"),
        ("it holds since addition commutes", "wrong_answer"),
        ("```lean\n```", "no_answer"),
        ("", "no_answer"),
        ("omega" * 30_000, "malformed"),
    ],
)
def test_what_it_looks_at(response: str, reason: str) -> None:
    assert HeuristicLean()(response, THEOREM).reason == reason


def test_it_lets_a_false_proof_pass_and_says_that_lean_did_not_check() -> None:
    verdict = HeuristicLean()("omega", "theorem wrong (a : Nat) : a + 1 = a := by")
    assert verdict.passed
    assert "not checked by Lean" in verdict.feedback


@pytest.mark.parametrize(
    "text", ["```" * 33_000, "/- " * 33_000, "/- " * 33_000 + "-/", "(" * 99_000]
)
def test_hostile_texts_take_little_time(text: str) -> None:
    begun = time.process_time()
    assert not HeuristicLean()(text, THEOREM).passed
    assert time.process_time() - begun < 1


def test_a_ground_truth_without_a_theorem_is_not_the_models_fault() -> None:
    assert HeuristicLean()("omega", "a + b = b + a").reason == "verifier_error"
