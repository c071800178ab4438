"""Privileged information: each kind, and the controls that must never help."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep import core_lean, pi
from data_prep.canonical import fragment_pattern
from data_prep.errors import DataError
from data_prep.schema import privileged, validate_rows

TRAIN = core_lean.load("train")


def lean_row(proof: str | None, family: str = "a", stored: str | None = None):
    given_kinds = {"gold_solution": proof, "skeleton": stored}
    return {
        "extra_info": {"family": family},
        "privileged": [{"kind": k, "content": c} for k, c in given_kinds.items() if c is not None],
    }


def test_stored_and_derived_skeletons():
    rows = [
        lean_row("  have h : P := by x\n  exact h"),
        lean_row("  have h : P := by x\n  exact h", stored="  stored"),
        lean_row("  simp"),
        lean_row(None),
    ]
    assert pi.contents(rows, "skeleton") == [
        "  have h : P := by sorry\n  exact h", "  stored", None, None,
    ]  # fmt: skip


def test_gold_gibberish_and_none():
    rows = [lean_row("  simp"), lean_row(None)]
    assert pi.contents(rows, "gold_solution") == ["  simp", None]
    assert pi.contents(rows, "gibberish") == ["XYZZY", "XYZZY"]
    assert pi.contents(rows, "none") == [None, None]


@pytest.mark.parametrize("seed", range(5))
def test_wrong_skeletons_of_the_bundled_rows(seed):
    wrong = [content or "" for content in pi.contents(TRAIN, "wrong_skeleton", seed)]
    own = [content or "" for content in pi.contents(TRAIN, "skeleton")]
    assert Counter(wrong) == Counter(own)
    for content, mine in zip(wrong, own, strict=True):
        assert fragment_pattern(content) != fragment_pattern(mine)
    families = [row["extra_info"]["family"] for row in TRAIN]
    patterns = [fragment_pattern(content) for content in own]
    target = pi.derangement(families, patterns, seed)
    assert [own[j] for j in target] == wrong
    assert all(families[i] != families[j] for i, j in enumerate(target))
    assert wrong == pi.contents(TRAIN, "wrong_skeleton", seed)
    assert wrong != pi.contents(TRAIN, "wrong_skeleton", seed + 1)


def test_rows_without_a_skeleton_get_no_wrong_one():
    rows = [lean_row("  simp"), *(lean_row(None, s, f"  exact {s}.{s}") for s in "abc")]
    assert pi.contents(rows, "wrong_skeleton")[0] is None
    assert None not in pi.contents(rows, "wrong_skeleton")[1:]


def test_a_renamed_copy_is_no_wrong_skeleton():
    rows = [lean_row(None, "a", f"  exact f {x}") for x in "xyz"]
    with pytest.raises(DataError, match="more than half of the rows"):
        pi.contents(rows, "wrong_skeleton")


def test_an_unknown_kind_lists_the_known_ones():
    with pytest.raises(DataError, match="use one of skeleton, gold_solution, wrong_skeleton"):
        pi.contents([], "advice")


def test_attaching_keeps_the_rows_valid_and_replaces_a_kind():
    rows = pi.attach(pi.attach(TRAIN[:30], "gibberish"), "wrong_skeleton", seed=1)
    rows = pi.attach(rows, "wrong_skeleton", seed=2)
    assert validate_rows(rows) == rows
    assert [privileged(row, "wrong_skeleton") for row in rows] == pi.contents(
        TRAIN[:30], "wrong_skeleton", seed=2
    )
    assert [row["uid"] for row in rows] == [row["uid"] for row in TRAIN[:30]]
    assert len(TRAIN[0]["privileged"]) == 2


labelled = st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("uvwxyz")), max_size=30)


@settings(max_examples=300, deadline=None)
@given(labelled, st.integers(0, 5))
def test_derangements(pairs, seed):
    groups = [group for group, _ in pairs]
    # As in data: a content belongs to one group.
    contents = [f"{group}{content}" for group, content in pairs]
    most = max(Counter(contents).values(), default=0)
    if 2 * most > len(pairs):
        with pytest.raises(DataError):
            pi.derangement(groups, contents, seed)
        return
    target = pi.derangement(groups, contents, seed)
    assert sorted(target) == list(range(len(pairs)))
    assert all(contents[i] != contents[j] for i, j in enumerate(target))
    if 2 * max(Counter(groups).values(), default=0) <= len(pairs):
        assert all(groups[i] != groups[j] for i, j in enumerate(target))
