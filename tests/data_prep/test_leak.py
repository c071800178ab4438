"""The leak guard finds what is the same, and lets pass what is not."""

from __future__ import annotations

import pickle

import pytest

from data_prep import core_lean
from data_prep.leak import LeakError, check_disjoint, find_leaks, normalise
from data_prep.schema import make_uid


def row(question: str, *, style: str = "rule", truth: str = "2"):
    task = {
        "data_source": "test",
        "prompt": [{"role": "user", "content": question}],
        "reward_model": {"style": style, "ground_truth": truth},
    }
    return {**task, "uid": make_uid(task)}


def lean(statement: str):
    return row(f"Prove it:\n{statement}", style="lean", truth=statement)


LONG = "Natalia sold clips to {} of her friends in April and then half as many clips in May"


def test_lean_statements_leak_under_any_name():
    train = [lean("theorem t (a b : Nat) (h : a = 3) : a * b = b * 3 := by")]
    renamed = lean("theorem other (x y : Nat) (e : x = 3) :\n  x*y = y*3 := by")
    constant = lean("theorem t (a b : Nat) (h : a = 4) : a * b = b * 4 := by")
    (leak,) = find_leaks(train, [renamed, constant])
    assert (leak.held_out_uid, leak.train_uid) == (renamed["uid"], train[0]["uid"])
    check_disjoint(train, [constant])


def test_equal_questions_leak_in_any_spelling():
    train = [row("What is  3 + 4?"), row("ﬁne")]
    leaks = find_leaks(train, [row("what IS 3 + 4 ?"), row("fine"), row("What is 3 * 4?")])
    assert [leak.reason for leak in leaks] == ["the same statement"] * 2


def test_shared_ngrams_leak():
    train = [
        row(LONG.format("48")),
        row("Something else that is about as long as the other one is"),
    ]
    (leak,) = find_leaks(train, [row(LONG.format("48") + ", please")])
    assert leak.reason == "shared 8-grams" and leak.overlap >= 0.8
    assert not find_leaks(train, [row(LONG.format("a few"))], overlap=1.0)
    assert not find_leaks(train, [row("Natalia sold clips to her friends")])


def test_a_template_that_all_rows_share_is_no_leak():
    template = "Solve the following problem step by step and put the answer in a box: "
    train = [row(template + f"number {i}") for i in range(40)]
    assert not find_leaks(train, [row(template + "number 99")])


def test_the_error_lists_the_offenders_and_survives_pickling():
    train = [row(f"question {i}") for i in range(25)]
    with pytest.raises(LeakError) as caught:
        check_disjoint(train, train)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(caught.value, ValueError) and copy.leaks == caught.value.leaks
    assert len(copy.leaks) == 25
    assert "25 held-out rows" in str(copy) and "and 5 more" in str(copy)
    assert train[0]["uid"] in str(copy) and "To mend it" in str(copy)


def test_the_bundled_splits_pass():
    warmup, train, held_out = (core_lean.load(split) for split in core_lean.SPLITS)
    check_disjoint([*warmup, *train], held_out)
    check_disjoint(warmup, train)
    assert find_leaks([*train, held_out[7]], held_out)


def test_normalised_text():
    assert normalise("  What’s  ﬁve\n× SIX? ") == "what s five six"
