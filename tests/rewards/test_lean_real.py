"""The verifier with real Lean behind it: one process for the whole file."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

import rewards
from rewards.lean import install
from rewards.lean.backend import Check
from rewards.lean.errors import LeanCrashError
from rewards.lean.process import LeanProcess
from rewards.lean.wasm import MAX_RSS_BYTES, WasmBackend

# Started once: the group keeps these tests on one of pytest-xdist's workers.
pytestmark = [pytest.mark.lean, pytest.mark.xdist_group("lean")]

COMM = "theorem comm (a b : Nat) : a + b = b + a := by"
FALSE = "theorem wrong : False := by"
HUGE = "\n".join(f"have h{i} : a + {i} = a + {i} := rfl" for i in range(300)) + "\nomega"


def _judge(rows):
    return rewards.verify_batch([("lean", p, t, {"backend": "wasm", **e}) for p, t, e in rows])


RIGHT = [
    ("omega", COMM),
    ("grind", COMM),
    ("by\n  omega", COMM),
    (":= Nat.add_comm a b", COMM),
    ("```lean\n" + COMM + "\n  exact Nat.add_comm a b\n```", COMM),
    ("-- sorry, axiom\nomega", COMM),
    ("open Classical in omega", COMM),
    (HUGE, COMM),
    ("exact ⟨h.2, h.1⟩", "theorem swap (p q : Prop) (h : p ∧ q) : q ∧ p"),
    ("exact Classical.em p", "theorem em (p : Prop) : p ∨ ¬p := by sorry"),
    (
        "induction xs with\n| nil => rfl\n| cons x xs ih => simp [ih]",
        "theorem nil_end (xs : List Nat) : xs ++ [] = xs := by",
    ),
]


def test_right_proofs_pass(lean_backend):
    verdicts = _judge([(p, t, {}) for p, t in RIGHT])
    assert [v.reason for v in verdicts] == ["ok"] * len(RIGHT), verdicts


WRONG = [
    ("decide", "theorem five : 2 + 2 = 5 := by", "compile_error"),
    ("simp", "theorem mul (a b : Nat) : a * b = a := by", "compile_error"),
    ("omega (", COMM, "compile_error"),
    ("exact wrong", FALSE, "compile_error"),
    ("exact h\nwhere h : False := h", FALSE, "compile_error"),
    ("exact (let rec x : False := x; x)", FALSE, "compile_error"),
    ("exact ѕorry", FALSE, "compile_error"),
    ("stop", FALSE, "compile_error"),
    ("exact t\n\nvariable", COMM, "forbidden"),
    ("sorry", FALSE, "forbidden"),
    ("native_decide", "theorem four : 2 + 2 = 4 := by", "forbidden"),
    ("decide (config := {native := true})", "theorem four : 2 + 2 = 4 := by", "forbidden"),
    ("omega\n\naxiom x : False", COMM, "forbidden"),
    (COMM + " omega\nopen Nat", COMM, "forbidden"),
    ("omega\n#check Nat", COMM, "forbidden"),
    ("theorem comm (a b : Nat) : a + b = a + b := by rfl", COMM, "wrong_answer"),
    ("omega /- ", COMM, "malformed"),
    ("", COMM, "no_answer"),
    ("omega", "import Mathlib\n" + COMM, "verifier_error"),
    ("omega", "nothing to prove", "verifier_error"),
]


def test_wrong_proofs_fail_for_their_reason_and_leave_their_neighbours_alone(lean_backend):
    rows = [row for p, t, _ in WRONG for row in ((p, t, {}), ("omega", COMM, {}))]
    verdicts = _judge(rows)
    assert [v.reason for v in verdicts[::2]] == [reason for _, _, reason in WRONG], verdicts[::2]
    assert all(v.passed for v in verdicts[1::2])
    assert "2:2:" in verdicts[0].feedback and "false" in verdicts[0].feedback


def test_lean_itself_finds_what_no_word_gives_away(lean_backend):
    """The second net: the same proofs with the list of words out of the way."""
    sources = {
        "theorem a : False := by sorry": "sorryAx",
        "theorem b : 2 + 2 = 4 := by native_decide": "nativeDecide",
        "axiom c : False": "a theorem is expected",
        "theorem d : True := trivial\naxiom x : False": "more than one command",
        "@[simp] theorem e : True := trivial": "modifiers",
        "set_option maxRecDepth 9 in theorem f : True := trivial": "a theorem is expected",
        "theorem g : True := by set_option maxRecDepth 9 in trivial": "set_option",
        "theorem h : True := by run_tac pure ()": "not allowed",
        "#eval 1": "a theorem is expected",
    }
    outcomes = lean_backend.check([Check("", source, "x") for source in sources])
    for outcome, word in zip(outcomes, sources.values(), strict=True):
        assert word in outcome.refused + " ".join((*outcome.axioms, *outcome.errors)), outcome


def test_options(lean_backend):
    skeleton = "have h : a + b = b + a := by sorry\nexact h"
    verdicts = _judge(
        [
            (skeleton, COMM, {"allow_sorry": True}),
            (skeleton, COMM, {}),
            ("grind", COMM, {"forbid": ("grind",)}),
            (HUGE, COMM, {"heartbeats": 1}),
        ]
    )
    assert [v.reason for v in verdicts] == ["ok", "forbidden", "forbidden", "timeout"]
    assert "heartbeats" in verdicts[3].feedback
    with pytest.raises(ValueError, match="no option"):
        rewards.verify("lean", "omega", COMM, heartbeat=1)


def test_a_batch_costs_little_more_than_its_theorems(lean_backend):
    truths = [f"theorem u{i} (a b : Nat) (h : a + {i} < b) : a < b := by" for i in range(64)]
    _judge([("omega", COMM, {})])
    keeper = lean_backend.keeper()
    before, cpu = keeper.starts, sum(psutil.Process(keeper.process.pid).cpu_times()[:2])
    verdicts = _judge([("omega", truth, {}) for truth in truths])
    assert all(v.passed for v in verdicts) and keeper.starts == before
    # A start for each would take twenty seconds and more of processor time, 64 times.
    assert sum(psutil.Process(keeper.process.pid).cpu_times()[:2]) - cpu < 15.0


def test_threads_and_asyncio_share_one_process(lean_backend):
    _judge([("omega", COMM, {})])
    starts = lean_backend.keeper().starts
    results: list[bool] = []
    rows = [("lean", f"have h{i} := {i}\nomega", COMM, {"backend": "wasm"}) for i in range(6)]
    threads = [
        threading.Thread(
            target=lambda row=row: results.append(rewards.verify_batch([row])[0].passed)
        )
        for row in rows
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 6
    assert all(v.passed for v in asyncio.run(rewards.averify_batch(rows)))
    assert lean_backend.keeper() is WasmBackend().keeper()
    assert lean_backend.keeper().starts == starts


SLOW = "\n".join(f"have h{i} : a + {i} = a + {i} := by omega" for i in range(2000)) + "\nomega"


@pytest.mark.e2e
def test_after_a_proof_over_its_time_the_next_is_checked(lean_backend):
    """Lean is started twice for it: 20 s of processor time each."""
    verdicts = _judge([(SLOW, COMM, {"seconds": 0.5}), ("rw [Nat.add_comm]", COMM, {})])
    assert [v.reason for v in verdicts] == ["timeout", "ok"]


def test_lean_ends_with_the_process_that_started_it(lean_backend, tmp_path):
    """SIGKILL gives nobody a chance to clean up: the kernel has to."""
    script = (
        "import os, signal\n"
        "from rewards.lean import install, process\n"
        "process.LeanProcess._start = lambda self: {'version': ''}\n"
        "lean = process.LeanProcess(install.find_node().program, install.location(), 1 << 40)\n"
        "print(lean.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).parents[2]
    ended = subprocess.run(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    pid = int(ended.stdout)
    for _ in range(100):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie":
            return
        time.sleep(0.1)
    psutil.Process(pid).kill()
    pytest.fail("Lean outlived its parent")


def test_a_lean_that_cannot_start_says_why(lean_backend, tmp_path):
    with pytest.raises(LeanCrashError, match=r"lean\.js"):
        LeanProcess(install.find_node().program, tmp_path, MAX_RSS_BYTES)


def test_a_proof_over_its_time_is_ended(lean_backend):
    """The last of the file: it costs the process that the others share."""
    _judge([("omega", COMM, {})])
    pid = lean_backend.keeper().process.pid
    verdict = _judge([(SLOW, COMM, {"seconds": 0.5})])[0]
    assert verdict.reason == "timeout"
    assert verdict.seconds < 0.5 * 8 + 2
    assert not psutil.pid_exists(pid) and lean_backend.keeper().process is None
