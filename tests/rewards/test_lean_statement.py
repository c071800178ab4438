from __future__ import annotations

import pytest

from rewards.lean.lexer import UnfinishedError, tokens_of
from rewards.lean.statement import ResponseError, parse_statement, proof_of
from rewards.lean.words import forbidden_word

TRUTH = "theorem add_comm' (a b : Nat) : a + b = b + a := by"
STATEMENT = parse_statement(TRUTH)


def _reason(response: str, **options) -> str:
    with pytest.raises(ResponseError) as caught:
        proof_of(response, STATEMENT, **options)
    return caught.value.reason


@pytest.mark.parametrize("ending", ["", " :=", " := by", " := by sorry", " := sorry", "  -- note"])
def test_a_ground_truth_is_read_with_or_without_its_ending(ending):
    statement = parse_statement("import Mathlib\nopen Nat\n\n" + TRUTH[: -len(" := by")] + ending)
    assert statement.header == "theorem add_comm' (a b : Nat) : a + b = b + a"
    assert statement.name == "add_comm'"
    assert statement.preamble == "import Mathlib\nopen Nat"


@pytest.mark.parametrize("bad", ["", "def x := 1", "theorem", "theorem a", TRUTH + " x\n" + TRUTH])
def test_a_ground_truth_without_exactly_one_theorem_is_refused(bad):
    with pytest.raises(ValueError):
        parse_statement(bad)


@pytest.mark.parametrize(
    ("response", "proof"),
    [
        ("omega", " by\n  omega"),
        ("  have h := 1\n  omega\n", " by\n  have h := 1\n  omega"),
        ("by omega", " by omega"),
        ("by\n  omega", " by\n  omega"),
        (":= Nat.add_comm a b", " Nat.add_comm a b"),
        (":= by omega", " by omega"),
        ("Thus:\n```lean\nomega\n```\nDone.", " by\n  omega"),
        ("```lean4\nsimp\n```\nbetter:\n```lean\nomega\n```", " by\n  omega"),
        ("```\nomega\n```", " by\n  omega"),
        ("```lean\nomega", " by\n  omega"),
        ("<think>```lean\nsorry\n```</think>omega", " by\n  omega"),
        (TRUTH + " omega", " by omega"),
        ("import Mathlib\nopen Nat\n-- hm\n/- h -/ " + TRUTH + "\n  omega", " by\n  omega"),
        (
            "theorem add_comm'  (a b:Nat)\n  /- same -/ : a + b = b + a := Nat.add_comm a b",
            " Nat.add_comm a b",
        ),
    ],
)
def test_the_proof_is_found(response, proof):
    assert proof_of(response, STATEMENT) == proof


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ("", "no_answer"),
        ("  \n-- nothing", "no_answer"),
        (TRUTH, "no_answer"),
        ("theorem add_comm' (a b : Nat) : a + b = a + b := by rfl", "wrong_answer"),
        ("theorem other (a b : Nat) : a + b = b + a := by omega", "wrong_answer"),
        ("theorem add_comm' (a b : Nat) : a + b = b + a ∨ True := by simp", "wrong_answer"),
        ("theorem add_comm' (a b : Int) : a + b = b + a := by omega", "wrong_answer"),
        ("axiom h : False\n" + TRUTH + " exact h.elim", "malformed"),
        ("def Nat := Unit\n" + TRUTH + " rfl", "malformed"),
        ("omega /- open", "malformed"),
        ('exact "open', "malformed"),
        ('exact r#"open"', "malformed"),
        ("omega\0", "malformed"),
        ("a" * 10_000_000, "malformed"),
        ("exact " + "(" * 20_000 + "x" + ")" * 20_000, "malformed"),
    ],
)
def test_what_is_not_a_proof_of_the_statement_has_a_reason(response, reason):
    assert _reason(response) == reason


def test_comments_nest_and_strings_hide_words():
    assert [t.text for t in tokens_of("a /- x /- y -/ z -/ b -- c\nd")] == ["a", "b", "d"]
    assert [t.kind for t in tokens_of(r'"a\"b" x')] == ["string", "name"]
    assert [t.text for t in tokens_of("h' h₁ Nat.succ_le' «a b».c 'x' 1.5")] == [
        "h'", "h₁", "Nat.succ_le'", "«a b».c", "'x'", "1.5",
    ]  # fmt: skip
    with pytest.raises(UnfinishedError):
        tokens_of("/- /- -/")


@pytest.mark.parametrize(
    "proof",
    [
        "sorry", "exact sorry", "admit", "exact sorryAx _ false", "native_decide", "decide +native",
        "exact Lean.ofReduceBool _ _ rfl", "trivial\naxiom h : False", "run_tac pure ()",
        "exact by_elab return default", "set_option maxHeartbeats 0 in omega", "trivial\n#eval 1",
        "trivial\ntheorem x : True := trivial", "trivial\nend Foo", "trivial\nnamespace Foo",
        "trivial\n@[simp] def x := 1", "trivial\nmacro \"x\" : tactic => `(tactic| skip)",
        "trivial\nnotation \"x\" => 1", "trivial\nunsafe def x := 1", "«sorry»",
        "have «a\n\"» : True := trivial\n  sorry\n  -- \"", "simproc x (1) := fun _ => none",
        "exact absurd s!\"{(by trivial : True)}\" h", "trivial\nalias x := y",
        "exact _root_.sorryAx _", "trivial\nopaque x : False", "trivial\n#print axioms x",
    ],
)  # fmt: skip
def test_forbidden_words_are_found(proof):
    assert forbidden_word(" by\n  " + proof) is not None


@pytest.mark.parametrize(
    "proof",
    ["omega -- sorry", "/- axiom -/ simp", 'exact absurd "sorry" h', "exact h.end", "exact sorry'",
     "simp [h.section]", "exact not_sorry", "exact @foo [1]", "open Nat in omega", "constructor"],
)  # fmt: skip
def test_harmless_uses_are_not(proof):
    assert forbidden_word(proof) is None


def test_callers_forbid_further_names_and_may_allow_sorry():
    assert forbidden_word("first | grind | omega", ("grind",)) == "grind"
    assert forbidden_word("exact grinding", ("grind",)) is None
    assert forbidden_word('have «a\n"» : True := trivial\n  grind\n  -- "', ("grind",)) == "grind"
    assert forbidden_word('exact f "{a}" h!', ("grind",)) is None
    assert forbidden_word("have h : P := by sorry", allow_sorry=True) is None
