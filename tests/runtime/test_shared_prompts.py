"""Packed rows with a common prompt: the layout, and which rows stay together.

That a model sees each row as if alone is tested with the attention (cpu/test_attention.py)."""

from __future__ import annotations

import random

import pytest
import torch
import torch.distributed as dist
from tiny import free_port

from algorithms.runtime.shared_prompts import (
    SharedPrompts,
    prompt_keys,
    prompts_together,
    rows_to_keep_together,
)

Rows = list[tuple[list[int], list[int]]]


def jagged(rows: Rows) -> torch.Tensor:
    whole = [torch.tensor([*prompt, *response]) for prompt, response in rows]
    return torch.nested.as_nested_tensor(whole, layout=torch.jagged)


def lengths(rows: Rows) -> list[int]:
    return [len(response) for _, response in rows]


def some_rows(seed: int, count: int = 7, tasks: int = 3) -> Rows:
    rng = random.Random(seed)
    prompts = [[rng.randrange(31) for _ in range(rng.randint(1, 6))] for _ in range(tasks)]
    return [
        (rng.choice(prompts), [rng.randrange(31) for _ in range(rng.randint(0, 8))])
        for _ in range(count)
    ]


def layout_of(rows: Rows) -> SharedPrompts:
    layout = SharedPrompts.of(jagged(rows), lengths(rows))
    assert layout is not None
    return layout


def test_rows_without_a_common_prompt_stay_as_they_are():
    assert SharedPrompts.of(jagged([([1, 2], [3]), ([1], [2, 3])]), [1, 2]) is None


@pytest.mark.parametrize("seed", range(20))
def test_every_token_is_found_again_and_every_prompt_is_there_once(seed):
    rows = some_rows(seed)
    flat = jagged(rows).values()
    layout = layout_of(rows)
    assert torch.equal(flat[layout.kept_U][layout.places_F], flat)
    distinct = {tuple(prompt) for prompt, _ in rows}
    assert len(layout.kept_U) == sum(map(len, distinct)) + sum(lengths(rows))
    assert sum(segment.length for segment in layout.segments) == len(layout.kept_U)


def test_rows_with_an_empty_prompt_share_nothing():
    rows: Rows = [([], [1, 2]), ([], [1, 2]), ([4], [5]), ([4], [6])]
    layout = layout_of(rows)
    assert [segment.prompt for segment in layout.segments] == [None, None, None, 2, 2]


def test_rows_are_ordered_by_prompt_and_otherwise_stay():
    rows: Rows = [([1], [0]), ([2], [1]), ([1], [2]), ([3], [3]), ([2], [4])]
    keys = prompt_keys(jagged(rows), lengths(rows))
    assert prompts_together(keys) == [0, 2, 1, 4, 3]


@pytest.fixture(scope="module")
def group():
    dist.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{free_port()}", rank=0, world_size=1
    )
    yield dist.group.WORLD
    dist.destroy_process_group()


@pytest.mark.parametrize(
    ("keys", "most", "expected"),
    [
        ("aaaabbbb", 40, 4),
        ("aaaabb", 40, 2),
        ("aaab", 40, 1),
        ("abab", 40, 1),
        ("aaaabbbb", 39, 1),  # a whole group is more than a micro-batch may hold
    ],
)
def test_as_many_rows_stay_together_as_all_groups_have(group, keys, most, expected):
    found = rows_to_keep_together(
        [key.encode() for key in keys], [10] * len(keys), most, torch.device("cpu"), group
    )
    assert found == expected
