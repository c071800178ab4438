"""Skeletons of real-looking proofs, by example and by property."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import core_lean
from data_prep.errors import DataError
from data_prep.lean_text import code_tokens, drop_comments, tokens
from data_prep.schema import privileged
from data_prep.skeleton import Skeleton, skeleton

SECRET = "secret"  # stands in every proof that has to go


def test_tactic_and_term_steps_lose_their_proofs():
    proof = """\
  intro x
  have h1 : x = 1 := by
    rw [secret]
    have inner : x = 1 := by exact secret

    exact secret
  have h2 : x + 1 = 2 := secret.trans
    (secret h1)
  have : x = x := by simp [secret]; exact secret
  exact h2.trans this"""
    assert skeleton(proof) == Skeleton(
        """\
  intro x
  have h1 : x = 1 := by sorry
  have h2 : x + 1 = 2 := by sorry
  have : x = x := by sorry
  exact h2.trans this""",
        replaced=3,
        untyped=0,
    )


def test_statements_over_several_lines_stay():
    proof = """\
  have h : ∀ x : ℝ,
      x = 1 →
      (fun (y : ℝ := 0) => y) x = 0 :=
    by secret
  exact h"""
    assert skeleton(proof).text == proof.replace("by secret", "by sorry")


def test_steps_inside_cases_bullets_and_brackets_are_outermost():
    proof = """\
  cases h with
  | inl a => have h1 : P := by
               secret
             exact h1
  | inr b =>
    · have h2 : Q := secret
      exact f h2
    (have h3 : R := by secret); exact h3
    exact (have h4 : S := secret; g h4)"""
    text = skeleton(proof).text
    assert SECRET not in text
    assert (
        text
        == """\
  cases h with
  | inl a => have h1 : P := by sorry
             exact h1
  | inr b =>
    · have h2 : Q := by sorry
      exact f h2
    (have h3 : R := by sorry); exact h3
    exact (have h4 : S := by sorry; g h4)"""
    )


def test_patterns_and_arguments():
    proof = "  have ⟨x, hx⟩ : ∃ x, P x := secret\n  have h (n : ℕ) : Q n := by secret\n  exact h x"
    expected = (
        "  have ⟨x, hx⟩ : ∃ x, P x := by sorry\n  have h (n : ℕ) : Q n := by sorry\n  exact h x"
    )
    assert skeleton(proof).text == expected


def test_an_untyped_step_keeps_its_term_but_not_the_proofs_inside():
    proof = "  have h := f (have g : P := by secret\n    g)\n  exact h"
    found = skeleton(proof)
    assert (found.replaced, found.untyped) == (1, 1)
    assert found.text == "  have h := f (have g : P := by sorry\n    g)\n  exact h"


def test_comments_and_strings_are_no_code():
    proof = """\
  -- have a : P := by kept
  /- have b : Q := /- nested -/ by kept -/
  have h : "have c : R := x" = s := by -- secret
    secret -- have d : T := secret
  exact h -- the end"""
    expected = """\
  -- have a : P := by kept
  /- have b : Q := /- nested -/ by kept -/
  have h : "have c : R := x" = s := by sorry
  exact h -- the end"""
    assert skeleton(proof).text == expected
    assert skeleton(proof, comments=False).text == (
        '  have h : "have c : R := x" = s := by sorry\n  exact h'
    )


def test_names_that_only_look_like_have():
    proof = "  exact x.have (haveable h') «have»"
    assert skeleton(proof) == Skeleton(proof, 0, 0)


def test_a_whole_theorem_keeps_its_header():
    proof = "theorem t (h : P) : P := by\n  have g : P := secret\n  exact g"
    assert (
        skeleton(proof).text == "theorem t (h : P) : P := by\n  have g : P := by sorry\n  exact g"
    )


@pytest.mark.parametrize(
    ("proof", "problem"),
    [
        ("  have h : P\n  · simp\n  exact h", "line 1, `have` step: no `:=`"),
        ("  skip\n  have h : P :=\n  exact h", "line 2, `have` step: nothing follows"),
        ("  have h : P", "no `:=`"),
        ("  /- open", "line 1, Lean source: a `/-` comment is never closed"),
    ],
)
def test_what_is_no_step_is_named(proof, problem):
    with pytest.raises(DataError, match=problem):
        skeleton(proof)


def test_the_bundled_skeletons_are_derived_from_the_proofs():
    rows = [row for split in core_lean.SPLITS for row in core_lean.load(split)]
    for row in rows:
        derived = skeleton(privileged(row, "gold_solution") or "").text
        assert derived == privileged(row, "skeleton")


# A proof is generated together with its skeleton; indentation is added when it is printed.
names = st.sampled_from(["h1", "h2", "hx₀", "this'"])
statements = st.sampled_from(["a = b", "∀ x : ℝ, x = x", "(P ∧ Q)", "f (x :=\n      1) = 2"])
leaves = st.sampled_from(
    ["secret", "by secret", "by\n    secret\n    exact secret", "f\n    (by secret)",
     "by secret; secret", 'by secret "; have x : y := z"', "by -- secret\n    secret"]
)  # fmt: skip
steps = st.builds(
    lambda n, s, leaf: (f"have {n} : {s} := {leaf}", f"have {n} : {s} := by sorry"),
    names, statements, leaves,
)  # fmt: skip
others = st.sampled_from(["intro x", "rw [h1] at h2", "skip /- have -/", 'exact "have"']).map(
    lambda line: (line, line)
)
bullets = steps.map(lambda s: tuple(f"· {x.replace(chr(10), chr(10) + '  ')}" for x in s))
proofs = st.lists(st.one_of(steps, others, bullets), min_size=1, max_size=6)


@settings(max_examples=300, deadline=None)
@given(proofs, st.sampled_from(["", "  ", "      "]))
def test_the_skeleton_of_a_generated_proof(parts, indent):
    def block(which):
        return "\n".join(indent + part[which].replace("\n", "\n" + indent) for part in parts)

    found = skeleton(block(0))
    assert found.text == block(1)
    assert SECRET not in found.text
    assert found.replaced == sum("sorry" in part[1] for part in parts)
    assert skeleton(found.text).text == found.text


@given(st.text("have h : P := by\n  simp;·(⟨⟩)-/\"'", max_size=80))
def test_any_text_gives_a_skeleton_or_our_error(text):
    try:
        once = skeleton(text).text
    except DataError:
        return
    assert len(once) <= len(text) + len("by sorry") * text.count("have")


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_tokens_add_up_to_the_source(text):
    try:
        assert "".join(token.text for token in tokens(text)) == text
    except DataError:
        assert "/-" in text


def test_dropping_comments_keeps_the_code():
    source = "a -- one\n/- two\n  three -/\nb /- four -/ c\n\nd"
    assert drop_comments(source) == "a\nb  c\n\nd"
    assert [t.text for t in code_tokens(source)] == ["a", "b", "c", "d"]
