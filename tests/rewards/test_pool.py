"""The pool of worker processes, through `rewards.verify`: hostile calls, limits, recycling."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import psutil
import pytest

import rewards
from rewards import RewardsError, Verdict, VerifierContractError, pool

HERE = Path(__file__).parent
NAMES = {
    "hostile": "Hostile", "honest": "honest", "rubbish": "rubbish", "slow": "slow",
    "unloadable": "Unloadable", "silent": "Silent",
}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def _verifiers():
    for name, target in NAMES.items():
        rewards.register_verifier(f"test_{name}", f"hostile_verifiers:{target}")


@pytest.fixture(autouse=True)
def _two_workers(monkeypatch):
    monkeypatch.setenv("VERL_PI_VERIFIER_WORKERS", "2")
    monkeypatch.setenv("VERL_PI_VERIFIER_CACHE", "0")


def hostile(response: str, argument: object = "", **extra) -> Verdict:
    return rewards.verify("test_hostile", response, str(argument), **extra)


def honest_call_is_answered() -> bool:
    return rewards.verify("test_hostile", "yes", "yes").passed


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(
    ("response", "argument", "reason"),
    [
        ("loop", "", "timeout"),
        ("loop_that_catches", "", "timeout"),
        ("loop_in_c", "", "timeout"),
        ("power", "", "timeout"),
        ("sleep", "60", "timeout"),
        ("exit", "0", "runtime_error"),
        ("exit", "3", "runtime_error"),
        ("system_exit", "", "runtime_error"),
        ("segfault", "", "runtime_error"),
        ("abort", "", "runtime_error"),
        ("deep", "", "malformed"),
        ("allocate", "1e10", "memory"),
        ("kill_parent", "", "verifier_error"),
        pytest.param("kill", os.getpid(), "verifier_error", id="kill this process"),
        ("kill_all", "", "verifier_error"),
        ("fork", "", "verifier_error"),
        ("program", "", "verifier_error"),
        ("write_temporary", "", "verifier_error"),
        ("value_error", "cannot be read", "verifier_error"),
        ("other_error", "by zero", "verifier_error"),
        ("thread", "", "ok"),
        ("print", "", "ok"),
        ("read_input", "", "ok"),
        ("long_feedback", "1e8", "ok"),
    ],
)
def test_a_hostile_call_is_answered_and_so_is_the_next_honest_one(response, argument, reason):
    extra = {"seconds": 0.3} if reason == "timeout" else {}
    started = time.monotonic()
    verdict = hostile(response, argument, **extra)
    assert verdict.reason == reason
    assert time.monotonic() - started < 30
    assert honest_call_is_answered()


def test_a_stack_overflow_ends_the_call_alone():
    assert hostile("recursion_limit", seconds=0.5).reason in ("runtime_error", "timeout", "memory")
    assert honest_call_is_answered()


def test_feedback_says_what_happened():
    assert "more than 0.25 s" in hostile("loop", seconds=0.25).feedback
    assert "256 MB" in hostile("allocate", "1e10").feedback
    assert hostile("value_error", "the ground truth is no JSON").feedback.endswith("no JSON")
    assert hostile("other_error", "by zero").feedback == "ZeroDivisionError: by zero"
    assert len(hostile("long_feedback", "1e6").feedback) == 100_000


def test_nothing_is_changed_outside(tmp_path):
    kept = tmp_path / "kept"
    kept.write_text("x")
    assert hostile("write", tmp_path / "new").reason == "verifier_error"
    assert hostile("write", kept).reason == "verifier_error"
    assert hostile("remove", kept).reason == "verifier_error"
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert kept.read_text() == "x"


def test_there_is_no_network():
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert hostile("connect", server.getsockname()[1]).reason == "verifier_error"


def test_secrets_stay_here_and_settings_arrive(monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "secret")
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.setenv("VERL_PI_SOMETHING", "seen")
    assert hostile("environment", "SOME_API_KEY").feedback == "unset"
    assert hostile("environment", "HF_TOKEN").feedback == "unset"
    assert hostile("environment", "VERL_PI_SOMETHING").feedback == "seen"
    assert hostile("environment", "OMP_NUM_THREADS").feedback == "1"
    monkeypatch.setenv("VERL_PI_SOMETHING", "changed")
    assert hostile("environment", "VERL_PI_SOMETHING").feedback == "changed"
    assert hostile("folder").feedback == "/"


def test_order_is_kept_whatever_happens_in_between():
    items = []
    for number in range(300):
        text = f"answer {number}"
        response = {50: "exit", 120: "loop", 121: "allocate"}.get(number, text)
        truth = {50: "0", 121: "1e10"}.get(number, text if number % 3 else "other")
        items.append(("test_hostile", response, truth, {"seconds": 0.5}))
    reasons = [verdict.reason for verdict in rewards.verify_batch(items)]
    expected = ["ok" if number % 3 else "wrong_answer" for number in range(300)]
    expected[50], expected[120], expected[121] = "runtime_error", "timeout", "memory"
    assert reasons == expected


@pytest.mark.parametrize(
    "text",
    ["\ud800 alone", "a\0b", "é∀𝔸", "x" * 10_000_000, ""],
    ids=["lone surrogate", "NUL", "unicode", "10 MB", "empty"],
)
def test_any_text_arrives_as_it_is(text):
    assert rewards.verify("test_honest", text, text).passed
    assert rewards.verify("test_honest", text + "y", text).reason == "wrong_answer"


def test_options_that_are_no_plain_data_are_answered():
    assert rewards.verify("test_honest", "a", "a", note=(1, [2.5, None])).passed
    loop: list = []
    loop.append(loop)
    for value in (object(), {1, 2}, b"bytes", loop, {"deep": lambda: 0}):
        verdict = rewards.verify("test_honest", "a", "a", note=value)
        assert verdict.reason == "verifier_error" and "cannot be sent" in verdict.feedback
    items = [("test_honest", "a", "a", {"note": object() if i == 5 else i}) for i in range(20)]
    passed = [verdict.passed for verdict in rewards.verify_batch(items)]
    assert passed == [i != 5 for i in range(20)]


def test_numpy_options_arrive_as_plain_data():
    import numpy

    assert rewards.verify(
        "test_honest", "a", "a", note=numpy.arange(3), level=numpy.int64(3)
    ).passed


def test_a_verifier_that_returns_rubbish_is_named():
    with pytest.raises(VerifierContractError, match=r"rubbish' returned 1 × \['dict'\]"):
        rewards.verify("test_rubbish", "", "")
    assert honest_call_is_answered()


def test_errors_of_configuration_reach_the_caller():
    with pytest.raises(RewardsError, match="pip install 'verl-pi"):
        hostile("missing_package")
    with pytest.raises(RewardsError, match="pip install something"):
        rewards.verify("test_unloadable", "", "")
    with pytest.raises(RewardsError, match="does not load in a worker process: KeyError"):
        rewards.verify("test_silent", "", "")
    assert honest_call_is_answered()


def test_workers_are_replaced_after_a_number_of_calls(monkeypatch):
    monkeypatch.setenv("VERL_PI_VERIFIER_CALLS", "10")
    verdicts = rewards.verify_batch([("test_hostile", "pid", "", {})] * 200)
    pids = [verdict.feedback for verdict in verdicts]
    assert max(pids.count(pid) for pid in pids) == 10
    assert len(set(pids)) >= 20


def test_workers_are_replaced_when_they_grow(monkeypatch):
    monkeypatch.setenv("VERL_PI_VERIFIER_WORKERS", "1")
    monkeypatch.setenv("VERL_PI_VERIFIER_GROWTH_MB", "50")
    before = hostile("pid").feedback
    hostile("keep", "1e7")
    assert hostile("pid").feedback == before
    hostile("keep", "1e8")
    assert hostile("pid").feedback != before


def test_settings_that_are_no_numbers_are_refused(monkeypatch):
    monkeypatch.setenv("VERL_PI_VERIFIER_CALLS", "many")
    with pytest.raises(ValueError, match="VERL_PI_VERIFIER_CALLS='many'"):
        hostile("pid")


def test_a_worker_or_the_zygote_killed_from_outside_costs_nothing():
    assert honest_call_is_answered()
    for turn in (0, -1, 0):
        pid = pool.current().describe()["pids"][turn]
        psutil.Process(pid).kill()
        while runs(pid):
            time.sleep(0.01)
        assert honest_call_is_answered()


def test_calls_in_flight_when_the_zygote_ends_are_judged_again():
    items = [("test_slow", "0.5", "", {})] * 4
    future = []
    thread = threading.Thread(target=lambda: future.extend(rewards.verify_batch(items)))
    thread.start()
    time.sleep(0.7)
    psutil.Process(pool.current().describe()["pids"][0]).kill()
    thread.join(20)
    assert [verdict.reason for verdict in future] == ["ok"] * 4


def test_a_long_batch_holds_no_other_one_back():
    done: list[str] = []

    def judge(name: str, count: int) -> None:
        rewards.verify_batch([("test_slow", "0.02", "", {})] * count)
        done.append(name)

    long = threading.Thread(target=judge, args=("long", 150))
    long.start()
    time.sleep(0.3)
    judge("short", 2)
    long.join()
    assert done == ["short", "long"]


def test_batches_awaited_at_once_run_at_once_and_the_loop_goes_on():
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    async def run() -> float:
        await rewards.averify_batch([("test_slow", "0", "", {})] * 2)
        ticking = asyncio.create_task(tick())
        started = time.monotonic()
        await asyncio.gather(
            *(rewards.averify_batch([("test_slow", "0.5", "", {})]) for _ in range(2))
        )
        ticking.cancel()
        return time.monotonic() - started

    assert asyncio.run(run()) < 0.9
    assert ticks > 20


def test_a_cancelled_batch_leaves_the_pool_to_the_others():
    async def run() -> None:
        task = asyncio.create_task(rewards.averify_batch([("test_slow", "0.1", "", {})] * 500))
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    started = time.monotonic()
    assert honest_call_is_answered()
    assert time.monotonic() - started < 5


def test_threads_share_the_pool():
    verdicts: dict[int, list[Verdict]] = {}

    def judge(number: int) -> None:
        text = str(number)
        items = [("test_honest", text, text if i % 2 else "no", {}) for i in range(100)]
        verdicts[number] = rewards.verify_batch(items)

    threads = [threading.Thread(target=judge, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all([v.passed for v in verdicts[n]] == [False, True] * 50 for n in range(8))
    assert len(pool.current().describe()["pids"]) <= 3


def test_a_forked_child_has_a_pool_of_its_own():
    assert honest_call_is_answered()
    ours = pool.current().describe()["pids"]
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            passed = honest_call_is_answered()
            apart = not set(pool.current().describe()["pids"]) & set(ours)
            os.write(write, b"1" if passed and apart else b"0")
            pool.close()
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        assert stream.read() == b"1"
    os.waitpid(child, 0)
    assert pool.current().describe()["pids"][:1] == ours[:1]
    assert honest_call_is_answered()


def script(text: str, folder: Path) -> subprocess.Popen:
    path = folder / "script.py"
    path.write_text(textwrap.dedent(text))
    paths = [str(Path(rewards.__file__).parents[1]), str(HERE)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TMPDIR": str(folder)}
    return subprocess.Popen([sys.executable, str(path)], env=env, stdout=subprocess.PIPE, text=True)


def test_a_script_without_a_main_guard_runs_once_and_leaves_nothing(tmp_path):
    text = """
        import rewards
        from rewards import pool
        print("begins")
        rewards.register_verifier("hostile", "hostile_verifiers:Hostile")
        verdicts = rewards.verify_batch([("hostile", "a", "a", {})] * 40)
        print([verdict.reason for verdict in verdicts].count("ok"))
        print(*pool.current().describe()["pids"])
    """
    child = script(text, tmp_path)
    output, _ = child.communicate(timeout=60)
    begins, count, pids = output.splitlines()
    assert (begins, count, child.returncode) == ("begins", "40", 0)
    assert not [pid for pid in pids.split() if psutil.pid_exists(int(pid))]
    assert [path.name for path in tmp_path.iterdir()] == ["script.py"]


def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    text = """
        import threading, time
        import rewards
        from rewards import pool
        rewards.register_verifier("hostile", "hostile_verifiers:Hostile")
        items = [("hostile", "loop", "", {"seconds": 600})] * 2
        threading.Thread(target=rewards.verify_batch, args=(items,), daemon=True).start()
        while len(pool.current().describe()["pids"]) < 3:
            time.sleep(0.05)
        print(*pool.current().describe()["pids"], flush=True)
        time.sleep(600)
    """
    child = script(text, tmp_path)
    assert child.stdout is not None
    pids = [int(pid) for pid in child.stdout.readline().split()]
    assert len(pids) == 3 and all(map(psutil.pid_exists, pids))
    child.kill()
    child.wait()
    child.stdout.close()
    gone = time.monotonic() + 10
    while any(map(runs, pids)) and time.monotonic() < gone:
        time.sleep(0.05)
    assert not any(map(runs, pids))


def test_importing_rewards_is_light():
    code = "import sys, rewards; print(*sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    heavy = {"torch", "verl", "ray", "numpy", "asyncio", "sympy", "multiprocessing", "pebble"}
    assert not heavy & set(output.split())
