"""Starting verl in a child process, following it, and explaining its end."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

from recipes.launch import environment
from recipes.progress import ProgressView

LAUNCH = "recipes.launch"
LOG = "run.log"
STOP_SECONDS = 20.0  # Ray ends its processes when its driver is told to stop
# Lines of a worker's log that name a cause; the last of them is shown when a run fails.
_CAUSE = re.compile(r"\b(\w*(?:Error|Exception|Unsupported\w*|Collapsed|MissingResponse))\b: (.+)")


# Ray says this when it ends a worker to save the machine's memory. Others may then wait for ever.
_OUT_OF_MEMORY = re.compile(rb"killed due to memory pressure|OutOfMemoryError")
OUT_OF_MEMORY_SECONDS = 30.0  # for the run to fail on its own, with its own message
POLL_SECONDS = 2.0


class RunFailed(RuntimeError):
    """verl ended with an error; the message has the likeliest cause and the log's path."""


def run_verl(folder: Path, profile: str) -> None:
    """Run verl on a prepared folder, showing progress; returns when it has finished.

    Raises:
        RunFailed: the process ended with an error.
        KeyboardInterrupt: after the child has been stopped.
    """
    log_path = folder / LOG
    environ = {**os.environ, **environment(profile), "VERL_PI_PARENT": str(os.getpid())}
    with log_path.open("ab") as log:
        earlier = log.tell()  # what an earlier life of the run wrote
        child = subprocess.Popen(
            [sys.executable, "-m", LAUNCH, str(folder)],
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environ,
        )
        ended = threading.Event()
        threading.Thread(target=_watch, args=(child, log_path, ended), daemon=True).start()
        try:
            ProgressView(folder).run_until(ended)
        except BaseException:
            _stop(child)
            raise
    if child.returncode != 0:
        raise RunFailed(_explain(log_path, child.returncode, earlier))


def _watch(child: subprocess.Popen, log_path: Path, ended: threading.Event) -> None:
    """Wait for the child; end it when Ray has killed one of its workers and it hangs."""
    with log_path.open("rb") as log:
        log.seek(0, os.SEEK_END)
        deadline = None
        while child.poll() is None:
            if deadline is None and _OUT_OF_MEMORY.search(log.read()):
                deadline = time.monotonic() + OUT_OF_MEMORY_SECONDS
            if deadline is not None and time.monotonic() > deadline:
                _stop(child)
                break
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout=POLL_SECONDS)
    ended.set()


def _stop(child: subprocess.Popen) -> None:
    child.terminate()
    try:
        child.wait(timeout=STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _explain(log_path: Path, code: int, start: int) -> str:
    """The last named cause in the log's tail, from byte ``start`` on, in a sentence."""
    with log_path.open("rb") as handle:
        handle.seek(max(start, log_path.stat().st_size - 400_000))
        tail = handle.read().decode(errors="replace").splitlines()
    causes = [m.group(0) for m in map(_CAUSE.search, tail) if m]
    wrappers = ("RayTaskError", "ActorDiedError", "RuntimeError: Worker")
    named = [c for c in causes if not c.startswith(wrappers)] or causes
    if any(_OUT_OF_MEMORY.search(line.encode()) for line in tail):
        named.append(
            "the machine ran out of memory and Ray killed a worker: lower "
            "max_tokens_per_micro_batch or ranks (the dry run prints an estimate), or end other "
            "programs"
        )
    elif code in (-9, 137):
        named.append("the process was killed (out of memory? the dry run prints an estimate)")
    cause = named[-1] if named else f"exit code {code}"
    return f"the run failed: {cause}\nAll output: {log_path}\nThe same command resumes the run."
