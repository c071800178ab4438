"""Verifiers for the tests of the pool. What they do is chosen by the response.

At the top level of a module, as a worker process needs it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from rewards import RewardsError, Verdict


class Hostile:
    """Does what the response names, with the ground truth as its argument."""

    OPTIONS = frozenset({"seconds", "note"})
    SECONDS = 30.0
    MEMORY_MB = 256

    def __call__(self, response: str, ground_truth: str, **extra) -> Verdict:
        action = getattr(self, "do_" + response, None)
        if action is None:
            return honest(response, ground_truth)
        return Verdict.ok(feedback=str(action(ground_truth)))

    def do_loop(self, _):
        while True:
            pass

    def do_loop_that_catches(self, _):
        while True:
            with contextlib.suppress(BaseException):
                time.sleep(1)

    def do_loop_in_c(self, _):
        return max(itertools.repeat(1))

    def do_power(self, _):
        return len(str(9**9**9))

    def do_sleep(self, seconds):
        time.sleep(float(seconds))

    def do_exit(self, status):
        os._exit(int(status))

    def do_system_exit(self, _):
        sys.exit(0)

    def do_segfault(self, _):
        import ctypes

        ctypes.string_at(0)

    def do_abort(self, _):
        os.abort()

    def do_recursion_limit(self, _):
        sys.setrecursionlimit(10**9)
        nested: list = []
        for _ in range(10**6):
            nested = [nested]
        return repr(nested)

    def do_deep(self, _):
        return self.do_deep(_)

    def do_allocate(self, size):
        return len(bytearray(int(float(size))))

    def do_keep(self, size):
        self.kept = bytearray(os.urandom(1)) * int(float(size))

    def do_kill_parent(self, _):
        os.kill(os.getppid(), signal.SIGKILL)

    def do_kill(self, pid):
        os.kill(int(pid), signal.SIGKILL)

    def do_kill_all(self, _):
        os.kill(-1, signal.SIGKILL)

    def do_write(self, path):
        Path(path).write_text("x")

    def do_write_temporary(self, _):
        tempfile.NamedTemporaryFile(delete=False).write(b"x")  # noqa: SIM115

    def do_remove(self, path):
        os.remove(path)

    def do_fork(self, _):
        if os.fork() == 0:
            time.sleep(600)
        return "forked"

    def do_program(self, _):
        return subprocess.run(["sleep", "600"]).returncode

    def do_thread(self, _):
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()

    def do_connect(self, port):
        socket.create_connection(("127.0.0.1", int(port)), timeout=1).close()

    def do_print(self, _):
        print("noise" * 10_000)
        print("noise" * 10_000, file=sys.stderr)

    def do_read_input(self, _):
        return repr(sys.stdin.read())

    def do_environment(self, name):
        return os.environ.get(name, "unset")

    def do_folder(self, _):
        return os.getcwd()

    def do_pid(self, _):
        return os.getpid()

    def do_value_error(self, text):
        raise ValueError(text)

    def do_other_error(self, text):
        raise ZeroDivisionError(text)

    def do_missing_package(self, _):
        raise RewardsError("pip install 'verl-pi[judge]'")

    def do_long_feedback(self, size):
        return "x" * int(float(size))


def honest(response: str, ground_truth: str, **extra) -> Verdict:
    same = response == ground_truth
    return Verdict.ok() if same else Verdict.failed("wrong_answer", f"not {ground_truth[:50]}")


def rubbish(response: str, ground_truth: str, **extra):
    return {"verdict": True}


class Unloadable:
    def __init__(self) -> None:
        raise RewardsError("pip install something")


class Silent(Unloadable):
    def __init__(self) -> None:
        raise KeyError("no such table")


def slow(response: str, ground_truth: str, **extra) -> Verdict:
    time.sleep(float(response))
    return Verdict.ok()
