"""The verifier `code`: does this program do what its tests ask for?

The program and the tests run in two sandboxes and speak plain data to each other, so that nothing
in the program's reach can make a test pass but the right answer.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from rewards import stopping
from rewards.code import cases, examination, fusion, sandbox, truth
from rewards.code.answer import programs_of
from rewards.code.examination import Result
from rewards.code.sandbox import Limits
from rewards.verdict import Verdict

_OPTIONS = {"seconds", "total_seconds", "memory_mb", "sandbox", "max_chars"}
_SANDBOXES = ("auto", "bubblewrap", "rlimits", "fusion")
_FEEDBACK_CHARS = 2000
_TOTAL_SECONDS = 240.0
_SECONDS_BETWEEN_LOOKS = 0.1


class CodeVerifier:
    """Judges programs. One instance serves a process; it is safe to use from several threads.

    Options of a call: seconds (10, of processor time; for stdio, of each case), total_seconds (240,
    on the clock, of all cases of stdio together), memory_mb (1024), sandbox ("auto", "bubblewrap",
    "rlimits", "fusion"), max_chars (1,000,000). Further keys are a ValueError.
    """

    OPTIONS = frozenset(_OPTIONS)
    #: It isolates by itself and may be called from several threads.
    ISOLATION = "own"

    def __call__(self, response: str, ground_truth: str, **extra: Any) -> Verdict:
        """Judge one answer; waits while all slots (VERL_PI_SANDBOXES) are taken."""
        settings = _Settings(extra)
        asked = _asked(response, ground_truth, settings)
        if isinstance(asked, Verdict):
            return asked
        with _slot():
            started = time.monotonic()
            try:
                result = _examine(*asked, settings)
            except (OSError, examination.NotBegunError) as err:
                # The machine's fault, such as no process or descriptor left; never the answer's.
                result = Result("verifier_error", f"{type(err).__name__}: {err}")
            seconds = time.monotonic() - started
        # A lone surrogate, which a program may put into any text, could not be written to a file.
        feedback = result.feedback[:_FEEDBACK_CHARS].encode("utf-8", "replace").decode()
        if result.reason == "ok":
            return Verdict.ok(seconds, feedback)
        return Verdict.failed(result.reason, feedback, seconds)

    def verify_batch(self, items: Sequence[tuple[str, str, Mapping[str, Any]]]) -> list[Verdict]:
        """Judge many (response, ground_truth, options), as many at once as there are slots.

        An interrupt ends those that run and begins no other.
        """
        for _, _, extra in items:
            _Settings(extra)  # a bad option is said before anything runs, not after the others ran
        if len(items) < 2:
            return [self(response, truth_, **extra) for response, truth_, extra in items]
        stop = stopping.current() or threading.Event()

        def judge(response: str, truth_: str, extra: Mapping[str, Any]) -> Verdict:
            with stopping.stoppable(stop):
                return self(response, truth_, **extra)

        with ThreadPoolExecutor(min(len(items), sandbox.slot_count())) as pool:
            futures = [pool.submit(judge, *item) for item in items]
            try:
                return [future.result() for future in futures]
            except BaseException:
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise


@contextlib.contextmanager
def _slot() -> Iterator[None]:
    """Hold one of the slots. Raises StoppedError if the work is called off while it waits."""
    slots = sandbox.slots()
    while not slots.acquire(timeout=_SECONDS_BETWEEN_LOOKS):
        stopping.check()
    try:
        stopping.check()
        yield
    finally:
        slots.release()


class _Settings:
    def __init__(self, options: Mapping[str, Any]) -> None:
        unknown = set(options) - _OPTIONS
        if unknown:
            raise ValueError(
                f"the code verifier has no option {sorted(unknown)}; it has {sorted(_OPTIONS)}"
            )
        seconds = float(options.get("seconds", 10.0))
        memory_mb = int(options.get("memory_mb", 1024))
        if not 0 < seconds < 86_400 or not 64 <= memory_mb <= 1 << 20:
            raise ValueError(
                f"seconds={seconds} must be above 0, memory_mb={memory_mb} at least 64"
            )
        self.limits = Limits(seconds, memory_mb)
        default = max(_TOTAL_SECONDS, self.limits.wall_seconds)
        self.total_seconds = float(options.get("total_seconds", default))
        if not 0 < self.total_seconds < float("inf"):
            raise ValueError(f"total_seconds={self.total_seconds} must be above 0")
        self.max_chars = int(options.get("max_chars", 1_000_000))
        self.sandbox = str(options.get("sandbox", "auto"))
        if self.sandbox not in _SANDBOXES:
            raise ValueError(f"sandbox={self.sandbox!r} is none of {', '.join(_SANDBOXES)}")


def _asked(response: str, ground_truth: str, settings: _Settings):
    """(texts, truth), or the verdict on what needs no sandbox."""
    try:
        wanted = truth.read(ground_truth)
    except truth.GroundTruthError as err:
        return Verdict.failed("verifier_error", f"the ground truth cannot be read: {err}")
    if len(response) > settings.max_chars:
        return Verdict.failed(
            "malformed", f"{len(response)} characters, more than {settings.max_chars}"
        )
    texts = programs_of(response)
    if not texts:
        return Verdict.failed("no_answer", "the response contains no program")
    return texts, wanted


def _examine(texts: list[str], wanted: truth.Asserts | truth.Stdio, settings: _Settings) -> Result:
    if settings.sandbox == "fusion":
        return fusion.examine(texts, wanted, settings.limits, settings.total_seconds)
    place = sandbox.choose(settings.sandbox)
    if isinstance(wanted, truth.Asserts):
        return examination.examine(place, texts, wanted, settings.limits)

    def run(text: str, size: int, left: float):
        begun = time.monotonic()
        result, output = examination.run_program(place, texts, text, settings.limits, size, left)
        return result, output, time.monotonic() - begun

    return cases.judge(wanted, run, settings.total_seconds)
