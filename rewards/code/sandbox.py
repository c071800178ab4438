"""Where programs run: bubblewrap, or limits alone.

A sandbox starts one of the scripts in `inside/`. With bubblewrap it has its own process, network,
IPC and mount namespaces, sees Python and the system's libraries read-only and nothing else, and
all of it ends with its first process. Without it there are limits, another user where this process
is root, and a search for what is left.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import secrets
import select
import shutil
import signal
import subprocess
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path

from rewards.code import calls, command, processes
from rewards.code.errors import SandboxUnavailableError

_log = logging.getLogger(__name__)
INSTALL = "apt-get install bubblewrap"
#: What refuses namespaces, nearly always.
_HINT = (
    " (as another user than root it needs user namespaces: sysctl kernel.unprivileged_userns_clone"
    "=1 or kernel.apparmor_restrict_unprivileged_userns=0; in a container also a seccomp profile "
    "that permits them)"
)
WALL_FACTOR = 4.0
_PROCESSES = 32
_FILE_MB = 32


@dataclass(frozen=True)
class Limits:
    """seconds of processor time, and WALL_FACTOR times as many on the clock: a busy machine must
    not fail an answer, a sleeping program must not hold a slot. memory_mb: of each process, and of
    all together."""

    seconds: float
    memory_mb: int

    @property
    def wall_seconds(self) -> float:
        return self.seconds * WALL_FACTOR


@functools.cache
def slots() -> threading.BoundedSemaphore:
    """How many answers are examined at once: VERL_PI_SANDBOXES, or one per processor."""
    return threading.BoundedSemaphore(slot_count())


# Threads that hold slots are not in a forked process, and would never give them back there.
os.register_at_fork(after_in_child=slots.cache_clear)


def slot_count() -> int:
    """Raises ValueError if VERL_PI_SANDBOXES is not a number above 0."""
    asked = os.environ.get("VERL_PI_SANDBOXES", "")
    if not asked:
        return len(os.sched_getaffinity(0))
    if not asked.isdigit() or int(asked) == 0:
        raise ValueError(f"VERL_PI_SANDBOXES={asked!r}: a whole number above 0 is expected")
    return int(asked)


@dataclass
class Running:
    """A started sandbox. `end` leaves no process behind and may be called twice."""

    process: subprocess.Popen[bytes]
    info: int = -1
    uid: int = 0
    folder: str = ""
    _first: int = field(default=0, init=False)
    _pidfd: int = field(default=-1, init=False)

    def first_pid(self) -> int:
        """The process beneath which everything of this sandbox is; 0 if it is gone."""
        if self.info >= 0:
            self._read_info()
        return self._first or (0 if self.folder == "" else self.process.pid)

    def usage(self) -> tuple[int, float]:
        """(bytes of resident memory, seconds of processor time) of its living processes."""
        used = [processes.used(pid) for pid in processes.beneath(self.first_pid())]
        return sum(memory for memory, _ in used), sum(cpu for _, cpu in used)

    def end(self) -> int:
        """Kill what is left, wait until it is gone; the exit status, negative for a signal."""
        self.first_pid()
        if self._pidfd >= 0:
            # The namespace's first process: it is gone only after all others are.
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            select.select([self._pidfd], [], [], 10.0)
            os.close(self._pidfd)
            self._pidfd = -1
        else:
            self._end_group()
        try:
            return self.process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def status(self, patience: float = 1.0) -> int | None:
        """The exit status if it ends by itself within `patience` seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.wait(timeout=patience)
        return None

    def _read_info(self) -> None:
        with os.fdopen(self.info, "rb") as stream:
            text = stream.read()
        self.info = -1
        with contextlib.suppress(ValueError, KeyError, ProcessLookupError):
            self._first = int(json.loads(text)["child-pid"])
            self._pidfd = os.pidfd_open(self._first)

    def _end_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        if self.uid:
            processes.kill_user(self.uid)
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)


