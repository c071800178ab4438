"""The leak guard finds what is the same, and lets pass what is not."""

from __future__ import annotations

import json
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import core_lean
from data_prep.__main__ import main
from data_prep.leak import LeakError, check_disjoint, find_leaks, normalise
from data_prep.schema import make_uid, write_rows


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


def write(path, questions):
    rows = [
        {**row(q), "ability": "math", "extra_info": {}, "privileged": [], "level": "", "split": "s"}
        for q in questions
    ]
    write_rows(path, rows, source="test")
    return str(path)


def test_the_command_reports_and_exits(tmp_path, capsys):
    train = write(tmp_path / "train.parquet", [LONG.format("48"), "What is 3 + 4?", "Another one"])
    held = write(tmp_path / "held.jsonl", ["what IS 3+4?", LONG.format("48") + "!", "A third one"])
    report = tmp_path / "report.json"
    assert main(["leak", train, held, f"report={report}"]) == 1
    shown = capsys.readouterr().out
    assert shown.startswith("2 of 3 held-out rows are among 3 training rows\n")
    written = json.loads(report.read_text())
    assert [found["reason"] for found in written["leaks"]] == [
        "the same statement", "shared 8-grams",
    ]  # fmt: skip
    assert written["train"] == "train.parquet" and written["held_out_rows"] == 3
    assert [found["train_uid"] for found in written["leaks"]] == [
        make_uid(row("What is 3 + 4?")), make_uid(row(LONG.format("48"))),
    ]  # fmt: skip


def test_the_command_says_when_nothing_leaks(tmp_path, capsys):
    train = write(tmp_path / "train.jsonl", [LONG.format("48")])
    held = write(tmp_path / "held.jsonl", ["What is 3 + 4?"])
    assert main(["leak", train, held]) == 0
    assert "0 of 1 held-out rows" in capsys.readouterr().out
    held = write(tmp_path / "held.jsonl", [LONG.format("52")])
    assert main(["leak", train, held, "ngram=4"]) == 0
    assert main(["leak", train, held, "ngram=4", "overlap=0.6"]) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone.parquet", "gone.parquet"], "there is no such file"),
        (["a.parquet"], "1 given"),
        (["a", "b", "overlap=2"], "overlap: found `2`"),
        (["a", "b", "ngram=x"], "ngram: found `x`"),
        (["a", "b", "overlp=1"], "did you mean `overlap`?"),
    ],
)
def test_the_command_refuses_bad_input(arguments, message, capsys):
    assert main(["leak", *arguments]) == 2
    assert message in capsys.readouterr().err


words = st.lists(
    st.sampled_from(["one", "two", "three", "four", "five", "six"]), min_size=1, max_size=14
)


@settings(max_examples=60, deadline=None)
@given(train=st.lists(words, max_size=6), held_out=st.lists(words, max_size=4))
def test_leaks_are_those_of_a_plain_search(train, held_out):
    """The hashes find what a comparison of sets of n-grams finds."""
    rows = [row(" ".join(question)) for question in train]
    held = [row(" ".join(question)) for question in held_out]

    def grams(question):
        return {tuple(question[i : i + 3]) for i in range(len(question) - 2)}

    expected = {
        " ".join(h)
        for h in held_out
        if any(h == t or (grams(h) and len(grams(h) & grams(t)) >= 0.8 * len(grams(h)))
               for t in train)
    }  # fmt: skip
    assert {found.text for found in find_leaks(rows, held, ngram=3)} == expected
