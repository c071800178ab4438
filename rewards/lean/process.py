"""A Lean process that stays: one theorem in, one answer out, in milliseconds.

Starting the embedded Lean takes 8 s of processor time, so it is started once and kept. A thread of
its own starts it, talks to it, bounds it and starts it again when it was killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import secrets
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path

import psutil

from rewards.lean.backend import Check, Outcome
from rewards.lean.errors import LeanCrashError

REPL = Path(__file__).parent / "repl" / "repl.lean"
_MARK = "@verl-pi "
_START_SECONDS = 600.0
_POLL_SECONDS = 0.1
#: Waiting may take this many times the processor time allowed, since other work shares the machine.
_WALL_FACTOR = 8.0
#: Starts Node such that the kernel ends it with the thread that asked for it, however that ends.
_LAUNCHER = (
    "import ctypes,os,signal,sys;"
    "ctypes.CDLL(None).prctl(1,signal.SIGKILL,0,0,0);"
    "os.getppid()==int(sys.argv[1]) or os._exit(1);"
    "os.execv(sys.argv[2],sys.argv[2:])"
)


class LeanProcess:
    """One running Lean. Not for several threads at once.

    Raises LeanCrashError if it does not start.
    """

    def __init__(self, node: Path, folder: Path, max_rss_bytes: int) -> None:
        self._max_rss = max_rss_bytes
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._noise: deque[str] = deque(maxlen=30)
        lean = [str(node), str(folder / "bin" / "lean.js"), f"/files/{REPL.name}"]
        environment = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "HOME")}
        self._child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *lean],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env={**environment, "VERL_PI_LEAN_FILES": str(REPL.parent)},
        )
        self._usage = psutil.Process(self._child.pid)
        threading.Thread(target=self._read, name="lean-output", daemon=True).start()
        try:
            self.version = str(self._start()["version"])
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        return self._child.pid

    def rss_bytes(self) -> int:
        """Resident memory; 0 once the process has ended."""
        try:
            return self._usage.memory_info().rss
        except psutil.NoSuchProcess:
            return 0

    def check(self, check: Check) -> Outcome:
        """Check one theorem. After any status but `checked` the process is gone."""
        request_id = secrets.token_hex(8)
        request = {
            "id": request_id,
            "source": check.source,
            "maxHeartbeats": check.heartbeats,
            "forbid": [],
        }
        line = json.dumps(request, ensure_ascii=False) + "\n"
        started, cpu = time.monotonic(), self._cpu_seconds()
        try:
            assert self._child.stdin is not None
            self._child.stdin.write(line.encode("utf-8", "replace"))
            self._child.stdin.flush()
        except BrokenPipeError:
            return self._crashed(started)
        while True:
            status, answer = self._await(request_id, check.seconds, started, cpu)
            if status == "answered" and answer is not None:
                return _outcome(answer, time.monotonic() - started)
            if status == "crash":
                return self._crashed(started)
            if status != "waiting":
                self.kill()
                return Outcome(status, seconds=time.monotonic() - started)

    def kill(self) -> None:
        """End it at once and wait for that."""
        if self._child.poll() is None:
            self._child.kill()
        self._child.wait()
        if self._child.stdin is not None:
            # What is still in the buffer can no longer be delivered.
            with contextlib.suppress(BrokenPipeError):
                self._child.stdin.close()

    def _start(self) -> dict[str, object]:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            try:
                line = self._lines.get(timeout=1.0)
            except queue.Empty:
                continue
            if line is None:
                raise LeanCrashError("Lean did not start. It said:\n" + "\n".join(self._noise))
            answer = json.loads(line)
            if answer.get("id") == "ready":
                return answer
        raise LeanCrashError(f"Lean did not start within {_START_SECONDS:.0f} s")

    def _read(self) -> None:
        assert self._child.stdout is not None
        with self._child.stdout as stream:
            for raw in stream:
                line = raw.decode("utf-8", "replace").rstrip("\n")
                if line.startswith(_MARK):
                    self._lines.put(line[len(_MARK) :])
                else:
                    self._noise.append(line[:300])
        self._lines.put(None)

    def _await(
        self, request_id: str, seconds: float, started: float, cpu: float
    ) -> tuple[str, dict[str, object] | None]:
        try:
            line = self._lines.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            used = self._cpu_seconds() - cpu
            if used > seconds or time.monotonic() - started > seconds * _WALL_FACTOR:
                return "timeout", None
            return ("memory", None) if self.rss_bytes() > self._max_rss else ("waiting", None)
        if line is None:
            return "crash", None
        try:
            answer = json.loads(line)
        except json.JSONDecodeError:  # something else that was printed
            return "waiting", None
        return ("answered", answer) if answer.get("id") == request_id else ("waiting", None)

    def _cpu_seconds(self) -> float:
        try:
            times = self._usage.cpu_times()
        except psutil.NoSuchProcess:
            return 0.0
        return times.user + times.system

    def _crashed(self, started: float) -> Outcome:
        self.kill()
        said = " ".join(self._noise)
        status = "memory" if "out of memory" in said.lower() else "crash"
        return Outcome(status, seconds=time.monotonic() - started)


def _outcome(answer: dict[str, object], seconds: float) -> Outcome:
    errors = answer["errors"]
    axioms = answer["axioms"]
    assert isinstance(errors, list) and isinstance(axioms, list)
    return Outcome(
        "checked",
        errors=tuple(f"{e['line']}:{e['column']}: {e['text']}" for e in errors),
        axioms=tuple(str(name) for name in axioms),
        parsed=bool(answer["parsed"]),
        refused=str(answer["refused"]),
        seconds=seconds,
    )
