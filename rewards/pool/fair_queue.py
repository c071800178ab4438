"""Batches of calls that wait for workers, taken in turn: a long batch holds no other one back."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Any

from rewards.verdict import Verdict


class PoolClosedError(RuntimeError):
    """The pool takes no more calls."""


@dataclass(frozen=True)
class Call:
    """One answer to judge: by what, within which limits."""

    target: str
    response: str
    ground_truth: str
    extra: Any
    seconds: float
    memory_mb: float


@dataclass(frozen=True)
class Answer:
    """A verdict; `settled` is False where another try might end differently."""

    verdict: Verdict
    settled: bool


class Batch:
    """Calls that were submitted together, and their answers in that order."""

    def __init__(self, calls: Sequence[Call]) -> None:
        self.calls = calls
        self.future: Future[list[Answer]] = Future()
        self._answers: list[Answer | None] = [None] * len(calls)
        self._open = len(calls)
        self._lock = threading.Lock()
        self.tries: dict[int, int] = {}

    def answer(self, place: int, answer: Answer) -> None:
        with self._lock:
            if self._answers[place] is None:
                self._open -= 1
            self._answers[place] = answer
            complete = self._open == 0
        if complete and not self.future.done():
            # Cancelled in between: nobody waits any more.
            with _forgotten:
                self.future.set_result([a for a in self._answers if a is not None])

    def fail(self, error: BaseException) -> None:
        with _forgotten:
            self.future.set_exception(error)


class _Forgotten:
    """Suppresses the error of answering a future that was cancelled."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        return kind is not None and issubclass(kind, InvalidStateError)


_forgotten = _Forgotten()


@dataclass
class _Waiting:
    batch: Batch
    next: int = 0
    again: deque[int] = field(default_factory=deque)

    def left(self) -> int:
        return 0 if self.batch.future.done() else len(self.again) + self._unread()

    def _unread(self) -> int:
        return len(self.batch.calls) - self.next

    def take(self, size: int) -> list[int]:
        """Up to `size` places whose calls go to one verifier within the same limits."""
        calls, taken = self.batch.calls, []
        while len(taken) < size and (self.again or self._unread()):
            place = self.again[0] if self.again else self.next
            if taken and _kind(calls[place]) != _kind(calls[taken[0]]):
                break
            if self.again:
                self.again.popleft()
            else:
                self.next += 1
            taken.append(place)
        return taken


def _kind(call: Call) -> tuple[str, float, float]:
    return call.target, call.seconds, call.memory_mb


class FairQueue:
    """What waits, one entry a batch."""

    def __init__(self) -> None:
        self._waiting: deque[_Waiting] = deque()
        self._condition = threading.Condition()
        self._closed = False

    def put(self, batch: Batch) -> None:
        with self._condition:
            if self._closed:
                raise PoolClosedError("the pool is closed")
            self._waiting.append(_Waiting(batch))
            self._condition.notify_all()

    def put_back(self, batch: Batch, places: Sequence[int]) -> None:
        """These have to be judged by another worker, before the others of their batch."""
        if not places:
            return
        with self._condition:
            held = next((w for w in self._waiting if w.batch is batch), None)
            if held is None:
                held = _Waiting(batch, next=len(batch.calls))
                self._waiting.appendleft(held)
            held.again.extend(places)
            self._condition.notify_all()

    def take(self, size: int, sharers: int) -> tuple[Batch, list[int]] | None:
        """Up to `size` calls of the batch whose turn it is, and of a batch that is nearly done
        no more than one of `sharers` workers should get. Blocks; None when closed and empty.
        """
        with self._condition:
            while True:
                while self._waiting:
                    waiting = self._waiting.popleft()
                    left = waiting.left()
                    if left == 0:
                        continue
                    places = waiting.take(max(1, min(size, -(-left // sharers))))
                    if waiting.left():
                        self._waiting.append(waiting)
                    return waiting.batch, places
                if self._closed:
                    return None
                self._condition.wait()

    def close(self) -> None:
        """Nothing more is put in; what is there is still given out."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def abandon(self) -> list[Batch]:
        """Close, and give back what nobody will judge."""
        with self._condition:
            self._closed = True
            left = [waiting.batch for waiting in self._waiting]
            self._waiting.clear()
            self._condition.notify_all()
        return left
