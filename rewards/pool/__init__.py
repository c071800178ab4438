"""Worker processes for verifiers: bounded in time and memory, confined, replaced when they fail.

pebble's ProcessPool was measured for this (5.2.3, spawn and forkserver) and does not do it:
a call that ends its process with status 0 is answered only when its time is over; the death of an
idle worker breaks the pool; while it stops a worker that does not react, all others stand still for
up to 3 s, since they share one pipe and its lock; a limit of time holds for a message, not for a
call in it; a script without `if __name__ == "__main__"` is run again; and what a worker sends is
unpickled.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future

from rewards.pool.fair_queue import Answer, Batch, Call, FairQueue, PoolClosedError
from rewards.pool.processes import Worker, Zygote, ZygoteError
from rewards.pool.settings import Settings, signature
from rewards.pool.slot import Slot

__all__ = ["Answer", "Call", "Pool", "Settings", "ZygoteError", "close", "current", "submit"]

_log = logging.getLogger(__name__)
_lock = threading.Lock()
_pool: Pool | None = None


class Pool:
    """Worker processes and the threads that keep them at work. Started by the first calls."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.signature = signature()
        self._queue = FairQueue()
        self._slots: list[Slot] = []
        self._zygote: Zygote | None = None
        self._lock = threading.Lock()
        self._warned = False
        self._closed = False

    def submit(self, calls: Sequence[Call]) -> Future[list[Answer]]:
        """Answers in the order of the calls, later. Cancelling drops what is not yet begun."""
        batch = Batch(calls)
        if calls:
            self._start_slots(len(calls))
            self._queue.put(batch)
        else:
            batch.future.set_result([])
        return batch.future

    def describe(self) -> dict[str, list[int]]:
        """Processes now: `pids` of zygote and workers, `resident_bytes` of the workers."""
        workers = [slot.worker for slot in self._slots if slot.worker is not None]
        zygote = [self._zygote.pid] if self._zygote is not None and self._zygote.alive else []
        return {
            "pids": zygote + [worker.pid for worker in workers],
            "resident_bytes": [worker.resident_bytes for worker in workers],
            "replaced": [slot.replaced for slot in self._slots],
        }

    def retire(self) -> None:
        """Take no more calls; end when those that wait are answered."""
        self._queue.close()
        threading.Thread(target=self._finish, name="verifier-pool-end", daemon=True).start()

    def close(self) -> None:
        """End now. Calls that wait get a RuntimeError."""
        self._closed = True
        for batch in self._queue.abandon():
            batch.fail(RuntimeError("the pool of verifiers is closed"))
        self._close_zygote()

    def disown(self) -> None:
        """In a forked child: let go of what belongs to the parent."""
        if self._zygote is not None:
            self._zygote.disown()

    def _finish(self) -> None:
        for slot in self._slots:
            slot.join()
        self._close_zygote()

    def _close_zygote(self) -> None:
        with self._lock:
            zygote, self._zygote = self._zygote, None
        if zygote is not None:
            zygote.close()

    def _start_slots(self, wanted: int) -> None:
        with self._lock:
            while len(self._slots) < min(wanted, self.settings.workers):
                slot = Slot(self._queue, self.settings.workers, self._start_worker)
                self._slots.append(slot)
                slot.start()

    def _start_worker(self, target: str) -> Worker:
        with self._lock:
            if self._closed:
                raise RuntimeError("the pool of verifiers is closed")
            if self._zygote is not None and not self._zygote.alive:
                _log.warning("the process that starts verifiers' workers has ended; another starts")
                self._zygote = None
            if self._zygote is None:
                self._zygote = Zygote()
            zygote = self._zygote
        worker = Worker(zygote, target, self.settings.calls, self.settings.growth_bytes)
        if worker.lack and not self._warned:
            self._warned = True
            _log.warning("workers of verifiers have resource limits only: %s", worker.lack)
        return worker


def current() -> Pool:
    """This process's pool, made when first asked for, and anew when a VERL_PI_ setting changed."""
    global _pool
    with _lock:
        if _pool is not None and _pool.signature != signature():
            _pool.retire()
            _pool = None
        if _pool is None:
            _pool = Pool(Settings.from_environment())
        return _pool


def submit(calls: Sequence[Call]) -> Future[list[Answer]]:
    """Judge in this process's pool; answers in the order of the calls."""
    while True:
        # Another thread may have changed a setting in between.
        with contextlib.suppress(PoolClosedError):
            return current().submit(calls)


def close() -> None:
    """End this process's pool; the next call makes another."""
    global _pool
    with _lock:
        pool, _pool = _pool, None
    if pool is not None:
        pool.close()


def _forget() -> None:
    """In a forked child: the threads are gone and the processes are the parent's."""
    global _pool, _lock
    pool, _pool, _lock = _pool, None, threading.Lock()
    if pool is not None:
        pool.disown()


atexit.register(close)
os.register_at_fork(after_in_child=_forget)
