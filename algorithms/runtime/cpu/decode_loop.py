"""A thread that drives a :class:`Decoder` and answers asyncio callers."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from algorithms.runtime.cpu.decoder import Decoder, Request

T = TypeVar("T")


class DecodeLoopDied(RuntimeError):
    """The decoding thread ended with an error, which is the cause of this one."""


class DecodeLoop:
    """Runs the decoder in its own thread; every call on the decoder happens there.

    Args:
        decoder: not touched by the caller any more.
        threads: torch threads of the decoding thread.
        window_s: how long an idle decoder waits for company after a request arrived. Requests
            come one by one over Ray; a batch that starts with one row would prefill the rest apart.
    """

    def __init__(self, decoder: Decoder, threads: int, window_s: float = 0.03) -> None:
        self._decoder = decoder
        self._threads = threads
        self._window_s = window_s
        self._wake = threading.Condition()
        self._calls: list[tuple[Callable[[Decoder], Any], Future]] = []
        self._futures: dict[str, Future] = {}
        self._stopping = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="verl-pi-decode", daemon=True)
        self._thread.start()

    async def generate(self, request: Request) -> Request:
        """Wait for ``request`` to finish or to be aborted (``request.stop_reason`` says which)."""
        done: Future = Future()

        def submit(decoder: Decoder) -> None:
            if request.request_id in self._futures:
                raise ValueError(f"request id {request.request_id!r} is in use already")
            decoder.submit(request)
            self._futures[request.request_id] = done

        await self.call(submit)
        return await asyncio.wrap_future(done)

    async def abort(self, request_ids: list[str] | None = None) -> list[str]:
        """Abort the named requests, or all; their callers get what was generated so far."""

        def run(decoder: Decoder) -> list[str]:
            aborted = decoder.abort(request_ids)
            self._resolve(aborted)
            return [request.request_id for request in aborted]

        return await self.call(run)

    async def call(self, function: Callable[[Decoder], T]) -> T:
        """Run ``function`` on the decoder between two steps and return its result."""
        future: Future = Future()
        with self._wake:
            if self._error is not None:
                raise DecodeLoopDied("the decoding thread has ended") from self._error
            self._calls.append((function, future))
            self._wake.notify()
        return await asyncio.wrap_future(future)

    def stop(self) -> None:
        """End the thread after the current step."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join()

    def _run(self) -> None:
        torch.set_num_threads(self._threads)
        try:
            while self._next_calls():
                if not self._decoder.idle:
                    self._resolve(self._decoder.step())
        except BaseException as error:
            self._fail(error)
            raise

    def _next_calls(self) -> bool:
        """Run pending calls, sleeping while there is nothing to do; False ends the loop."""
        with self._wake:
            while not self._calls and self._decoder.idle and not self._stopping:
                self._wake.wait()
            calls, self._calls = self._calls, []
            stopping = self._stopping
        was_idle = self._decoder.idle
        self._run_calls(calls)
        if was_idle and not self._decoder.idle:
            self._gather()
        return not stopping

    def _gather(self) -> None:
        """Give a burst of requests time to arrive whole; ends when a pause shows it did."""
        deadline = time.monotonic() + 10 * self._window_s
        while time.monotonic() < deadline:
            with self._wake:
                if not self._calls:
                    self._wake.wait(self._window_s)
                calls, self._calls = self._calls, []
            if not calls:
                return
            self._run_calls(calls)

    def _run_calls(self, calls: list[tuple[Callable[[Decoder], Any], Future]]) -> None:
        for function, future in calls:
            try:
                result = function(self._decoder)
            except Exception as error:
                future.set_exception(error)
            else:
                future.set_result(result)

    def _resolve(self, requests: list[Request]) -> None:
        for request in requests:
            self._futures.pop(request.request_id).set_result(request)

    def _fail(self, error: BaseException) -> None:
        with self._wake:
            self._error = error
            pending = [future for _, future in self._calls] + list(self._futures.values())
            self._calls, self._futures = [], {}
        for future in pending:
            failure = DecodeLoopDied(f"decoding failed: {type(error).__name__}: {error}")
            failure.__cause__ = error
            future.set_exception(failure)
