"""A batch that is being sampled tells how far it is."""

from __future__ import annotations

import threading
from collections import defaultdict
from types import SimpleNamespace

import pytest

from algorithms.runtime.watch import watched


def buffer() -> SimpleNamespace:
    return SimpleNamespace(finished_keys=defaultdict(set), failure_keys=defaultdict(set))


def test_prompts_that_are_through_are_told_while_the_block_runs():
    seen, told = threading.Event(), []
    prompts = buffer()

    def tell(count: int) -> None:
        told.append(count)
        if count == 3:
            seen.set()

    with watched(prompts, tell, seconds=0.01):
        prompts.finished_keys["train"] |= {"a", "b"}
        prompts.failure_keys["train"] |= {"c"}
        assert seen.wait(5)
    assert told[-1] == 3


def test_it_ends_with_the_block_also_where_that_fails():
    before = threading.active_count()
    with pytest.raises(ValueError, match="x"), watched(buffer(), lambda _: None, seconds=0.01):
        raise ValueError("x")
    assert threading.active_count() == before
