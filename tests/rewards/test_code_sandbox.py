"""The verifier `code`: options, slots, sandboxes that do not start, batches."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import os
import subprocess
import sys
import threading
import time

import pytest
from code_tasks import ADD, RIGHT, SQUARE, judge, needs_bubblewrap

import rewards
from rewards import stopping
from rewards.code import command, sandbox, truth
from rewards.code.verifier import CodeVerifier


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match="no option"):
        judge(RIGHT, timeout=3)
    with pytest.raises(ValueError, match="none of"):
        judge(RIGHT, sandbox="docker")
    with pytest.raises(ValueError, match="above 0"):
        judge(RIGHT, seconds=0)
    assert judge(RIGHT, max_chars=10).reason == "malformed"
    with pytest.raises(ValueError, match="above 0"):
        rewards.verify_batch([("code", "def add(", ADD, {}), ("code", RIGHT, ADD, {"seconds": -1})])


def test_the_number_of_sandboxes_is_checked(monkeypatch) -> None:
    monkeypatch.setenv("VERL_PI_SANDBOXES", "none")
    with pytest.raises(ValueError, match="VERL_PI_SANDBOXES"):
        sandbox.slot_count()


def test_a_fork_waits_for_no_lock_that_a_thread_held() -> None:
    """A thread holds every slot and the registry's lock while the process forks."""
    child = """
import os, signal, threading
import rewards
from rewards import registry
from rewards.code import sandbox
held, over = threading.Event(), threading.Event()
def hold():
    with registry._lock, sandbox.slots():
        held.set()
        over.wait()
threading.Thread(target=hold).start()
held.wait()
pid = os.fork()
if pid == 0:
    signal.alarm(30)
    verdict = rewards.verify("code", "print(1)", %r)
    os._exit(0 if verdict.passed else 1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
over.set()
"""
    one = json.dumps({"kind": "stdio", "cases": [{"input": "", "output": "1"}]})
    done = subprocess.run(
        [sys.executable, "-c", child % one],
        env={**os.environ, "VERL_PI_SANDBOXES": "1", "VERL_PI_VERIFIER_CACHE": "0"},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "0", done.stderr


@needs_bubblewrap
@pytest.mark.parametrize("working", [0, 1])
@pytest.mark.parametrize(("answer", "task"), [(RIGHT, ADD), ("print(int(input()) ** 2)", SQUARE)])
def test_a_sandbox_that_does_not_start_is_not_the_answers_fault(
    monkeypatch, tmp_path, working: int, answer: str, task: str
) -> None:
    """bwrap fails from its call number `working` on, as when no more processes are permitted."""
    fails = tmp_path / "bwrap"
    fails.write_text(
        f"#!/bin/sh\necho >> {tmp_path}/calls\n"
        f'[ $(wc -l < {tmp_path}/calls) -le {working} ] && exec bwrap "$@"\n'
        "echo 'bwrap: Creating new namespace failed: Resource temporarily unavailable' >&2\n"
        "exit 1\n"
    )
    fails.chmod(0o755)
    answer = f"{answer}\n# {working}"  # a known answer is not run again
    with monkeypatch.context() as changed:
        changed.setattr(command, "bwrap", functools.partial(_with_first, str(fails)))
        changed.setattr(sandbox, "bubblewrap_missing", lambda: "")
        verdict = judge(answer, task, sandbox="bubblewrap")
        assert verdict.reason == "verifier_error" and "not start" in verdict.feedback
    assert judge(answer, task, sandbox="bubblewrap").passed  # not remembered


def _with_first(first: str, whole=command.bwrap) -> list[str]:
    return [first, *whole()[1:]]


def test_a_batch_keeps_its_order_and_runs_beside_an_event_loop() -> None:
    answers = [("code", RIGHT if i % 2 else "def add(a, b): return 0", ADD, {}) for i in range(6)]
    verdicts = asyncio.run(rewards.averify_batch(answers))
    assert [v.passed for v in verdicts] == [False, True] * 3


def test_without_bubblewrap_limits_alone_serve_and_say_so_once(monkeypatch, caplog) -> None:
    monkeypatch.setattr(sandbox, "bubblewrap_missing", lambda: f"not installed: {sandbox.INSTALL}")
    sandbox._warn_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        for number in range(2):  # another text each: a known answer is not run again
            assert judge(f"{RIGHT}\n# without bubblewrap {number}").passed
    assert [r.getMessage().count("apt-get install bubblewrap") for r in caplog.records] == [1]
    with pytest.raises(rewards.RewardsError, match="apt-get install bubblewrap"):
        judge(f"{RIGHT}\n# bubblewrap or nothing", sandbox="bubblewrap")


def test_an_interrupted_batch_ends() -> None:
    """A signal interrupts whoever waits: programs that run end, others do not begin."""
    program = """
import json, os, signal, time
import rewards
truth = json.dumps({"kind": "stdio", "cases": [{"input": "", "output": "1"}]})
rewards.verify("code", "print(1)", truth)
def interrupt(*_):
    raise KeyboardInterrupt
signal.signal(signal.SIGALRM, interrupt)
signal.setitimer(signal.ITIMER_REAL, 0.5)
begun = time.monotonic()
items = [("code", f"import time; time.sleep({n + 20})", truth, {}) for n in range(6)]
try:
    rewards.verify_batch(items)
except KeyboardInterrupt:
    print(time.monotonic() - begun)
try:
    os.waitpid(-1, os.WNOHANG)
    print("left")
except ChildProcessError:
    print("none left")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    seconds, left = done.stdout.splitlines()
    assert float(seconds) < 15 and left == "none left", done.stderr


def test_a_cancelled_batch_ends_and_the_next_call_is_answered() -> None:
    truth = json.dumps({"kind": "stdio", "cases": [{"input": "", "output": "1"}]})
    slow = [("code", f"import time; time.sleep({n + 40})", truth, {}) for n in range(6)]

    async def run() -> rewards.Verdict:
        batch = asyncio.create_task(rewards.averify_batch(slow))
        await asyncio.sleep(1.0)
        batch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await batch
        return (await rewards.averify_batch([("code", "print(1)", truth, {})]))[0]

    begun = time.monotonic()
    assert asyncio.run(run()).passed
    assert time.monotonic() - begun < 30


def test_work_that_is_called_off_ends() -> None:
    """From another thread, as the event loop does for a task that is cancelled."""
    one = json.dumps({"kind": "stdio", "cases": [{"input": "", "output": "1"}]})
    items = [(f"import time; time.sleep({n + 20})", one, {}) for n in range(6)]
    event, ended = threading.Event(), []

    def work() -> None:
        with stopping.stoppable(event), contextlib.suppress(stopping.StoppedError):
            CodeVerifier().verify_batch(items)
        ended.append(time.monotonic())

    thread = threading.Thread(target=work)
    begun = time.monotonic()
    thread.start()
    time.sleep(0.3)
    event.set()
    thread.join()
    assert ended[0] - begun < 15


def test_ground_truths_are_remembered_up_to_a_size() -> None:
    for number in range(5):
        cases = [{"input": "x" * 4_000_000, "output": str(number)}]
        truth.read(json.dumps({"kind": "stdio", "cases": cases}))
    assert truth._kept.chars() <= truth._KEPT_CHARS
