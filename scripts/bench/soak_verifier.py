"""The hostile verifier of soak.py, in a module of its own so that workers can import it."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

from rewards import Verdict


class Hostile:
    """Does what the response says. Limits are small, since most of it is meant to reach them."""

    OPTIONS = frozenset({"seconds"})
    SECONDS = 0.25
    MEMORY_MB = 256

    def __call__(self, response: str, ground_truth: str, **extra) -> Verdict:
        action = ACTIONS.get(response)
        if action is not None:
            action()
        same = response == ground_truth
        return Verdict.ok() if same else Verdict.failed("wrong_answer")


def _loop() -> None:
    while True:
        pass


def _leave_a_thread() -> None:
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()


def _leave_a_process() -> None:
    subprocess.Popen(["sleep", "600"])


def _overflow() -> None:
    nested: list = []
    for _ in range(200_000):
        nested = [nested]
    repr(nested)


ACTIONS = {
    "loop": _loop,
    "loop in C": lambda: max(itertools.repeat(1)),
    "exit 0": lambda: os._exit(0),
    "exit 1": lambda: os._exit(1),
    "abort": os.abort,
    "10 GB": lambda: bytearray(10 * 2**30),
    "kill the parent": lambda: os.kill(os.getppid(), signal.SIGKILL),
    "write": lambda: Path("left-behind").write_text("x"),
    "connect": lambda: socket.create_connection(("127.0.0.1", 9), timeout=1),
    "thread": _leave_a_thread,
    "process": _leave_a_process,
    "nested": _overflow,
    "garbage": lambda: os.write(3, b"garbage" * 100),
}
#: Those that cost a whole time limit, and therefore are rare in the mixture.
SLOW = ("loop", "loop in C")
