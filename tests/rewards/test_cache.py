"""What is judged again and what is not, through `rewards.verify_batch`."""

from __future__ import annotations

import math
import os
import threading
from collections import Counter

import pytest

import rewards
from rewards import Verdict
from rewards.cache import Cache, key_of


class _Counting:
    """Counts how often it judges what; the response may name the reason of its verdict."""

    ISOLATION = "own"
    judged: Counter[str]

    def __init__(self) -> None:
        self.judged = Counter()
        self._lock = threading.Lock()

    def __call__(self, response, ground_truth, **extra):
        with self._lock:
            self.judged[response] += 1
        if response in rewards.REASONS[1:]:
            return Verdict.failed(response, "said before", seconds=0.5)
        return Verdict.ok(0.5, feedback=str(extra.get("note", "")))


class _Uncacheable(_Counting):
    CACHEABLE = False


@pytest.fixture
def counting(request):
    """A verifier of its own for each test, since the cache is shared."""
    name = f"counting {request.node.name}"
    verifier = type(f"_{abs(hash(name))}", (_Counting,), {"CACHEABLE": True})()
    rewards.register_verifier(name)(verifier)
    return name, verifier.judged


def test_what_was_judged_before_costs_nothing(counting):
    name, judged = counting
    first = rewards.verify(name, "a", "b", note="n")
    again = rewards.verify(name, "a", "b", note="n")
    assert judged == {"a": 1}
    assert (first.seconds, again.seconds) == (0.5, 0.0)
    assert (again.passed, again.feedback) == (True, "n")


def test_twins_in_one_batch_are_judged_once_and_in_order(counting):
    name, judged = counting
    items = [(name, "a", "t", {}), (name, "b", "t", {}), (name, "a", "t", {}), (name, "a", "u", {})]
    verdicts = rewards.verify_batch(items)
    assert judged == {"a": 2, "b": 1}
    assert [v.seconds for v in verdicts] == [0.5, 0.5, 0.0, 0.5]


def test_everything_that_a_verdict_depends_on_counts(counting, monkeypatch):
    name, judged = counting
    rewards.verify(name, "a", "b")
    rewards.verify(name, "a", "c")
    rewards.verify(name, "a", "b", note="n")
    rewards.verify(name, "ab", "")
    monkeypatch.setenv("VERL_PI_SOME_FOLDER", "elsewhere")
    rewards.verify(name, "a", "b")
    assert judged == {"a": 4, "ab": 1}


@pytest.mark.parametrize("reason", ["timeout", "memory", "verifier_error"])
def test_what_may_come_out_differently_is_judged_again(counting, reason):
    name, judged = counting
    assert rewards.verify(name, reason, "").reason == reason
    assert rewards.verify(name, reason, "").seconds == 0.5
    assert judged == {reason: 2}


@pytest.mark.parametrize("reason", ["wrong_answer", "compile_error", "runtime_error", "malformed"])
def test_other_failures_are_remembered(counting, reason):
    name, judged = counting
    assert rewards.verify(name, reason, "") == Verdict.failed(reason, "said before", 0.5)
    assert rewards.verify(name, reason, "") == Verdict.failed(reason, "said before", 0.0)
    assert judged == {reason: 1}


def test_a_call_that_ended_its_worker_is_judged_again(tmp_path):
    rewards.register_verifier("test_hostile", "hostile_verifiers:Hostile")
    pids = [rewards.verify("test_hostile", "pid", "").feedback for _ in range(2)]
    assert pids[0] == pids[1]
    for _ in range(2):
        verdict = rewards.verify("test_hostile", "exit", "3")
        assert verdict.reason == "runtime_error" and verdict.seconds > 0


def test_options_that_are_no_plain_data_are_not_remembered(counting):
    name, judged = counting
    for _ in range(2):
        rewards.verify(name, "a", "b", note=object())
    assert judged == {"a": 2}


def test_numbers_as_keys_are_not_taken_for_their_texts(counting):
    name, judged = counting
    for note in ({"1": "a"}, {1: "a"}, [{"1": "a"}], [{1: "a"}], {None: 0}, {"null": 0}):
        assert rewards.verify(name, "a", "b", note=note).feedback == str(note)
    assert judged == {"a": 6}


def test_a_verifier_may_refuse_to_be_cached(counting, monkeypatch):
    rewards.register_verifier("uncacheable")(_Uncacheable)
    rewards.verify_batch([("uncacheable", "a", "b", {})] * 3)
    assert rewards.get_verifier("uncacheable").judged == {"a": 3}  # pyright: ignore
    name, judged = counting
    monkeypatch.setenv("VERL_PI_VERIFIER_CACHE", "0")
    rewards.verify_batch([(name, "a", "b", {})] * 3)
    assert judged == {"a": 3}


def test_the_size_is_a_number(counting, monkeypatch):
    monkeypatch.setenv("VERL_PI_VERIFIER_CACHE", "plenty")
    with pytest.raises(ValueError, match="VERL_PI_VERIFIER_CACHE='plenty'"):
        rewards.verify(counting[0], "a", "b")


def test_it_keeps_what_was_used_last_within_its_bytes():
    cache = Cache(max_bytes=100_000)
    for number in range(1000):
        cache.put(str(number).encode(), Verdict.failed("wrong_answer", "x" * 100))
        cache.get(b"0")
    assert 50 < len(cache) < 250
    assert cache.get(b"0") is not None and cache.get(b"999") is not None
    assert cache.get(b"1") is None
    cache.put(b"huge", Verdict.failed("wrong_answer", "x" * 100_000))
    assert cache.get(b"huge") is None


def test_threads_share_it():
    cache = Cache(max_bytes=50_000)

    def use(seed: int) -> None:
        for number in range(2000):
            key = os.urandom(1) if number % 2 else bytes([number % 256])
            found = cache.get(key)
            assert found is None or found.feedback == key.hex()
            cache.put(key, Verdict.failed("wrong_answer", key.hex()))

    threads = [threading.Thread(target=use, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0 < len(cache) <= 256


def test_keys_tell_apart_what_differs():
    keys = [
        key_of("v", "ab", "c", {}),
        key_of("v", "a", "bc", {}),
        key_of("va", "b", "c", {}),
        key_of("v", "ab", "c", {"x": 1}),
        key_of("v", "ab", "c", {"x": True}),
        key_of("v", "ab", "c", {"x": math.nan}),
        key_of("v", "\ud800", "c", {}),
        key_of("v", "\0", "c", {}),
    ]
    assert None not in keys and len(set(keys)) == len(keys)
    assert key_of("v", "a", "b", {"x": 1, "y": 2}) == key_of("v", "a", "b", {"y": 2, "x": 1})