class Bubblewrap:
    """Namespaces of its own, by `bwrap`."""

    name = "bubblewrap"
    #: Examiner and guest cannot see each other's processes.
    flags = ""

    def start(
        self,
        role: str,
        limits: Limits,
        stdin: int,
        stdout: int,
        stderr: int = subprocess.DEVNULL,
        link: int | None = None,
    ) -> Running:
        """Start `inside/<role>.py`; link: a descriptor that it gets besides."""
        ours, theirs = os.pipe()
        uid = _fresh_uid() if os.geteuid() == 0 else 0
        arguments = [role, _limits_text(uid, limits, self.flags), *([str(link)] if link else [])]
        denied = calls.filter_file()
        ends = [fd for fd in (theirs, denied) if fd >= 0]
        line = [*command.bwrap(), *command.seccomp(denied), "--info-fd", str(theirs)]
        line += ["--", *command.python(command.MOUNTED), *arguments]
        try:
            process = subprocess.Popen(
                line,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                pass_fds=[*ends, *([link] if link else [])],
                env={},
            )
        except BaseException:
            os.close(ours)
            raise
        finally:
            for fd in ends:
                os.close(fd)
        return Running(process, info=ours, uid=uid)


class Rlimits:
    """Limits, a session of its own, an empty folder; as root also another user, no network."""

    name = "rlimits"
    flags = "d"

    def start(
        self,
        role: str,
        limits: Limits,
        stdin: int,
        stdout: int,
        stderr: int = subprocess.DEVNULL,
        link: int | None = None,
    ) -> Running:
        root = os.geteuid() == 0
        uid = _fresh_uid() if root else 0
        folder = tempfile.mkdtemp(prefix="verl-pi-code-")
        if root:
            os.chown(folder, uid, uid)
        flags = self.flags + ("nk" if root else "")
        arguments = [role, _limits_text(uid, limits, flags), *([str(link)] if link else [])]
        process = subprocess.Popen(
            [*command.python(str(command.INSIDE)), *arguments],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=folder,
            env={**command.ENVIRONMENT, "HOME": folder, "TMPDIR": folder},
            pass_fds=[link] if link else [],
            start_new_session=True,
        )
        return Running(process, uid=uid, folder=folder)


def choose(name: str) -> Bubblewrap | Rlimits:
    """The sandbox of that name ("auto", "bubblewrap", "rlimits").

    Raises SandboxUnavailableError with what to install, if "bubblewrap" is asked for by name.
    """
    if name == "rlimits":
        return Rlimits()
    lack = bubblewrap_missing()
    if not lack:
        return Bubblewrap()
    if name == "bubblewrap":
        raise SandboxUnavailableError(f"bubblewrap cannot be used: {lack}")
    _warn_once(lack)
    return Rlimits()


@functools.cache
def bubblewrap_missing() -> str:
    """Why bubblewrap cannot be used here, with what to do about it; empty if it can."""
    if shutil.which("bwrap") is None:
        return f"it is not installed: {INSTALL}"
    denied = calls.filter_file()
    line = [*command.bwrap(), *command.seccomp(denied)]
    try:
        said = subprocess.run(
            [*line, "--", *command.python(command.MOUNTED)[:-1], "-c", "print('here')"],
            capture_output=True,
            timeout=60,
            env={},
            pass_fds=[denied] if denied >= 0 else [],
        )
    except (OSError, subprocess.TimeoutExpired) as err:
        return f"bwrap does not run: {err}"
    finally:
        if denied >= 0:
            os.close(denied)
    if said.stdout.strip() == b"here":
        return ""
    return f"it does not work here: {said.stderr.decode('utf-8', 'replace').strip()[:300]}{_HINT}"


@functools.cache
def _warn_once(lack: str) -> None:
    _log.warning(
        "programs run under resource limits alone: files and processes of this user are within "
        "their reach (%s)",
        lack,
    )


def _limits_text(uid: int, limits: Limits, flags: str) -> str:
    cpu = int(limits.seconds) + 1
    return f"{uid},{limits.memory_mb},{cpu},{_PROCESSES},{_FILE_MB},{flags}"


def _fresh_uid() -> int:
    """A user that nobody is: the number of a user's processes is limited over the whole machine."""
    try:
        first, _, count = (int(n) for n in Path("/proc/self/uid_map").read_text().split()[:3])
    except (OSError, ValueError):
        return processes.OVERFLOW_UID
    low, high = 1 << 20, min(first + count, (1 << 31) - 1)
    return low + secrets.randbelow(high - low) if high - low > 1 << 16 else processes.OVERFLOW_UID
