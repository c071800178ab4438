"""The first step of a solution: of mathematics, of a proof, of a program; never all of it."""

from __future__ import annotations

import json

import pytest

from data_prep import core_lean, pi
from data_prep.family import make_row
from data_prep.schema import privileged


def step(solution, verifier="math", truth="7", **given):
    row = make_row(
        data_source="own", prompt="What?", ability=verifier, verifier=verifier, ground_truth=truth,
        split="train", index=0, privileged={"gold_solution": solution, **given},
    )  # fmt: skip
    return pi.contents([row], "first_step")[0]


@pytest.mark.parametrize(
    ("solution", "expected"),
    [
        ("She has 3 apples.\nSo \\boxed{3}", "She has 3 apples."),
        ("Let $f(x) = 2. X$ hold. Then \\boxed{4}.", "Let $f(x) = 2. X$ hold."),
        ("By Thm. A. B. Then it is 3.5 apart. Next: 1", "By Thm."),
        ("Mr. Smith has two. He gives one. \\boxed{1}", "Mr. Smith has two."),
        ("It is at\n\\[(2k, 4k).\\]Then 1", "It is at\n\\[(2k, 4k).\\]"),
        ("It is at\n\\[\\boxed{2}.\\]Then 1", None),
        ("Only one step", None),
        ("\\boxed{3}. That is all", None),
    ],
)
def test_sentences(solution, expected):
    assert step(solution) == expected


@pytest.mark.parametrize(
    ("proof", "expected"),
    [
        ("  have h : a = b := by\n    omega\n  rw [h]", "  have h : a = b := by\n    omega"),
        ("  -- told in words\n  intro x\n  exact x", "  intro x"),
        ("  simp; omega", "  simp"),
        ("  · simp\n  · omega", "  · simp"),
        ("  constructor\n  <;> simp\n  rfl", "  constructor\n  <;> simp"),
        ("  simp [a,\n  b]\n  rfl", "  simp [a,\n  b]"),
        ("  cases n with\n  | zero => rfl\n  | succ n => omega", None),
        ("  have h : 1 = 1 := by simp; rfl", None),
        ("  omega", None),
        ("  simp /- never closed", None),
    ],
)
def test_tactics(proof, expected):
    assert step(proof, "lean", "theorem t : P := by") == expected


HEAD = "def f(x):\n"


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        (f"{HEAD}    y = x + 1\n    return y", f"{HEAD}    y = x + 1"),
        (f'{HEAD}    """Told."""\n    y = (x +\n         1)\n    return y',
         f"{HEAD}    y = (x +\n         1)"),
        (f"{HEAD}    for i in x:\n        return i", f"{HEAD}    for i in x:"),
        (f"def g():\n    return 1\n{HEAD}    y = g()\n    return y\ndef h():\n    pass",
         f"{HEAD}    y = g()"),
        ("n = int(input())\nprint(n)", "n = int(input())"),
        (f"{HEAD}    return x + 1", None),
        ("def f(x): y = 1; return y", None),
        (f'{HEAD}    """Told."""', None),
        ("def f(:", None),
    ],
)  # fmt: skip
def test_statements(program, expected):
    truth = json.dumps({"kind": "asserts", "tests": ["assert f(1)"], "entry_point": "f"})
    found = step(f"```python\n{program}\n```", "code", truth)
    assert found == (expected and f"```python\n{expected}\n```")
    assert step(program, "code", truth) == found


def test_an_entry_of_its_own_comes_first():
    assert step("One. Two.", first_step="stored") == "stored"


def test_the_bundled_proofs_begin_with_their_step():
    rows = core_lean.load("train")
    for row, found in zip(rows, pi.contents(rows, "first_step"), strict=True):
        proof = privileged(row, "gold_solution") or ""
        assert found and proof.startswith(found) and len(found) < len(proof)
