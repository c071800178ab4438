"""Judging: which call goes where, and the verdicts back in order.

Verifiers of isolation "process" go to the pool of worker processes, the others to threads of this
process. What was judged before is answered from the cache, and what occurs twice in a batch is
judged once.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from rewards import cache, pool, stopping
from rewards.errors import VerifierContractError
from rewards.pool.settings import signature
from rewards.registry import Verifier, describe_verifier, get_verifier, instance_of
from rewards.verdict import Verdict

Item = tuple[str, str, str, Mapping[str, Any]]
AnswerItem = tuple[str, str, Mapping[str, Any]]
_OWN_THREADS = 32

_inside = threading.local()
_executor: ThreadPoolExecutor | None = None
_lock = threading.Lock()


def verify(verifier: str, response: str, ground_truth: str, **extra: Any) -> Verdict:
    """Judge one answer. `extra` are the verifier's own options.

    Raises ValueError for an option that the verifier does not have, UnknownVerifierError, and what
    a verifier raises where the machine lacks something (a RewardsError that names the command).
    """
    return verify_batch([(verifier, response, ground_truth, extra)])[0]


def verify_batch(items: Sequence[Item]) -> list[Verdict]:
    """Judge many `(verifier, response, ground_truth, extra)`; verdicts in their order."""
    return _run(_Work(items))


async def averify_batch(items: Sequence[Item]) -> list[Verdict]:
    """The same without blocking the event loop; several may be awaited at once."""
    import asyncio  # slow to import, and whoever awaits has it

    work = _Work(items)
    try:
        await asyncio.gather(*map(asyncio.wrap_future, work.start(background=True)))
    except BaseException:
        work.stop()
        raise
    return work.verdicts()


def judge_with(verifier: Verifier, answers: Sequence[AnswerItem]) -> list[Verdict]:
    """Judge many `(response, ground_truth, extra)` by a verifier that need not be registered."""
    items = [(verifier.name, *answer) for answer in answers]
    return _run(_Work(items, {verifier.name: verifier}))


def _run(work: _Work) -> list[Verdict]:
    futures = work.start()
    try:
        work.help()
        for future in futures:
            future.result()
    except BaseException:
        work.stop()
        for future in futures:
            future.cancel()
        raise
    return work.verdicts()


class _Work:
    """The calls of one batch: what is known, what is asked, what came back."""

    def __init__(self, items: Sequence[Item], known: Mapping[str, Verifier] | None = None) -> None:
        self._items = items
        self._known = known or {}
        self._verdicts: list[Verdict | None] = [None] * len(items)
        self._same: list[tuple[int, int]] = []
        self._settings = signature()
        self._cache = cache.shared() if cache.enabled() else None
        self._shares: list[_Share] = []
        outer = stopping.current()
        self._inner = outer is not None
        self._stopped = outer or threading.Event()
        self._groups: list[tuple[Verifier, list[int], list[bytes | None]]] = []
        for verifier, places in self._by_verifier():
            for place in places:
                _check_options(verifier, items[place][3])
            self._groups.append((verifier, *self._unknown(verifier, places)))

    def start(self, background: bool = False) -> list[Future[Any]]:
        """Begin what is not known. Everything is in place when all these are done."""
        done: list[Future[Any]] = []
        # Worker processes first: they judge while the threads, or this thread, do the others.
        for verifier, places, keys in sorted(
            self._groups, key=lambda group: group[0].isolation != "process"
        ):
            if not places:
                continue
            if verifier.isolation == "process":
                done.append(self._in_pool(verifier, places, keys))
            else:
                alone = len(self._groups) == 1 and not background
                done += self._in_threads(verifier, places, keys, alone)
        return done

    def stop(self) -> None:
        """End the programs that run, for nobody waits for them; a batch within another's verifier
        leaves that to the other."""
        if not self._inner:
            self._stopped.set()

    def help(self) -> None:
        """Judge what no thread has begun, from the end, instead of waiting for it.

        All threads may be busy with verifiers that wait for this very batch: those that call
        others from threads of their own.
        """
        for share in reversed(self._shares):
            share.run()
            if share.future.done():
                share.future.result()  # the first error ends the batch

    def verdicts(self) -> list[Verdict]:
        for place, twin in self._same:
            verdict = self._verdicts[twin]
            assert verdict is not None
            self._verdicts[place] = replace(verdict, seconds=0.0)
        return [verdict for verdict in self._verdicts if verdict is not None]

    def _by_verifier(self) -> Iterator[tuple[Verifier, list[int]]]:
        groups: dict[str, list[int]] = {}
        for place, item in enumerate(self._items):
            groups.setdefault(item[0], []).append(place)
        for name, places in groups.items():
            yield self._known.get(name) or describe_verifier(name), places

    def _unknown(
        self, verifier: Verifier, places: list[int]
    ) -> tuple[list[int], list[bytes | None]]:
        """The places that have to be judged, and the keys to remember them by."""
        if self._cache is None or not verifier.cacheable:
            return places, [None] * len(places)
        left: list[int] = []
        keys: list[bytes | None] = []
        seen: dict[bytes, int] = {}
        name = f"{verifier.name} {verifier.target}"
        for place in places:
            _, response, truth, extra = self._items[place]
            key = cache.key_of(name, response, truth, extra, self._settings)
            known = None if key is None else self._cache.get(key)
            if known is not None:
                self._verdicts[place] = known
            elif key is not None and key in seen:
                self._same.append((place, seen[key]))
            else:
                left.append(place)
                keys.append(key)
                if key is not None:
                    seen[key] = place
        return left, keys

    def _in_pool(
        self, verifier: Verifier, places: list[int], keys: list[bytes | None]
    ) -> Future[Any]:
        calls = [_call(verifier, *self._items[place][1:]) for place in places]

        def keep(answers: list[pool.Answer]) -> None:
            for place, key, answer in zip(places, keys, answers, strict=True):
                self._keep(place, key if answer.settled else None, answer.verdict)

        return _then(pool.submit(calls), keep)

    def _in_threads(
        self, verifier: Verifier, places: list[int], keys: list[bytes | None], alone: bool
    ) -> list[Future[Any]]:
        registered = verifier.name not in self._known
        instance = get_verifier(verifier.name) if registered else instance_of(verifier.source)

        def judge(share: range) -> None:
            answers = [self._items[places[i]][1:] for i in share]
            with stopping.stoppable(self._stopped):
                verdicts = _judge(verifier.name, instance, answers)
            for i, verdict in zip(share, verdicts, strict=True):
                self._keep(places[i], keys[i], verdict)

        whole = range(len(places))
        together = hasattr(instance, "verify_batch") or not verifier.declared
        shares = [whole] if together else [range(i, i + 1) for i in whole]
        if (alone and len(shares) == 1) or getattr(_inside, "thread", False):
            # A verifier that calls others is in one of these threads already: were it to await
            # another of them, all could wait.
            return [_done(judge, share) for share in shares]
        begun = [_Share(judge, share) for share in shares]
        self._shares += begun
        for share in begun:
            _threads().submit(_marked, share)
        return [share.future for share in begun]

    def _keep(self, place: int, key: bytes | None, verdict: Verdict) -> None:
        self._verdicts[place] = verdict
        unsettled = verdict.reason in ("timeout", "memory", "verifier_error")
        if key is not None and self._cache is not None and not unsettled:
            self._cache.put(key, verdict)


def _check_options(verifier: Verifier, extra: Mapping[str, Any]) -> None:
    """A misspelt option is the caller's mistake, not the answer's: it must not become a verdict."""
    unknown = set(extra) - verifier.options if verifier.options is not None else None
    if unknown:
        raise ValueError(
            f"the verifier {verifier.name} has no option {sorted(unknown)}; it has "
            f"{sorted(verifier.options or ())}"
        )


def _call(verifier: Verifier, response: str, ground_truth: str, extra: Any) -> pool.Call:
    seconds = verifier.seconds
    if verifier.options is not None and "seconds" in verifier.options:
        seconds = _seconds(extra.get("seconds"), seconds)
    return pool.Call(verifier.target, response, ground_truth, extra, seconds, verifier.memory_mb)


def _seconds(asked: Any, default: float) -> float:
    """The limit that a row asks for; one that is no positive number is left to the verifier."""
    is_number = isinstance(asked, int | float) and not isinstance(asked, bool)
    return float(asked) if is_number and 0 < asked < float("inf") else default


def _judge(name: str, instance: Any, answers: list[AnswerItem]) -> list[Verdict]:
    batch = getattr(instance, "verify_batch", None)
    if batch is not None:
        verdicts = list(batch(answers))
    else:
        verdicts = [instance(response, truth, **extra) for response, truth, extra in answers]
    if len(verdicts) != len(answers) or not all(isinstance(v, Verdict) for v in verdicts):
        kinds = sorted({type(v).__name__ for v in verdicts})
        raise VerifierContractError(
            f"verifier {name!r} returned {len(verdicts)} × {kinds} for {len(answers)} answers; "
            "one rewards.Verdict per answer is expected"
        )
    return verdicts


def _then(future: Future[Any], use: Callable[[Any], None]) -> Future[None]:
    """Done when `future` is and `use` has had its result. Cancelling it cancels `future`."""
    after: Future[None] = Future()

    def pass_on(done: Future[Any]) -> None:
        if done.cancelled() or not after.set_running_or_notify_cancel():
            return
        try:
            use(done.result())
        except BaseException as error:
            after.set_exception(error)
        else:
            after.set_result(None)

    after.add_done_callback(lambda _: future.cancel())
    future.add_done_callback(pass_on)
    return after


def _done(function: Callable[[range], None], share: range) -> Future[None]:
    future: Future[None] = Future()
    function(share)
    future.set_result(None)
    return future


class _Share:
    """A part of a batch, for whichever thread comes first: one of ours, or the one that waits."""

    def __init__(self, judge: Callable[[range], None], places: range) -> None:
        self.future: Future[None] = Future()
        self._judge = judge
        self._places = places
        self._taken = threading.Lock()

    def run(self) -> None:
        """Judge it, unless it was begun or cancelled. An error is the future's."""
        if not self._taken.acquire(blocking=False):
            return
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            self._judge(self._places)
        except BaseException as error:
            self.future.set_exception(error)
        else:
            self.future.set_result(None)


def _marked(share: _Share) -> None:
    _inside.thread = True
    share.run()


def _threads() -> ThreadPoolExecutor:
    global _executor
    with _lock:
        if _executor is None:
            _executor = ThreadPoolExecutor(_OWN_THREADS, thread_name_prefix="verifier")
        return _executor


def _forget() -> None:
    """A forked child has none of its parent's threads."""
    global _executor, _lock
    _executor, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)
