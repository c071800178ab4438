"""What is asked for a hint, and what is kept of the answer."""

from __future__ import annotations

import pytest

from algorithms.hints import hint_of, hint_request


def test_the_request_shows_the_task_and_its_answer():
    messages = [
        {"role": "system", "content": "Prove."},
        {"role": "user", "content": [{"type": "text", "text": "a + b = {b} + a"}]},
    ]
    (request,) = hint_request(messages, "exact {h}")
    assert request["role"] == "user"
    assert "a + b = {b} + a" in request["content"] and "exact {h}" in request["content"]
    assert "Prove." not in request["content"]


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ("Swap them. Use h! Then rw? Then more.", "Swap them. Use h! Then rw?"),
        ("  no full stop", "no full stop"),
        (" \n", None),
    ],
)
def test_three_sentences_are_kept(answer, hint):
    assert hint_of(answer) == hint
