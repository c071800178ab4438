"""Verdicts remembered by content: verifier, response, ground truth, options and settings."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from rewards.verdict import Verdict

_VARIABLE = "VERL_PI_VERIFIER_CACHE"
_DEFAULT_MB = 64
_ENTRY_BYTES = 400  # key, verdict and their places, without the feedback


class Cache:
    """The verdicts used last, up to a number of bytes. Safe to use from several threads."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._verdicts: OrderedDict[bytes, Verdict] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._verdicts)

    def get(self, key: bytes) -> Verdict | None:
        """The verdict as it was, with `seconds` 0."""
        with self._lock:
            verdict = self._verdicts.get(key)
            if verdict is not None:
                self._verdicts.move_to_end(key)
            return verdict

    def put(self, key: bytes, verdict: Verdict) -> None:
        size = _size(verdict)
        if size > self._max_bytes:
            return
        held = Verdict(verdict.passed, verdict.score, verdict.reason, verdict.feedback, 0.0)
        with self._lock:
            if key in self._verdicts:
                return
            self._verdicts[key] = held
            self._bytes += size
            while self._bytes > self._max_bytes:
                self._bytes -= _size(self._verdicts.popitem(last=False)[1])

    def clear(self) -> None:
        with self._lock:
            self._verdicts.clear()
            self._bytes = 0


def key_of(
    verifier: str, response: str, ground_truth: str, extra: Mapping[str, Any], settings: Any = ()
) -> bytes | None:
    """What a verdict depends on, as a digest; None if the options are not plain data.

    JSON has texts alone as keys of objects: options with others are no plain data.
    """
    try:
        if not _keys_are_texts(extra):
            return None
        options = json.dumps([settings, dict(extra)], sort_keys=True)
    except (TypeError, ValueError, RecursionError):
        return None
    digest = hashlib.blake2b(digest_size=16)
    for text in (verifier, response, ground_truth, options):
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.digest()


def _keys_are_texts(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _keys_are_texts(held) for key, held in value.items())
    return not isinstance(value, list | tuple) or all(map(_keys_are_texts, value))


def enabled() -> bool:
    """Whether VERL_PI_VERIFIER_CACHE allows it: 0 is off, another number the size in MB."""
    return _megabytes() > 0


def shared() -> Cache:
    """This process's cache."""
    global _shared
    size = _megabytes() * 2**20
    with _making:
        if _shared is None or _shared._max_bytes != size:
            _shared = Cache(size)
        return _shared


def _megabytes() -> int:
    text = os.environ.get(_VARIABLE, "") or str(_DEFAULT_MB)
    if not text.isdecimal():
        raise ValueError(
            f"{_VARIABLE}={text!r}: a whole number of MB is needed, 0 to switch it off"
        )
    return int(text)


def _size(verdict: Verdict) -> int:
    return _ENTRY_BYTES + 4 * len(verdict.feedback)


_shared: Cache | None = None
_making = threading.Lock()


def _forget() -> None:
    """A forked child may have been made while another thread held a lock."""
    global _shared, _making
    _shared, _making = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)
