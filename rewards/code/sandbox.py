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
import py_compile
import secrets
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path

from rewards.code import calls, processes
from rewards.code.errors import SandboxUnavailableError

_log = logging.getLogger(__name__)
INSIDE = Path(__file__).parent / "inside"
INSTALL = "apt-get install bubblewrap"
#: Without site-packages; the environment is ours, so that hashes are the same in every run.
PYTHON_FLAGS = ("-s", "-S", "-B")
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "PYTHONINTMAXSTRDIGITS": "0",  # solutions print numbers of more than 4300 digits
}
WALL_FACTOR = 4.0
_PROCESSES = 32
_INSIDE = "/opt/inside"
_FILE_MB = 32
_TMP_BYTES = 64 * 1024 * 1024


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
        command = [*_bwrap(), *_seccomp(denied), "--info-fd", str(theirs)]
        command += ["--", *_python(_INSIDE), *arguments]
        try:
            process = subprocess.Popen(
                command,
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
            [*_python(str(INSIDE)), *arguments],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=folder,
            env={**ENVIRONMENT, "HOME": folder, "TMPDIR": folder},
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
    try:
        said = subprocess.run(
            [*_bwrap(), *_seccomp(denied), "--", *_python(_INSIDE)[:-1], "-c", "print('here')"],
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
    return f"namespaces are not permitted here: {said.stderr.decode('utf-8', 'replace')[:300]}"


@functools.cache
def _warn_once(lack: str) -> None:
    _log.warning(
        "programs run under resource limits alone: files and processes of this user are within "
        "their reach (%s)",
        lack,
    )


@functools.cache
def _bwrap() -> list[str]:
    """The command up to what changes from call to call."""
    root = os.geteuid() == 0
    # As root no user namespace: in it the programs would still be the kernel's user 0, whose
    # processes RLIMIT_NPROC does not count. They become another user before the answer is read.
    apart = [f"--unshare-{kind}" for kind in ("pid", "net", "ipc", "uts")]
    user = [
        "--unshare-user",
        "--uid",
        str(processes.OVERFLOW_UID),
        "--gid",
        str(processes.OVERFLOW_UID),
    ]
    command = ["bwrap", *apart, "--unshare-cgroup-try", *([] if root else user)]
    command += ["--die-with-parent", "--new-session", "--cap-drop", "ALL"]
    if root:
        command += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    for path in ("/usr", *_python_paths()):
        for above in reversed(Path(path).parents[:-1]):  # as closed as /root is outside, otherwise
            command += ["--perms", "0755", "--dir", str(above)]
        command += ["--ro-bind", path, path]
    for link in ("bin", "lib", "lib64", "lib32"):
        if os.path.islink(f"/{link}"):
            command += ["--symlink", os.readlink(f"/{link}"), f"/{link}"]
        elif os.path.isdir(f"/{link}"):
            command += ["--ro-bind", f"/{link}", f"/{link}"]
    command += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    _compile_inside()
    command += ["--ro-bind", str(INSIDE), _INSIDE, "--proc", "/proc", "--dev", "/dev"]
    for path in ("/tmp", "/dev/shm"):
        command += ["--perms", "1777", "--size", str(_TMP_BYTES), "--tmpfs", path]
    command += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp", "--clearenv"]
    for name, value in ENVIRONMENT.items():
        command += ["--setenv", name, value]
    return command


def _seccomp(denied: int) -> list[str]:
    return ["--seccomp", str(denied)] if denied >= 0 else []


def _executable() -> str:
    """The interpreter beneath a virtual environment."""
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


def _python(inside: str) -> list[str]:
    return [_executable(), *PYTHON_FLAGS, f"{inside}/start.py"]


def _python_paths() -> list[str]:
    """The interpreter and its libraries, as far as they lie outside /usr."""
    dynamic = [path for path in sys.path if path.endswith("/lib-dynload")]
    wanted = [_executable(), os.path.join(sys.base_prefix, "lib")]
    wanted += [os.path.dirname(os.__file__), *dynamic]
    found: list[str] = []
    for path in (p for p in wanted if p and os.path.exists(p)):
        if not any(Path(path).is_relative_to(held) for held in ["/usr", *found]):
            found.append(path)
    return found


@functools.cache
def _compile_inside() -> None:
    """Compiled files beside the scripts, where that folder can be written: half the start-up."""
    for path in INSIDE.glob("*.py"):
        with contextlib.suppress(OSError, py_compile.PyCompileError):
            py_compile.compile(str(path), doraise=True)


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
