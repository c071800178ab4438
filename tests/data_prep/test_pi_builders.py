"""Each builder of privileged information: what it gives, and what must never be in it."""

from __future__ import annotations

import json
import re
import runpy
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import pi
from data_prep.errors import DataError
from data_prep.family import make_row
from data_prep.pi.answer_forms import answer_form, number, same_answers
from data_prep.pi.written import Attempt

ROOT = Path(__file__).parents[2]


def row(truth: Any = "", verifier="math", question="What?", **privileged):
    return make_row(
        data_source="own", prompt=question, ability=verifier, verifier=verifier,
        ground_truth=truth, split="train", index=0, privileged=privileged, family="own",
    )  # fmt: skip


def one(kind, given_row, seed=0):
    return pi.contents([given_row], kind, seed)[0]


# --- answers -------------------------------------------------------------------------------------


def test_gold_answers_come_from_the_entry_or_from_the_ground_truth():
    assert one("gold_answer", row("7")) == "7"
    assert one("gold_answer", row("7", gold_answer="seven")) == "seven"
    assert one("gold_answer", row("x = 1", verifier="lean")) is None
    assert one("gold_answer", row("[a-z]+", verifier="regex")) is None


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("1/2", "0.5"),
        ("\\frac{1}{2}", "$\\dfrac12$"),
        ("1,234", "1234."),
        ("1{,}234", "1234.0"),
        ("x = 5", "5"),
        ("\\text{Evelyn}", "evelyn"),
        ("\\boxed{-3}", "−3"),
        ("90^\\circ", "90"),
        ("-\\frac{6}{4}", "\\frac{-3}{2}"),
        ("\\left( 3, \\pi \\right)", "(3,\\pi)"),
    ],
)
def test_answers_that_differ_in_looks_alone_have_one_form(left, right):
    assert answer_form(left) == answer_form(right)


def test_plain_numbers():
    assert [number(text) for text in ("1/0", "1/2/3", "2x", "", "1e9", "(1,2)", "9" * 500)] == [
        None
    ] * 7
    assert number("\\frac{-3}{6}") == number("-.5")


def test_equal_expressions_are_found_by_the_verifier():
    pairs = [
        ("2\\sqrt{3}", "\\sqrt{12}"),
        ("(x+1)^2", "x^2+2x+1"),
        ("50\\%", "0.5"),
        ("x+1", "x+2"),
        ("12", "13"),
        ("7", "7.0"),
    ]
    assert same_answers(pairs) == [True, True, True, False, False, True]


ANSWERS = st.one_of(
    st.integers(-20, 20).map(str),
    st.tuples(st.integers(-9, 9), st.integers(1, 9)).map(lambda f: f"\\frac{{{f[0]}}}{{{f[1]}}}"),
    st.tuples(st.integers(-9, 9), st.integers(1, 9)).map(lambda f: f"{f[0]}/{f[1]}"),
    st.integers(-40, 40).map(lambda n: str(n / 4)),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(ANSWERS, max_size=40), st.integers(0, 3))
def test_a_wrong_answer_is_never_the_own_one(answers, seed):
    rows = [row(answer) for answer in answers]
    most = max(Counter(answer_form(a) for a in answers).values(), default=0)
    if 2 * most > len(answers):
        with pytest.raises(DataError, match="more than half of the rows"):
            pi.contents(rows, "wrong_answer", seed)
        return
    wrong = pi.contents(rows, "wrong_answer", seed)
    assert Counter(wrong) == Counter(answers)
    assert all(number(w or "") != number(_plain(a)) for w, a in zip(wrong, answers, strict=True))
    assert wrong == pi.contents(rows, "wrong_answer", seed)


def _plain(text):
    return re.sub(r"\\frac\{(-?\d+)\}\{(\d+)\}", r"\1/\2", text)


