"""Processes of a sandbox as the kernel shows them in /proc."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

#: The user that stands for all those that a namespace does not know.
OVERFLOW_UID = 65534
#: A tree is not followed further: ten times as many as a sandbox may have.
_MOST = 320


def beneath(pid: int) -> list[int]:
    """The process and its descendants."""
    found, open_ = [], [pid] if pid else []
    while open_ and len(found) < _MOST:
        here = open_.pop()
        found.append(here)
        with contextlib.suppress(OSError, ValueError):
            for task in os.listdir(f"/proc/{here}/task"):
                text = Path(f"/proc/{here}/task/{task}/children").read_text()
                open_.extend(int(child) for child in text.split())
    return found


def used(pid: int) -> tuple[int, float]:
    """(bytes of resident memory, seconds of processor time), its ended children's included."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (OSError, IndexError):
        return 0, 0.0
    ticks, pages = sum(int(n) for n in stat[11:15]), int(stat[21])
    return pages * os.sysconf("SC_PAGE_SIZE"), ticks / os.sysconf("SC_CLK_TCK")


def kill_user(uid: int) -> None:
    """Kill every process of a user that only one sandbox has."""
    if uid == OVERFLOW_UID:
        return
    deadline = time.monotonic() + 5.0
    while time.monotonic() < deadline:
        mine = [pid for pid in _numbers("/proc") if _owner(pid) == uid]
        if not mine:
            return
        for pid in mine:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _numbers(folder: str) -> list[int]:
    return [int(name) for name in os.listdir(folder) if name.isdigit()]


def _owner(pid: int) -> int:
    """The user of a living process; -1 for one that is gone or a zombie."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return -1
    fields = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    return -1 if fields.get("State", "Z").startswith("Z") else int(fields["Uid"].split()[0])
