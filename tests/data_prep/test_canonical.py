"""Canonical statements: equal under renaming, different under anything else."""

from __future__ import annotations

import contextlib
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import core_lean
from data_prep.canonical import canonical, fragment_pattern, unordered
from data_prep.errors import DataError

HEADERS = [r["reward_model"]["ground_truth"] for s in core_lean.SPLITS for r in core_lean.load(s)]
NAMES = sorted(
    set(re.findall(r"\b[a-zA-Z]\d?\b", " ".join(HEADERS))) | {"m", "k", "hyp", "x₁", "α'", "zz"}
)


@settings(max_examples=300, deadline=None)
@given(
    header=st.sampled_from(HEADERS),
    names=st.permutations(NAMES),
    theorem=st.text("abz_", min_size=1),
)
def test_any_renaming_is_equal(header, names, theorem):
    """Renaming by regular expression: an implementation that shares nothing with ours."""
    renamed = dict(zip(NAMES, names, strict=True))
    body = header[len("theorem t ") :].replace(":= by", "")
    body = re.sub(r"(?<![.\w])[a-zA-Z]\d?\b(?!\w)", lambda m: renamed[m.group()], body)
    other = f"theorem {theorem} {body} := by\n  sorry"
    assert canonical(other) == canonical(header)
    assert unordered(other) == unordered(header)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("theorem a (x : Nat) : x = x := by", "lemma b(y:ℕ):y=y:= rfl"),
        ("theorem a (x y : Nat) : x = y", "theorem a (x : Nat) (y : Nat) : x = y"),
        ("theorem a : ∀ x, x ≤ x", "theorem a : forall z, z <= z"),
        ("theorem a : ∃ x : Nat, x > 2 ∧ x < 4", "theorem a : ∃ n : Nat, n > 2 /\\ n < 4"),
        ("theorem a : P (fun x => x) y", "theorem a : P (λ z ↦ z) y"),
        ("theorem a : (∀ x, P x) ∧ ∃ x, Q x", "theorem a : (∀ x, P x) ∧ ∃ y, Q y"),
        ("theorem a (s : List Nat) : s.length = 1", "theorem a (t : List Nat) : t.length = 1"),
        ("theorem a : S = {x | x < 2}", "theorem a : S = {y | y < 2}"),
        ("theorem a : ∑ i in r, i = 3", "theorem a : ∑ k in r, k = 3"),
        ("theorem a : P fun ⟨x, y⟩ => x + y", "theorem a : P fun ⟨u, v⟩ => u + v"),
        ("theorem a {x : T} [Group x] : x = x", "theorem a {y : T} [Group y] : y = y"),
        ("theorem a (x : Nat) /- why -/ : x = x -- end", "theorem a (x : Nat) : x = x"),
        ("theorem a (n : Nat) (n : Fin n) : n = n", "theorem a (m : Nat) (k : Fin m) : k = k"),
    ],
)
def test_equal_up_to_names(one, other):
    assert canonical(one) == canonical(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("theorem a (x y : Nat) : x < y", "theorem a (x y : Nat) : y < x"),
        ("theorem a (x : Nat) : x = 2", "theorem a (x : Nat) : x = 3"),
        ("theorem a (x : Nat) : x = x", "theorem a (x : Int) : x = x"),
        ("theorem a : ∀ x, P x z", "theorem a : ∀ z, P z z"),
        ("theorem a : (∀ x, P x) ∧ Q x", "theorem a : (∀ y, P y) ∧ Q y"),
        ("theorem a (s : L) : s.length = 1", "theorem a (s : L) : s.size = 1"),
        ("theorem a {x : T} : x = x", "theorem a (x : T) : x = x"),
    ],
)
def test_not_equal(one, other):
    assert canonical(one) != canonical(other)


def test_unordered_forgets_the_order_of_hypotheses_and_constants_when_asked():
    one = "theorem t (a b : Nat) (h : a = 3) (e : b = 5) : a * b = 15 := by"
    other = "theorem t (b a : Nat) (u : b = 5) (v : a = 3) : a * b = 15 := by"
    assert unordered(one) == unordered(other) and canonical(one) != canonical(other)
    constants = one.replace("3", "4").replace("15", "20")
    assert unordered(one) != unordered(constants)
    assert unordered(one, numerals=False) == unordered(constants, numerals=False)
    assert unordered(one, numerals=False) != unordered(one.replace("*", "+"), numerals=False)


def test_fragments_compare_by_pattern():
    one = "  have h2 : a * b = b * a := by sorry\n  rw [h2, h1]"
    same = "  have e5 : x*y = y*x := by sorry\n  rw [e5, e4]"
    assert fragment_pattern(one) == fragment_pattern(same)
    assert fragment_pattern(one) != fragment_pattern(one.replace("b * a", "a * b"))


@pytest.mark.parametrize("bad", ["", "a + b = c", "theorem a (x : Nat : x = x", "/- never closed"])
def test_no_statement_is_one_clear_error(bad):
    with pytest.raises(DataError):
        canonical(bad)


@given(st.text("theorm a(x:N){[∀∃, ⟨⟩=>fun:=\"'/-\n", max_size=60))
def test_any_text_gives_a_statement_or_our_error(text):
    with contextlib.suppress(DataError):
        canonical(f"theorem t {text}")
