"""What a worker may do: limits that the kernel holds, and an environment without secrets."""

from __future__ import annotations

import ctypes
import os
import re
import resource
import signal
import sys
from collections.abc import Mapping

from rewards.pool import seccomp

_SECRET = re.compile(
    r"TOKEN|SECRET|PASSW|CREDENTIAL|(^|_)(KEY|APIKEY|PAT|PWD|DSN)(_|$)|DATABASE_URL", re.I
)
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables without those whose names speak of secrets, and one thread for arithmetic."""
    kept = {name: value for name, value in variables.items() if not _SECRET.search(name)}
    kept.update(dict.fromkeys(_ONE_THREAD, "1"))
    return {**kept, "TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": ""}


def end_with_parent(parent: int) -> None:
    """The kernel ends this process when the thread that started it ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it has ended before
        os._exit(1)


def confine(parent: int) -> str:
    """Confine this process for good; an empty answer, or what could not be done.

    A session of its own (so that all it leaves behind can be ended with it), no files beyond
    empty ones, no core dumps, no new privileges, and the filter of system calls. Where that
    filter is missing, an unprivileged worker may not start processes or threads either.
    """
    os.setsid()
    os.umask(0o077)
    for limit in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        resource.setrlimit(limit, (0, 0))
    end_with_parent(parent)
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)  # no core dump through a pipe either
    lack = seccomp.install()
    if lack and os.geteuid() != 0:
        resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    return lack


def silence() -> None:
    """Standard input, output and error lead nowhere."""
    sys.stdin = sys.stdout = sys.stderr = open(os.devnull, "r+")  # noqa: SIM115
    for descriptor in range(3):
        os.dup2(sys.stdin.fileno(), descriptor)


class MemoryLimit:
    """Address space for one call, beyond what the process has at that moment."""

    def __init__(self) -> None:
        self._statm = os.open("/proc/self/statm", os.O_RDONLY)
        self._page = resource.getpagesize()
        self._hard = resource.getrlimit(resource.RLIMIT_AS)[1]

    def allow(self, megabytes: float) -> None:
        limit = self._pages(0) * self._page + int(megabytes * 2**20)
        if self._hard != resource.RLIM_INFINITY:
            limit = min(limit, self._hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, self._hard))

    def lift(self) -> None:
        resource.setrlimit(resource.RLIMIT_AS, (self._hard, self._hard))

    def resident_bytes(self) -> int:
        return self._pages(1) * self._page

    def _pages(self, column: int) -> int:
        return int(os.pread(self._statm, 100, 0).split()[column])
