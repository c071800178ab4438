"""One answer against its tests, in sandboxes on this machine."""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass

from rewards import stopping
from rewards.code.inside import wire
from rewards.code.sandbox import Bubblewrap, Limits, Rlimits, Running
from rewards.code.truth import Asserts

Local = Bubblewrap | Rlimits
_OUTPUT_BYTES = 1_000_000
_STDERR_BYTES = 8192
_POLL_SECONDS = 0.1
_START_SECONDS = 60.0
#: What `inside/program.py` exits with.
_COMPILE_ERROR, _MEMORY = 65, 66
_OVER_TIME = (-signal.SIGXCPU, 128 + signal.SIGXCPU)
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


@dataclass(frozen=True)
class Result:
    """reason: one of the verdict's. feedback: what a test or the interpreter said."""

    reason: str
    feedback: str = ""


class NotBegunError(Exception):
    """A sandbox did not start: a fault of the machine, and no word about the answer."""


class _Exceeded(Exception):
    """Time, memory or output is used up; the argument is the reason of the verdict."""


def task_of(texts: list[str], truth: Asserts) -> bytes:
    """What the examiner is told."""
    task = {
        "texts": texts,
        "prompt": truth.prompt,
        "entry_point": truth.entry_point,
        "wanted": list(truth.taken.answer),
        "names": list(truth.taken.answer),
        "modules": list(truth.taken.modules),
        "helpers": [list(pair) for pair in truth.taken.helpers],
        "trusted": list(truth.trusted),
        "tests": list(truth.tests),
    }
    return wire.encode(task, None)


def program_of(texts: list[str]) -> bytes:
    """The program, as `inside/program.py` reads it."""
    head = wire.encode(texts, None).hex().encode()
    return b"%012d" % len(head) + head


def examine(sandbox: Local, texts: list[str], truth: Asserts, limits: Limits) -> Result:
    """Run the tests in one sandbox against the program in another."""
    at = ""
    with contextlib.ExitStack() as stack:
        guest, examiner, stream = _pair(stack, sandbox, task_of(texts, truth), limits)
        output = _Output(stream, guest, limits, limits.wall_seconds)
        try:
            for message in _messages(_begun(output, examiner)):
                if message[0] == "verdict":
                    return _result(message, guest)
                at = f"; the test was: {truth.tests[message[1]][1]}"
        except _Exceeded as err:
            return Result(str(err), exceeded(str(err), limits) + at)
        return unfinished(examiner.status(), at)


def run_program(
    sandbox: Local, texts: list[str], text: str, limits: Limits, expected: int, within: float
) -> tuple[Result, bytearray]:
    """(result, standard output) of the program on one input.

    expected: bytes of output. within: seconds on the clock, if they are less than the limits'.
    """
    most = most_output(expected)
    output, errors = bytearray(), os.memfd_create("stderr")
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, errors)
        source = stack.enter_context(_file(text.encode("utf-8", "surrogatepass")))
        program = stack.enter_context(_file(program_of(texts)))
        running, stream = _with_output(stack, sandbox, "program", limits, source, errors, program)
        said = _Output(stream, running, limits, min(limits.wall_seconds, within))
        try:
            for part in _begun(said, running):
                output += part
                if len(output) > most:
                    return Result("runtime_error", f"more than {most} bytes of output"), output
            status = said.status()
        except _Exceeded as err:
            return Result(str(err), exceeded(str(err), limits)), output
        text = os.pread(errors, _STDERR_BYTES, 0).decode("utf-8", "replace")
    return ended(status, text, limits), output


def _begun(output: _Output, running: Running) -> Iterator[bytes]:
    """What follows the sign that the script has begun. Raises NotBegunError if it is not there."""
    parts = output.parts()
    try:
        first = next(parts, b"")
    except _Exceeded as err:
        raise NotBegunError(f"a sandbox did not start: {err}") from None
    if first[:1] != wire.BEGUN:
        raise NotBegunError(f"a sandbox did not start (exit status {running.status()})")
    yield first[1:]
    yield from parts


def unfinished(status: int | None, at: str = "") -> Result:
    """The examiner ended without a verdict: only its limit on time is the answer's doing."""
    if status in _OVER_TIME:
        return Result("timeout", f"the tests took too long{at}")
    return Result("verifier_error", f"the tests were broken off (exit status {status}){at}")


def most_output(expected: int) -> int:
    """Bytes of output after which a program is ended, for an expected number of them."""
    return max(_OUTPUT_BYTES, 2 * expected)


