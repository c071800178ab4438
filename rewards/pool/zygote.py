"""The process from which workers are forked.

It imports and instantiates each verifier once; a worker forked from it has them all at once and in
milliseconds. It is small, has one thread, never sees an answer, and ends when the process that
started it ends, taking its workers along.

Commands, one JSON message each, answered by one:
    {"load": "module:object", "path": [...]}        {} or {"raise": ...} or {"error": text}
    {"fork": {"max_calls": n, "growth": bytes}}     {"pid": n, "lack": text} and the worker's socket
    {"reap": pid}                                   {"status": wait status}, killed if it lives
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

from rewards.errors import RewardsError
from rewards.pool import confine, worker
from rewards.pool.wire import Channel
from rewards.registry import instance_of, resolve

_verifiers: dict[str, Callable[..., Any]] = {}


def main(descriptor: int) -> None:
    """Serve commands on this socket until the other end closes it."""
    confine.silence()
    control = Channel(socket.socket(fileno=descriptor))
    os.chdir("/")  # not the user's folder
    children: set[int] = set()
    try:
        while True:
            command = control.receive()
            if "load" in command:
                control.send(_load(command["load"], command["path"]))
            elif "fork" in command:
                _fork(control, children, **command["fork"])
            else:
                control.send({"status": _reap(command["reap"])})
                children.discard(command["reap"])
    except EOFError:
        pass
    finally:
        for child in children:
            _reap(child)


def _load(target: str, path: list[str]) -> dict[str, Any]:
    sys.path[:] = path
    try:
        if target not in _verifiers:
            _verifiers[target] = instance_of(resolve(target))
            gc.collect()
            gc.freeze()  # the pages that workers share stay shared
    except RewardsError as err:
        return {"raise": [type(err).__module__, type(err).__qualname__, str(err)]}
    except Exception as err:
        return {"error": f"{type(err).__name__}: {err}"}
    return {}


def _fork(control: Channel, children: set[int], max_calls: int, growth: int) -> None:
    ours, theirs = socket.socketpair()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            control.close()
            ours.close()
            channel = Channel(theirs)
            channel.send({"lack": confine.confine(parent)})
            worker.run_and_end(channel, _verifiers, max_calls, growth)
        finally:
            os._exit(1)
    children.add(child)
    theirs.close()
    control.send_with({"pid": child}, ours.fileno())
    ours.close()


def _reap(child: int) -> int:
    """End that worker and all of its session, if they still live, and collect it."""
    for kill in (os.kill, os.killpg):
        with contextlib.suppress(OSError):
            kill(child, signal.SIGKILL)
    try:
        return os.waitpid(child, 0)[1]
    except ChildProcessError:
        return 0
