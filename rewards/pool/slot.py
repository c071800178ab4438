"""A thread that keeps one worker at work: hands it calls, bounds each, and replaces it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from rewards.errors import RewardsError, VerifierContractError
from rewards.pool.fair_queue import Answer, Batch, Call, FairQueue
from rewards.pool.processes import Worker, ZygoteError, known_error
from rewards.pool.wire import WireError, encode
from rewards.verdict import Verdict

_MESSAGE_SECONDS = 0.02
_MESSAGE_CALLS = 64
_MESSAGE_CHARS = 1 << 20
_SEND_SECONDS = 60.0
_WALL_FACTOR = 8.0
#: A call whose worker was taken from it by something else is tried this often.
_TRIES = 2


class Slot(threading.Thread):
    """Takes calls from the queue until that is closed. `start_worker(target)` makes its worker."""

    def __init__(
        self, queue: FairQueue, sharers: int, start_worker: Callable[[str], Worker]
    ) -> None:
        super().__init__(name="verifier-slot", daemon=True)
        self._queue = queue
        self._sharers = sharers
        self._start_worker = start_worker
        self._mean_seconds = _MESSAGE_SECONDS
        self.worker: Worker | None = None
        self.replaced = 0

    def run(self) -> None:
        while (taken := self._queue.take(self._size(), self._sharers)) is not None:
            batch, places = taken
            try:
                self._judge(batch, places)
            except Exception as error:
                self._drop_worker()
                batch.fail(error)
            del taken, batch, places
        self._drop_worker()

    def _size(self) -> int:
        """So many calls that a message takes about _MESSAGE_SECONDS to judge."""
        return int(min(_MESSAGE_CALLS, max(1, _MESSAGE_SECONDS / self._mean_seconds)))

    def _judge(self, batch: Batch, places: list[int]) -> None:
        calls = [batch.calls[place] for place in places]
        fitting = _fitting(calls)
        message = _message(calls[:fitting])
        self._queue.put_back(batch, places[fitting:])
        if isinstance(message, str):
            self._refuse(batch, places[:fitting], message)
            return
        self._await(batch, places[:fitting], message)

    def _refuse(self, batch: Batch, places: list[int], why: str) -> None:
        """One call cannot be sent; of several it is not known which, so each goes alone."""
        if len(places) == 1:
            verdict = Verdict.failed("verifier_error", f"cannot be sent to a worker: {why}")
            batch.answer(places[0], Answer(verdict, settled=False))
            return
        for place in places:
            self._judge(batch, [place])

    def _await(self, batch: Batch, places: list[int], message: bytes) -> None:
        open_places = list(places)
        try:
            worker = self._worker_for(batch.calls[places[0]].target)
            worker.ask(message, _SEND_SECONDS)
            while open_places:
                answer = self._answer(worker, batch, open_places[0])
                open_places.pop(0)
                if answer["last"]:
                    self._drop_worker()
                    break
            self._queue.put_back(batch, open_places)
        except RewardsError:
            raise
        except _Stopped as stopped:
            batch.answer(open_places[0], stopped.answer)
            self._drop_worker()
            self._queue.put_back(batch, open_places[1:])
        except (ZygoteError, OSError) as error:
            self._try_again(batch, open_places, error)

    def _answer(self, worker: Worker, batch: Batch, place: int) -> dict[str, Any]:
        call = batch.calls[place]
        started = time.monotonic()
        try:
            answer = _within_time(worker, call.seconds, started)
            batch.answer(place, Answer(_verdict(answer, call), settled=_settled(answer)))
            answer["last"] = bool(answer.get("last"))
        except TimeoutError as err:
            worker.kill()
            took = time.monotonic() - started
            text = f"judging this answer takes more than {call.seconds:g} s"
            raise _Stopped(Verdict.failed("timeout", text, took)) from err
        except EOFError as err:
            raise _Stopped(self._death(worker, time.monotonic() - started)) from err
        except WireError as err:
            raise _Stopped(Verdict.failed("runtime_error", f"no answer came: {err}")) from err
        self._mean_seconds += 0.2 * (time.monotonic() - started - self._mean_seconds)
        return answer

    def _death(self, worker: Worker, seconds: float) -> Verdict:
        """Why the worker ended. Raises ZygoteError if it was for something other than the call."""
        self.worker = None
        self.replaced += 1
        status = worker.end()
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            # Nobody here sent it: the kernel ends processes when memory is short.
            return Verdict.failed("memory", "the system ended the process that judged", seconds)
        return Verdict.failed("runtime_error", "the process that judged ended", seconds)

    def _try_again(self, batch: Batch, places: list[int], error: Exception) -> None:
        """The worker was lost through no fault of these calls: another gets them, once."""
        self._drop_worker()
        for place in places:
            batch.tries[place] = batch.tries.get(place, 1) + 1
            if batch.tries[place] > _TRIES:
                text = f"no worker process could judge this answer: {error}"
                batch.answer(place, Answer(Verdict.failed("verifier_error", text), settled=False))
        again = [place for place in places if batch.tries[place] <= _TRIES]
        self._queue.put_back(batch, again)

    def _worker_for(self, target: str) -> Worker:
        if self.worker is not None and target not in self.worker.targets:
            self._drop_worker()
        if self.worker is None:
            self.worker = self._start_worker(target)
        return self.worker

    def _drop_worker(self) -> None:
        worker, self.worker = self.worker, None
        if worker is None:
            return
        self.replaced += 1
        with contextlib.suppress(ZygoteError):  # the next worker needs another zygote, and gets it
            worker.end()


def _within_time(worker: Worker, seconds: float, started: float) -> dict[str, Any]:
    """The next answer. Raises TimeoutError after so much processor time, or a multiple on the
    clock, since other work may keep the worker waiting."""
    deadline = started + seconds
    while True:
        try:
            return worker.answer(deadline)
        except TimeoutError:
            left = seconds - worker.cpu_seconds()
            end = started + _WALL_FACTOR * seconds
            if left <= 0.02 * seconds or time.monotonic() >= end:
                raise
            deadline = min(time.monotonic() + max(left, 0.02), end)


class _Stopped(Exception):
    """A call ended with its worker."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.reason)
        self.answer = Answer(verdict, settled=False)


