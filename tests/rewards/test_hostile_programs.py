"""No program passes without being right, hangs, or leaves anything behind."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil
import pytest
from hostile_answers import CASES
from hostile_forgeries import FORGERIES
from hostile_harms import HARMS
from hostile_probes import AS_ROOT, PROBES
from hostile_tasks import HONEST, HONEST_IO, MARK, PROBE, PROGRAM, TASK, truth_of

import rewards
from rewards.code import sandbox
from rewards.code.sandbox import bubblewrap_missing

#: Forgeries end by themselves, nearly all of them; harms are to be ended.
SHORT = {"seconds": 1, "memory_mb": 256}
SHORTER = {"seconds": 0.1, "memory_mb": 256}
#: More than processors: many of them sleep, or wait to be ended.
SLOTS = 6
needs_bubblewrap = pytest.mark.skipif(bool(bubblewrap_missing()), reason=bubblewrap_missing())


@pytest.fixture
def nothing_left(monkeypatch):
    """Fails if processes or files of the programs are there afterwards."""
    monkeypatch.setenv("VERL_PI_SANDBOXES", str(SLOTS))
    sandbox.slots.cache_clear()
    before = _left()
    yield
    sandbox.slots.cache_clear()
    # Other tests may run programs of their own at this time: these end, what stays does not.
    left, deadline = _left() - before, time.monotonic() + 20
    while (left := left & _left()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left
    places = ("/", "/tmp", "/dev/shm", "/var/tmp", "/usr", "/opt", "/root", "/home", "/etc", ".")
    assert not [p for place in places for p in _marked(place)]


def _left() -> set[object]:
    return _processes() | set(Path("/tmp").glob("verl-pi-code-*"))


def _processes() -> set[object]:
    """Sandboxes, and whatever runs as a user that nobody has: number and time of the start."""
    found = set()
    for process in psutil.process_iter(["name", "uids", "ppid", "status", "create_time"]):
        uids = process.info["uids"]
        if process.info["status"] == psutil.STATUS_ZOMBIE:
            continue  # it has ended
        if (uids and uids.real >= 1 << 20) or (
            process.info["name"] == "bwrap" and process.info["ppid"] == os.getpid()
        ):
            found.add((process.pid, process.info["create_time"]))
    return found


def _marked(place: str) -> list[str]:
    try:
        return [name for name in os.listdir(place) if MARK in name]
    except OSError:
        return []


def _judge(programs: dict[str, str], **options) -> dict[str, rewards.Verdict]:
    items = [
        ("code", text, truth_of(name), {**SHORT, **options}) for name, text in programs.items()
    ]
    return dict(zip(programs, rewards.verify_batch(items), strict=True))


def _honest_ones_pass(**options) -> None:
    items = [("code", HONEST, TASK, options), ("code", HONEST_IO, PROGRAM, options)]
    assert [v.reason for v in rewards.verify_batch(items)] == ["ok", "ok"]


def test_there_are_enough_of_them() -> None:
    assert len(FORGERIES) + len(HARMS) >= 180
    assert len(FORGERIES) + len(HARMS) + len(CASES) >= 300
    assert not set(FORGERIES) & set(HARMS)


@needs_bubblewrap
@pytest.mark.parametrize("programs", [FORGERIES, HARMS], ids=["forgeries", "harms"])
def test_none_passes_none_hangs_none_stays(programs, nothing_left) -> None:
    verdicts = _judge(programs, sandbox="bubblewrap", **(SHORTER if programs is HARMS else {}))
    assert [name for name, v in verdicts.items() if v.passed] == []
    assert [name for name, v in verdicts.items() if v.reason == "verifier_error"] == []
    assert [(name, v.seconds) for name, v in verdicts.items() if v.seconds > 30] == []
    _honest_ones_pass(sandbox="bubblewrap")


@needs_bubblewrap
def test_the_sandbox_has_no_hole() -> None:
    probes = {n: text for n, text in PROBES.items() if os.geteuid() == 0 or n not in AS_ROOT}
    items = [("code", text, PROBE, {"sandbox": "bubblewrap"}) for text in probes.values()]
    verdicts = dict(zip(probes, rewards.verify_batch(items), strict=True))
    assert {name: v.feedback for name, v in verdicts.items() if not v.passed} == {}


#: What limits alone do not hold: files that everyone may write, and as another user than root
#: processes that leave their session. The rest of HARMS would only show the same limits again.
WITH_LIMITS_ALONE = (
    "loop_at_load",
    "sleep",
    "power_tower",
    "ten_gigabytes",
    "growing_list",
    "fork_bomb",
    "fork_bomb_setsid",
    "thread_bomb",
    "daemon_double_fork",
    "daemon_then_exit",
    "ignores_signals",
    "stops_itself",
    "kill_all",
    "raise_limits",
    "socket_connect",
    "huge_output_io",
    "holds_stdout_io",
)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may run programs as another user")
def test_limits_alone_hold_what_they_can(nothing_left) -> None:
    forgeries = dict(list(FORGERIES.items())[::8])  # all of them meet the same examiner above
    harms = {name: HARMS[name] for name in WITH_LIMITS_ALONE}
    verdicts = _judge(forgeries, sandbox="rlimits") | _judge(harms, sandbox="rlimits", **SHORTER)
    assert [name for name, v in verdicts.items() if v.passed] == []
    assert [(name, v.seconds) for name, v in verdicts.items() if v.seconds > 30] == []
    _honest_ones_pass(sandbox="rlimits")
