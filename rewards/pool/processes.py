"""The pool's processes seen from the process that uses them: the zygote and its workers."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any

from rewards.errors import RewardsError
from rewards.pool.confine import environment
from rewards.pool.wire import Channel, WireError

_LOAD_SECONDS = 180.0
_START_SECONDS = 60.0
_ANSWER_BYTES = 1 << 24
_TICKS = os.sysconf("SC_CLK_TCK")
#: Run without the user's main module, whose import might start everything again.
_ENTRY = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
    "from rewards.pool import zygote; zygote.main(int(sys.argv[1]))"
)


class ZygoteError(RuntimeError):
    """The zygote has ended or does not answer."""


class Zygote:
    """The process from which workers are forked. Safe to use from several threads."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._child = subprocess.Popen(
                [sys.executable, "-c", _ENTRY, str(theirs.fileno()), json.dumps(_path())],
                pass_fds=(theirs.fileno(),),
                env=environment(os.environ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # the terminal's Ctrl-C is for the user's process
            )
        self._control = Channel(ours)
        self._lock = threading.Lock()
        self._loaded: set[str] = set()
        self._closing = False

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def alive(self) -> bool:
        return self._child.poll() is None

    def load(self, target: str) -> frozenset[str]:
        """Have `target` in every worker forked from now on; all that is loaded.

        Raises RewardsError if it cannot be loaded.
        """
        if target not in self._loaded:
            answer = self._ask({"load": target, "path": _path()}, _LOAD_SECONDS)
            if "raise" in answer:
                raise known_error(*answer["raise"])
            if "error" in answer:
                raise RewardsError(f"{target} does not load in a worker process: {answer['error']}")
            self._loaded.add(target)
        return frozenset(self._loaded)

    def fork(self, max_calls: int, growth: int) -> tuple[int, Channel]:
        """A new worker: its process id and the channel to it."""
        with self._lock:
            command = {"fork": {"max_calls": max_calls, "growth": growth}}
            answer = self._ask_locked(command, _START_SECONDS)
            end = socket.socket(fileno=self._control.descriptors.pop())
        return int(answer["pid"]), Channel(end, _ANSWER_BYTES)

    def reap(self, pid: int) -> int:
        """End that worker if it lives; its wait status."""
        return int(self._ask({"reap": pid}, _START_SECONDS)["status"])

    def close(self) -> None:
        """End it and its workers, and wait for that."""
        self._closing = True
        self._control.hang_up()
        try:
            self._child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.kill()

    def disown(self) -> None:
        """In a forked child: only the parent's end keeps it alive."""
        self._control.close()

    def kill(self) -> None:
        self._child.kill()
        self._child.wait()

    def _ask(self, command: dict[str, Any], seconds: float) -> dict[str, Any]:
        with self._lock:
            return self._ask_locked(command, seconds)

    def _ask_locked(self, command: dict[str, Any], seconds: float) -> dict[str, Any]:
        try:
            self._control.send(command)
            return self._control.receive(time.monotonic() + seconds)
        except TimeoutError as err:
            self.kill()
            what = next(iter(command))
            raise ZygoteError(f"{what} {command[what]!r} took over {seconds:g} s") from err
        except (OSError, EOFError, WireError) as err:
            if not self._closing:
                self.kill()
            raise ZygoteError(f"the process that starts workers has ended: {err}") from err


class Worker:
    """One worker process, in the hands of one thread."""

    def __init__(self, zygote: Zygote, target: str, max_calls: int, growth: int) -> None:
        self._zygote = zygote
        self.targets = zygote.load(target)
        self.pid, self._channel = zygote.fork(max_calls, growth)
        self.resident_bytes = 0
        self._cpu_before = 0.0
        try:
            self.lack = str(self._channel.receive(time.monotonic() + _START_SECONDS)["lack"])
        except (OSError, EOFError, WireError, TimeoutError) as err:
            self.end()
            raise ZygoteError(f"a worker did not start: {err}") from err

    def ask(self, message: bytes, seconds: float) -> None:
        """Send calls. Raises OSError if the worker is gone or does not read."""
        self._channel.send_bytes(message, seconds)

    def answer(self, deadline: float) -> dict[str, Any]:
        """The next answer. Raises EOFError, TimeoutError, WireError."""
        answer = self._channel.receive(deadline)
        if not isinstance(answer, dict):
            raise WireError("an answer is no object")
        self.resident_bytes = int(answer.get("rss", 0))
        self._cpu_before = float(answer.get("cpu", 0.0))
        return answer

    def cpu_seconds(self) -> float:
        """Processor time since the last answer, to a hundredth; 0 once it has ended."""
        try:
            with open(f"/proc/{self.pid}/stat", "rb") as stat:
                fields = stat.read().rpartition(b")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / _TICKS - self._cpu_before

    def kill(self) -> None:
        """End it at once; `end` has still to be called. The id stays its own until then."""
        if self._zygote.alive:
            with contextlib.suppress(OSError):
                os.kill(self.pid, signal.SIGKILL)

    def end(self) -> int:
        """See that it has ended; its wait status. Raises ZygoteError if the zygote is gone."""
        self._channel.close()
        return self._zygote.reap(self.pid)


def known_error(module: str, name: str, message: str) -> RewardsError:
    """The error of this package that a worker met, as the class it had there."""
    found: Any = RewardsError
    if module.partition(".")[0] == "rewards":
        found = getattr(importlib.import_module(module), name, RewardsError)
    if not (isinstance(found, type) and issubclass(found, RewardsError)):
        found = RewardsError
    return found(message)


def _path() -> list[str]:
    return [os.path.abspath(entry) for entry in sys.path]