def _fitting(calls: list[Call]) -> int:
    """How many of the first calls go into one message; at least one."""
    total = 0
    for count, call in enumerate(calls):
        total += len(call.response) + len(call.ground_truth)
        if count and total > _MESSAGE_CHARS:
            return count
    return len(calls)


def _message(calls: list[Call]) -> bytes | str:
    """The calls as one message, or why they cannot be sent."""
    try:
        return encode(
            {
                "target": calls[0].target,
                "memory_mb": calls[0].memory_mb,
                "calls": [[call.response, call.ground_truth, call.extra] for call in calls],
            }
        )
    except (TypeError, ValueError, RecursionError) as err:
        return f"{type(err).__name__}: {err}"


def _verdict(answer: dict[str, Any], call: Call) -> Verdict:
    if "raise" in answer:
        raise known_error(*answer["raise"])
    if "rubbish" in answer:
        raise VerifierContractError(
            f"verifier {call.target!r} returned 1 × [{answer['rubbish']!r}] for 1 answers; "
            "one rewards.Verdict per answer is expected"
        )
    try:
        reason = answer["reason"]
        return Verdict(
            reason == "ok",
            float(answer["score"]),
            reason,
            str(answer["feedback"]),
            float(answer["seconds"]),
        )
    except (KeyError, TypeError, ValueError) as err:
        raise VerifierContractError(f"verifier {call.target!r} answered nonsense: {err}") from err


def _settled(answer: dict[str, Any]) -> bool:
    return answer["reason"] not in ("timeout", "memory", "verifier_error")
