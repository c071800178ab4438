"""The teacher's prompts from the group that was sampled, without Ray."""

from __future__ import annotations

import torch
from test_collection import batch

from algorithms.runtime.group_views import show_the_group
from algorithms.views import PromptViews, ViewOverflow


def views(messages, content):
    if len(content) > 20:
        raise ViewOverflow("teacher", 99, 10)
    return PromptViews([2], [2, *map(ord, content)])


def test_a_sibling_that_passed_is_shown_to_the_others_of_its_task():
    rows = batch()
    metrics = show_the_group(
        rows, ["a", "a", "b", "pad"], "sibling_success", ["ok", "bad", "?", ""], views
    )
    assert [e.get("has_privileged") for e in rows.extra] == [False, True, False, None]
    assert rows.teacher_prompts[1].tolist() == [2, ord("o"), ord("k")]
    assert torch.equal(rows.teacher_prompts[0], torch.tensor([2, 3]))
    assert metrics == {"group_pi/shown_share": 1 / 3, "group_pi/overflow_share": 0.0}


def test_a_view_that_does_not_fit_leaves_the_row_without():
    rows = batch()
    texts = ["a success of many, many words", "bad", "?", ""]
    metrics = show_the_group(rows, ["a", "a", "b", "pad"], "sibling_success", texts, views)
    assert not any(e.get("has_privileged") for e in rows.extra)
    assert metrics["group_pi/overflow_share"] == 1 / 3