def test_equivalent_expressions_are_drawn_again():
    answers = ["\\sqrt{12}", "2\\sqrt{3}", "\\sqrt{8}", "2\\sqrt{2}"]
    wrong = pi.contents([row(a) for a in answers], "wrong_answer", seed=1)
    root = dict(zip(answers, (12, 12, 8, 8), strict=True))
    assert all(root[w or ""] != root[a] for w, a in zip(wrong, answers, strict=True))
    assert pi.scatter(answers, seed=1)[1] == 0, "without the verifier this seed pairs equal ones"


def test_frequent_answers_do_not_tell_each_other():
    """With a shift every 1 would get a 2: the wrong answer would tell the right one."""
    answers = ["1"] * 400 + ["2"] * 300 + ["3"] * 300
    wrong = pi.contents([row(a) for a in answers], "wrong_answer")
    assert set(wrong[:400]) == {"2", "3"}
    assert 0.3 < Counter(wrong[:400])["2"] / 400 < 0.7


def test_wrong_answers_of_many_rows_are_quick():
    target = pi.scatter([str(i % 1000) for i in range(100_000)], seed=0)
    assert sorted(target) == list(range(100_000))
    assert all(i % 1000 != j % 1000 for i, j in enumerate(target))


# --- gibberish ------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(st.text(min_size=1, max_size=200), st.integers(0, 3))
def test_matched_gibberish_has_the_length_and_nothing_else(solution, seed):
    if not solution.strip():
        return
    content = one("matched_gibberish", row(gold_solution=solution), seed) or ""
    shape = [len(word) for word in re.findall(r"\S+", solution)]
    assert [len(word) for word in re.findall(r"\S+", content)] == shape
    assert len(content) == len(solution)
    words = set(re.findall(r"[a-z]+", solution.lower()))
    assert not words & set(re.findall(r"[a-z]+", content))
    assert not re.search(r"[0-9\\]", content)


def test_gibberish_is_seeded_by_the_row():
    rows = [row(question=q, gold_solution="some words of a proof") for q in ("a?", "b?")]
    first = pi.contents(rows, "matched_gibberish", 0)
    assert first == pi.contents(rows, "matched_gibberish", 0)
    assert first != pi.contents(rows, "matched_gibberish", 1)
    assert first[0] != first[1]


# --- skeletons -----------------------------------------------------------------------------------

NAMES = st.sampled_from(["omega", "simp [h]", "exact foo.bar", "rfl"])


@settings(max_examples=100, deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=5))
def test_a_skeleton_never_holds_a_proof_of_a_step(blocks):
    steps = [f"  have h{i} : P{i} := by\n    secret{i}\n    {b}" for i, b in enumerate(blocks)]
    proof = "\n".join([*steps, "  exact done"])
    content = one("skeleton", row("theorem t : P := by", "lean", gold_solution=proof)) or ""
    assert content.count(":= by sorry") == len(blocks)
    assert "secret" not in content and content.endswith("exact done")


# --- tests of programs ---------------------------------------------------------------------------


def test_test_suites_of_all_three_forms():
    humaneval = {"kind": "humaneval", "prompt": "", "test": "def check(f):\n    assert f(1)\n",
                 "entry_point": "f"}  # fmt: skip
    asserts = {"kind": "asserts", "tests": ["assert f(1)", "assert f(2)"], "setup": "import re"}
    stdio = {"kind": "stdio", "cases": [{"input": "1\n", "output": "2\n"}]}
    assert [one("test_suite", row(t, "code")) for t in (humaneval, asserts, stdio)] == [
        "def check(f):\n    assert f(1)\n\ncheck(f)",
        "import re\nassert f(1)\nassert f(2)",
        "input:\n1\noutput:\n2",
    ]
    assert one("test_suite", row("12")) is None


def test_shuffled_test_suites_are_of_another_problem():
    rows = [row({"kind": "asserts", "tests": [f"assert f({n % 4})"]}, "code") for n in range(20)]
    rows.insert(7, row("12"))
    own = pi.contents(rows, "test_suite")
    other = pi.contents(rows, "shuffled_test_suite", 3)
    assert Counter(own) == Counter(other) and other[7] is None
    assert all(a != b for a, b in zip(own, other, strict=True) if a is not None)


