"""Both views of a data row, by a stage's sampling settings."""

from __future__ import annotations

from typing import Any

import pytest
from tiny_model import save_model
from transformers import AutoTokenizer

from algorithms.runtime.prompts import privileged_content, row_views
from algorithms.runtime.stages import Sampling
from algorithms.views import ViewOverflow

ROW: dict[str, Any] = {
    "uid": "a",
    "privileged": [
        {"kind": "skeleton", "content": "w30 w31"},
        {"kind": "gibberish", "content": "w40"},
    ],
}
MESSAGES = [{"role": "system", "content": "w2"}, {"role": "user", "content": "w3 w4"}]
TEMPLATE = {"position": "system", "template": "w9 {pi} w10"}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return AutoTokenizer.from_pretrained(save_model(tmp_path_factory.mktemp("tiny")))


def test_content_is_found_by_kind():
    assert privileged_content(ROW, "skeleton") == "w30 w31"
    assert privileged_content(ROW, "gibberish") == "w40"


@pytest.mark.parametrize("kind", [None, "none", "gold_solution"])
def test_no_content_of_a_kind_is_none(kind):
    assert privileged_content(ROW, kind) is None


@pytest.mark.parametrize("row", [{}, {"privileged": None}, {"privileged": []}])
def test_a_row_without_privileged_information_has_no_content(row):
    assert privileged_content(row, "skeleton") is None


@pytest.mark.parametrize(
    ("position", "teacher"),
    [
        ("system", [2, 9, 30, 31, 10, 3, 4]),
        ("user_prefix", [2, 9, 30, 31, 10, 3, 4]),
        ("user_suffix", [2, 3, 4, 9, 30, 31, 10]),
    ],
)
def test_the_teachers_view_has_the_block_where_the_template_says(tokenizer, position, teacher):
    sampling = Sampling(pi_kind="skeleton", template={**TEMPLATE, "position": position})
    views = row_views(tokenizer, ROW, MESSAGES, sampling)
    assert views.student_ids == [2, 3, 4]
    assert views.teacher_ids == teacher


def test_the_kind_is_the_stages_choice(tokenizer):
    views = row_views(tokenizer, ROW, MESSAGES, Sampling(pi_kind="gibberish", template=TEMPLATE))
    assert views.teacher_ids == [2, 9, 40, 10, 3, 4]


@pytest.mark.parametrize("kind", [None, "none", "wrong_skeleton"])
def test_without_content_the_views_are_equal(tokenizer, kind):
    views = row_views(tokenizer, ROW, MESSAGES, Sampling(pi_kind=kind, template=TEMPLATE))
    assert views.student_ids == views.teacher_ids == [2, 3, 4]


def test_a_view_over_the_limit_is_refused(tokenizer):
    sampling = Sampling(pi_kind="skeleton", template=TEMPLATE, max_prompt_tokens=6)
    with pytest.raises(ViewOverflow, match="the teacher's prompt has 7 tokens, the limit is 6"):
        row_views(tokenizer, ROW, MESSAGES, sampling)
    assert row_views(tokenizer, {}, MESSAGES, sampling).student_ids == [2, 3, 4]


def test_chat_settings_reach_both_views(tokenizer):
    tokenizer = AutoTokenizer.from_pretrained(tokenizer.name_or_path)
    tokenizer.chat_template += "{% if closing %}{{ closing }}{% endif %}"
    sampling = Sampling(pi_kind="gibberish", template=TEMPLATE)
    views = row_views(tokenizer, ROW, MESSAGES, sampling, closing="w20")
    assert views.student_ids == [2, 3, 4, 20]
    assert views.teacher_ids == [2, 9, 40, 10, 3, 4, 20]