def ended(status: int, said: str, limits: Limits) -> Result:
    """What a program's exit status and its standard error say."""
    if status == 0:
        return Result("ok")
    if status == _COMPILE_ERROR:
        return Result("compile_error", said or "it does not compile")
    if status == _MEMORY or "MemoryError" in said[-300:]:
        return Result("memory", exceeded("memory", limits))
    if status in _OVER_TIME:
        return Result("timeout", exceeded("timeout", limits))
    return Result("runtime_error", said.strip() or f"the program ended with status {status}")


def _pair(stack: contextlib.ExitStack, sandbox: Local, task: bytes, limits: Limits):
    """Start guest and examiner with a socket between them; all ends with `stack`."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        guest = sandbox.start("guest", limits, theirs.fileno(), subprocess.DEVNULL)
        stack.callback(guest.end)
        source = stack.enter_context(_file(task))
        # The examiner gets more time than the program: it must live to say what happened.
        own = Limits(limits.wall_seconds + 5, limits.memory_mb)
        examiner, stream = _with_output(stack, sandbox, "examiner", own, source, link=ours.fileno())
    return guest, examiner, stream


def _with_output(
    stack: contextlib.ExitStack,
    sandbox: Local,
    role: str,
    limits: Limits,
    source: int,
    errors: int = subprocess.DEVNULL,
    link: int | None = None,
) -> tuple[Running, int]:
    stream, end = os.pipe()
    stack.callback(os.close, stream)
    if role == "program":
        os.fchmod(end, 0o622)  # it may open /dev/stdout, as another user
    try:
        running = sandbox.start(role, limits, source, end, errors, link)
    finally:
        os.close(end)
    stack.callback(running.end)
    return running, stream


@contextlib.contextmanager
def _file(data: bytes) -> Iterator[int]:
    """A descriptor to read `data` from, that nobody can change."""
    fd = os.memfd_create("input", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with os.fdopen(os.dup(fd), "wb") as stream:
            stream.write(data)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd
    finally:
        os.close(fd)


class _Output:
    """What comes out of a pipe while the `watched` sandbox keeps to its limits.

    The time on the clock begins with the first byte: starting a sandbox takes as long as the
    machine is busy, and no program can prolong it.
    """

    def __init__(self, stream: int, watched: Running, limits: Limits, within: float) -> None:
        self._stream, self._watched, self._limits = stream, watched, limits
        self._within = within
        self._deadline = time.monotonic() + _START_SECONDS

    def parts(self) -> Iterator[bytes]:
        """All of it, as it comes. Raises _Exceeded, StoppedError."""
        begun = False
        next_look = time.monotonic() + _POLL_SECONDS
        with selectors.DefaultSelector() as selector:
            selector.register(self._stream, selectors.EVENT_READ)
            while True:
                now = time.monotonic()
                if now >= self._deadline:
                    raise _Exceeded("timeout")
                if now >= next_look:
                    self._look()
                    next_look = time.monotonic() + _POLL_SECONDS
                if selector.select(max(0.0, min(self._deadline, next_look) - now)):
                    part = os.read(self._stream, 1 << 16)
                    if not part:
                        return
                    if not begun:
                        begun, self._deadline = True, time.monotonic() + self._within
                    yield part

    def status(self) -> int:
        """The exit status of what was watched, in the time left. Raises _Exceeded."""
        try:
            left = max(0.05, self._deadline - time.monotonic())
            return self._watched.process.wait(timeout=left)
        except subprocess.TimeoutExpired:
            raise _Exceeded("timeout") from None

    def _look(self) -> None:
        stopping.check()
        memory, cpu = self._watched.usage()
        if memory > self._limits.memory_mb << 20:
            raise _Exceeded("memory")
        if cpu > self._limits.seconds:
            raise _Exceeded("timeout")


def _messages(parts: Iterator[bytes]) -> Iterator[tuple]:
    """What the examiner tells, as it comes."""
    held = b""
    for part in parts:
        held += part
        while len(held) >= 4 and len(held) >= (end := 4 + int.from_bytes(held[:4], "little")):
            yield wire.decode(held[4:end], None)
            held = held[end:]


def _result(message: tuple, guest: Running) -> Result:
    _, reason, feedback = message
    if reason == "runtime_error" and "the program ended" in feedback:
        status = guest.status()
        if status in _OVER_TIME:
            return Result("timeout", feedback)
        return Result(reason, f"{feedback} (exit status {status})")
    return Result(reason, feedback)


def exceeded(reason: str, limits: Limits) -> str:
    """The feedback on a limit that was reached."""
    if reason == "memory":
        return f"the program took more than {limits.memory_mb} MB of memory"
    return f"the program took more than {limits.seconds:g} s"
