"""Limits that a process puts on itself before anything else runs in it."""

from __future__ import annotations

import os
import resource
import sys

_STACK = 64 * 1024 * 1024
_CLONE_NEWIPC, _CLONE_NEWNET = 0x08000000, 0x40000000
_PR_SET_DUMPABLE = 4


def confine(limits: str) -> None:
    """Take on `limits`: "uid,memory_mb,cpu_seconds,processes,file_mb,flags".

    uid 0 keeps the user. Flags: n leaves the network where permitted; d hides this process's
    memory and files from others of the same user; k keeps the standard library open, which
    another user may not be let through to.
    """
    uid, memory, cpu, processes, file_mb, flags = limits.split(",")
    if "n" in flags:
        _without_network()
    if "d" in flags:
        _dumpable(0)
    if "k" in flags:
        _keep_library()
    _limit(resource.RLIMIT_AS, int(memory) << 20)
    # SIGXCPU first, which tells a limit from other ends; a program that ignores it is killed.
    _limit(resource.RLIMIT_CPU, int(cpu), int(cpu) + 1)
    _limit(resource.RLIMIT_FSIZE, int(file_mb) << 20)
    _limit(resource.RLIMIT_NOFILE, 64)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_STACK, _STACK)
    _limit(resource.RLIMIT_MEMLOCK, 0)
    _limit(resource.RLIMIT_MSGQUEUE, 0)
    # The kernel does not count the processes of user 0: it only helps with another user.
    _limit(resource.RLIMIT_NPROC, int(processes))
    if int(uid):
        os.setgroups([])
        os.setresgid(int(uid), int(uid), int(uid))
        os.setresuid(int(uid), int(uid), int(uid))


def _limit(which: int, amount: int, most: int | None = None) -> None:
    most = amount if most is None else most
    hard = resource.getrlimit(which)[1]
    if hard != resource.RLIM_INFINITY:
        amount, most = min(amount, hard), min(most, hard)
    resource.setrlimit(which, (amount, most))


def _without_network() -> None:
    import ctypes  # slow to import, and only the fallback without bubblewrap needs it

    ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET | _CLONE_NEWIPC)


def _keep_library() -> None:
    for at, path in enumerate(sys.path):
        if os.path.isdir(path):
            sys.path[at] = f"/proc/self/fd/{os.open(path, os.O_PATH | os.O_DIRECTORY)}"


def openable() -> None:
    """Let this process open its own descriptors by name: `/dev/stdin`, which programs read.

    The kernel refuses it to a process that became another user.
    """
    _dumpable(1)


def _dumpable(value: int) -> None:
    import ctypes

    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, value, 0, 0, 0)