# --- tools ---------------------------------------------------------------------------------------


def test_tool_calls_of_the_gold_actions():
    truth = {"actions": [{"name": "find", "kwargs": {"id": "#W1", "n": [1]}}, {"name": "stop"}],
             "outputs": []}  # fmt: skip
    rows = [row(truth, "tool_use"), row({"actions": [], "outputs": []}, "tool_use"), row("1")]
    assert pi.contents(rows, "tool_calls_and_arguments") == [
        '1. find(id="#W1", n=[1])\n2. stop()', None, None,
    ]  # fmt: skip
    assert pi.contents(rows, "tool_calls_only") == ["1. find\n2. stop", None, None]


# --- from attempts -------------------------------------------------------------------------------


def uid_row(uid):
    return {**row(question=f"Task {uid}"), "uid": uid}


ATTEMPTS = {
    "a": [Attempt("bad try", False, "compile_error", "line 1: unknown `x`\n"),
          Attempt("a longer good try", True, "ok"), Attempt("good try", True, "ok")],
    "b": [Attempt("", False, "verifier_error", "it broke"),
          Attempt("wrong", False, "wrong_answer")],
}  # fmt: skip


def test_type_checker_words_of_the_first_failure():
    rows = [uid_row("a"), uid_row("b"), uid_row("c")]
    assert pi.attempt_contents(rows, "type_checker", ATTEMPTS) == [
        "line 1: unknown `x`", None, None,
    ]  # fmt: skip


def test_hints_and_diagnoses_are_written_from_the_right_attempt():
    asked = []

    def generate(conversations):
        asked.extend(c[0]["content"] for c in conversations)
        return ["<think>hm</think> One. Two! Three? Four." for _ in conversations]

    rows = [uid_row("a"), uid_row("b"), uid_row("c")]
    for kind in ("hint", "cross_model_hint"):
        found = pi.attempt_contents(rows, kind, ATTEMPTS, generate)
        assert found == ["One. Two! Three?", None, None]
    assert "good try" in asked[0] and "longer" not in asked[0] and "Task a" in asked[0]
    asked.clear()
    assert pi.attempt_contents(rows, "failure_diagnosis", ATTEMPTS, generate) == [
        "One. Two! Three?", "One. Two! Three?", None,
    ]  # fmt: skip
    assert "unknown `x`" in asked[0] and "bad try" in asked[0]
    assert "nothing but that it is wrong" in asked[1]


def test_a_model_that_gives_too_few_texts_is_refused():
    with pytest.raises(DataError, match="0 texts for 1 conversations"):
        pi.attempt_contents([uid_row("a")], "hint", ATTEMPTS, lambda conversations: [])


def test_what_is_missing_is_named():
    with pytest.raises(DataError, match=r"a model writes it.*add model="):
        pi.attempt_contents([uid_row("a")], "hint", ATTEMPTS)
    with pytest.raises(DataError, match="no model writes `gibberish`"):
        pi.attempt_contents([uid_row("a")], "gibberish", ATTEMPTS)
    with pytest.raises(DataError, match="it comes from attempts"):
        pi.contents([], "hint")


def test_every_kind_is_json_text_or_nothing():
    """Contents go into parquet: text, whatever the row is like."""
    rows = [row("1"), row("2", gold_solution="One. Two."), row({"actions": []}, "tool_use")]
    for kind in pi.BUILDERS:
        for content in pi.contents(rows, kind):
            assert content is None or (isinstance(content, str) and json.dumps(content))


def test_the_page_shows_what_the_builders_give():
    page = runpy.run_path(str(ROOT / "scripts" / "pi_page.py"))["page"]

    written_page = ROOT / "docs" / "pi.md"
    assert written_page.read_text() == page(), "python scripts/pi_page.py > docs/pi.md"
    for kind in (*pi.BUILDERS, *pi.ATTEMPT_KINDS):
        assert f"### `{kind}`" in page()
