"""What is kept of finished rows, and what of it a prompt can begin with."""

from __future__ import annotations

import random

import pytest
import torch

from algorithms.runtime.cpu.prefix_store import PrefixStore


def states(tokens: tuple[int, ...]) -> torch.Tensor:
    """One layer, one head: keys and values that name their token."""
    return torch.tensor(tokens, dtype=torch.float32).view(1, 1, 1, -1, 1).repeat(2, 1, 1, 1, 1)


def put(store: PrefixStore, tokens: tuple[int, ...]) -> None:
    store.put(tokens, states(tokens))


def test_a_prompt_begins_with_the_longest_known_sequence():
    store = PrefixStore(1 << 20)
    put(store, (1, 2, 3))
    put(store, (1, 2, 3, 4, 5))
    assert store.longest((1, 2, 3, 4, 5, 6))[1] == 5
    assert store.longest((1, 2, 3, 4))[1] == 3
    assert store.longest((1, 2, 3))[1] == 0  # something has to be computed
    assert store.longest((2, 3, 4, 5))[1] == 0


def test_a_common_beginning_alone_is_not_shared():
    store = PrefixStore(1 << 20)
    put(store, tuple(range(64)))
    assert store.longest((*range(63), 999, 999))[1] == 0
    assert store.longest(tuple(range(64)))[1] == 0


def test_what_was_not_used_for_longest_goes_first():
    one = states(tuple(range(8))).nbytes
    store = PrefixStore(3 * one)
    names = [tuple(range(100 * i, 100 * i + 8)) for i in range(4)]
    for name in names[:3]:
        put(store, name)
    assert store.longest((*names[0], 7))[1] == 8
    put(store, names[3])
    assert [store.longest((*name, 7))[1] for name in names] == [8, 0, 8, 8]
    assert len(store) == 3 and store.bytes == 3 * one


def test_what_alone_is_too_large_is_not_kept():
    store = PrefixStore(states((1, 2)).nbytes)
    put(store, (1, 2))
    put(store, (1, 2, 3))
    assert store.longest((1, 2, 3, 4))[1] == 2


def test_only_a_whole_sequence_is_continued():
    store = PrefixStore(1 << 20)
    put(store, tuple(range(37)))
    assert store.continues((*range(37), 7))
    assert not store.continues((*range(32), 99, 99, 99, 99, 99, 99))
    assert not store.continues(tuple(range(37)))


@pytest.mark.parametrize("limit", [600, 3000, 1 << 20])
def test_against_looking_at_every_sequence(limit):
    """Random sequences over two tokens, so that many begin alike."""
    rng = random.Random(limit)
    store = PrefixStore(limit)
    known: set[tuple[int, ...]] = set()
    hits = 0
    for _ in range(400):
        tokens = tuple(rng.randrange(2) for _ in range(rng.randint(1, 12)))
        put(store, tokens)
        known = {t for t in known | {tokens} if t in store._states}
        prompt = tuple(rng.randrange(2) for _ in range(rng.randint(1, 20)))
        found, length = store.longest(prompt)
        begun = [len(t) for t in known if len(t) < len(prompt) and prompt[: len(t)] == t]
        assert length == max(begun, default=0) and store.continues(prompt) == bool(begun)
        if found is not None:
            hits += 1
            assert tuple(found[0, 0, 0, :, 0].int().tolist()) == prompt[:length]
    assert store.bytes == sum(s.nbytes for s in store._states.values()) <= limit
    assert len(store) == len(known) > 3 and hits > 20
