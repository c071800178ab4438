"""The embedded Lean: core libraries, no Mathlib, nothing to install but `rewards.lean.install`."""

from __future__ import annotations

import atexit
import logging
import os
import queue
import re
import threading
from collections.abc import Sequence
from concurrent.futures import Future

from rewards.lean import install
from rewards.lean.backend import Check, Outcome
from rewards.lean.errors import LeanCrashError, LeanInstallError, LeanUnavailableError
from rewards.lean.process import LeanProcess

logger = logging.getLogger(__name__)

#: The build itself ends at 2 GiB of Lean's memory; Node and its code come on top.
MAX_RSS_BYTES = 5 << 30
#: Between two theorems the process is replaced when it has grown beyond this; it begins with 2.6.
RECYCLE_RSS_BYTES = 4 << 30
IDLE_SECONDS = 900.0
_CORE_PREAMBLE = re.compile(r"(?:\s|import\s+(?:Init|Std|Lean)\b(?!\.))*\Z")


def missing() -> str:
    """What the embedded Lean lacks, with the command; empty if it is there."""
    try:
        install.find_node()
    except LeanInstallError as err:
        return f"{err} Then run: {install.INSTALL_COMMAND}"
    return "" if install.is_installed() else f"not installed. Run: {install.INSTALL_COMMAND}"


class _Keeper(threading.Thread):
    """The thread that owns the Lean process of this Python process."""

    def __init__(self) -> None:
        super().__init__(name="lean", daemon=True)
        self.jobs: queue.SimpleQueue[tuple[Check, Future[Outcome]] | None] = queue.SimpleQueue()
        self.process: LeanProcess | None = None
        self.starts = 0

    def run(self) -> None:
        while True:
            try:
                job = self.jobs.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                self._stop()
                continue
            if job is None:
                self._stop()
                return
            check, future = job
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(self._check(check))
            except (LeanCrashError, LeanInstallError, OSError) as err:
                self._stop()
                future.set_exception(err)

    def _check(self, check: Check) -> Outcome:
        if self.process is None:
            self.starts += 1
            self.process = LeanProcess(
                install.find_node().program, install.location(), MAX_RSS_BYTES
            )
            logger.info("Lean %s started, process %d", self.process.version, self.process.pid)
        outcome = self.process.check(check)
        if outcome.status != "checked":
            logger.warning("Lean was ended by a proof (%s) and starts again", outcome.status)
            self._stop()
        elif self.process.rss_bytes() > RECYCLE_RSS_BYTES:
            logger.info(
                "Lean had grown to %.1f GB and starts again", self.process.rss_bytes() / 1e9
            )
            self._stop()
        return outcome

    def _stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process = None


class WasmBackend:
    """Checks in one Lean process per Python process, shared by every instance and thread."""

    name = "wasm"
    _keepers: dict[int, _Keeper] = {}  # noqa: RUF012  by process id: a fork has no keeper
    _lock = threading.Lock()

    def __init__(self) -> None:
        lack = missing()
        if lack:
            raise LeanUnavailableError(f"the embedded Lean: {lack}")

    def check(self, checks: Sequence[Check]) -> list[Outcome]:
        waiting = [self._submit(check) for check in checks]
        return [future.result() for future in waiting]

    def describe(self) -> str:
        return (
            f"wasm: Lean 4.28 embedded in {install.location()}, core libraries without Mathlib, "
            "one lasting process"
        )

    def close(self) -> None:
        """End this process's Lean. The next check starts another."""
        with self._lock:
            keeper = self._keepers.pop(os.getpid(), None)
        if keeper is not None:
            keeper.jobs.put(None)
            keeper.join()

    def keeper(self) -> _Keeper:
        """The thread in charge, started if need be."""
        with self._lock:
            keeper = self._keepers.get(os.getpid())
            if keeper is None or not keeper.is_alive():
                keeper = _Keeper()
                keeper.start()
                self._keepers[os.getpid()] = keeper
                atexit.register(_end, keeper)
            return keeper

    def _submit(self, check: Check) -> Future[Outcome]:
        future: Future[Outcome] = Future()
        if not _CORE_PREAMBLE.match(check.preamble):
            future.set_result(
                Outcome(
                    "failed",
                    refused=(
                        "the embedded Lean has neither Mathlib nor `open` lines before a theorem, "
                        f"and this one needs {check.preamble[:80]!r}; use backend=local or kimina"
                    ),
                )
            )
        else:
            self.keeper().jobs.put((check, future))
        return future


def _end(keeper: _Keeper) -> None:
    if keeper.process is not None:
        keeper.process.kill()
