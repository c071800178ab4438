"""A Lean toolchain on this machine, driven with `lean-interact`.

`VERL_PI_LEAN_PROJECT` names a Lake project whose dependencies (Mathlib) may be imported; without it
only Lean's own libraries can.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import threading
import time
from collections.abc import Sequence
from typing import Any

from rewards.lean.backend import Check, Outcome
from rewards.lean.errors import LeanUnavailableError
from rewards.lean.transcript import outcome_of, text_of

PROJECT_VARIABLE = "VERL_PI_LEAN_PROJECT"


def missing() -> str:
    """What a local Lean lacks, with the command; empty if it is there."""
    lacks = []
    if importlib.util.find_spec("lean_interact") is None:
        lacks.append('pip install "lean-interact==0.11.6"')
    if shutil.which("lake") is None:
        lacks.append("install Lean's version manager (`install-lean`, or elan from your system)")
    return " and ".join(lacks)


class LocalBackend:
    """Checks in one Lean REPL, which lean-interact builds on first use and restarts on growth."""

    name = "local"

    def __init__(self, project: str | None = None) -> None:
        lack = missing()
        if lack:
            raise LeanUnavailableError(f"a local Lean: {lack}")
        self._project = project or os.environ.get(PROJECT_VARIABLE)
        self._server: Any = None
        self._lock = threading.Lock()

    def check(self, checks: Sequence[Check]) -> list[Outcome]:
        with self._lock:
            return [self._check(check) for check in checks]

    def describe(self) -> str:
        where = f"project {self._project}" if self._project else "no Lake project, so no Mathlib"
        return f"local: Lean at {shutil.which('lake')}, {where}"

    def close(self) -> None:
        """End the REPL."""
        with self._lock:
            if self._server is not None:
                self._server.kill()
                self._server = None

    def _check(self, check: Check) -> Outcome:
        from lean_interact import Command
        from lean_interact.interface import LeanError

        started = time.monotonic()
        try:
            answer = self._start().run(Command(cmd=text_of(check)), timeout=check.seconds)
        except TimeoutError:
            return Outcome("timeout", seconds=time.monotonic() - started)
        except (ConnectionAbortedError, ChildProcessError):
            return Outcome("crash", seconds=time.monotonic() - started)
        seconds = time.monotonic() - started
        if isinstance(answer, LeanError):
            return Outcome("failed", refused=f"Lean's REPL: {answer.message}", seconds=seconds)
        messages = [
            {
                "severity": message.severity,
                "data": message.data,
                "pos": {"line": message.start_pos.line, "column": message.start_pos.column},
            }
            for message in answer.messages
        ]
        return outcome_of(check, messages, len(answer.sorries), seconds)

    def _start(self) -> Any:
        if self._server is None:
            from lean_interact import AutoLeanServer, LeanREPLConfig, LocalProject

            project = LocalProject(directory=self._project) if self._project else None
            self._server = AutoLeanServer(LeanREPLConfig(project=project, verbose=False))
        return self._server
