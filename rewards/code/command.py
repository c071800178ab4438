"""The commands that start Python in a sandbox."""

from __future__ import annotations

import contextlib
import functools
import os
import py_compile
import sys
from pathlib import Path

from rewards.code import processes

INSIDE = Path(__file__).parent / "inside"
#: Where that folder is in bubblewrap.
MOUNTED = "/opt/inside"
#: Without site-packages; the environment is ours, so that hashes are the same in every run.
PYTHON_FLAGS = ("-s", "-S", "-B")
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "HOME": "/tmp",
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "PYTHONINTMAXSTRDIGITS": "0",  # solutions print numbers of more than 4300 digits
}
_TMP_BYTES = 64 * 1024 * 1024


@functools.cache
def bwrap() -> list[str]:
    """The command of bubblewrap up to what changes from call to call."""
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
    command += ["--proc", "/proc", "--dev", "/dev"]
    for path in ("/tmp", "/dev/shm"):  # before Python, which may lie there
        command += ["--perms", "1777", "--size", str(_TMP_BYTES), "--tmpfs", path]
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
    command += ["--ro-bind", str(INSIDE), MOUNTED]
    command += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp", "--clearenv"]
    for name, value in ENVIRONMENT.items():
        command += ["--setenv", name, value]
    return command


def seccomp(denied: int) -> list[str]:
    """What to add for a filter of system calls, if there is one (`calls.filter_file`)."""
    return ["--seccomp", str(denied)] if denied >= 0 else []


def _executable() -> str:
    """The interpreter beneath a virtual environment."""
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


def python(inside: str) -> list[str]:
    """How Python runs the scripts, which lie in the folder `inside`."""
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
