"""Verifiers that call other verifiers: none waits for a thread that waits for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_SCRIPT = """
import asyncio, json, sys, threading
import rewards
from rewards import Verdict, register_verifier

ROWS = 48  # more than there are threads for verifiers of isolation "own"

@register_verifier("inner")
class Inner:
    ISOLATION, CACHEABLE = "own", False
    def __call__(self, response, ground_truth, **extra):
        return Verdict.ok() if response == ground_truth else Verdict.failed("wrong_answer")

class Outer:
    ISOLATION, CACHEABLE = "own", False
    together = threading.Barrier(32)

    def __call__(self, response, ground_truth, **extra):
        if int(response) < 32:  # all threads are taken before the first nested call
            self.together.wait(20)
        found = []
        rows = [("inner", response, truth, {}) for truth in (ground_truth, "another")]
        ask = lambda: found.append(rewards.verify_batch(rows)[0])
        if extra["threaded"]:
            thread = threading.Thread(target=ask)
            thread.start()
            thread.join()
        else:
            ask()
        return found[0]

register_verifier("outer")(Outer)

name, threaded, awaited = sys.argv[1], sys.argv[2] == "threaded", sys.argv[3] == "awaited"
rows = [(name, str(i), str(i if i % 2 else -1), {"threaded": threaded}) for i in range(ROWS)]
if name == "graded":
    truth = json.dumps({"of": "steps", "steps": ["so"], "answer": "5"})
    rows = [(name, f"so the answer is {5 if i % 2 else 6}", truth, {}) for i in range(ROWS)]
verdicts = asyncio.run(rewards.averify_batch(rows)) if awaited else rewards.verify_batch(rows)
assert [v.passed for v in verdicts] == [bool(i % 2) for i in range(ROWS)], verdicts
print("done", flush=True)
"""


@pytest.mark.parametrize(
    ("name", "how", "awaited"),
    [
        ("outer", "threaded", ""),
        ("outer", "threaded", "awaited"),
        ("outer", "", ""),
        ("graded", "", ""),
    ],
)
def test_more_nested_calls_than_threads(name: str, how: str, awaited: str) -> None:
    """In a process of its own: where they wait for each other it would never end."""
    root = Path(__file__).parents[2]
    ended = subprocess.run(
        [sys.executable, "-c", _SCRIPT, name, how, awaited],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(root), "VERL_PI_VERIFIER_WORKERS": "1"},
    )
    assert ended.stdout == "done\n", ended.stderr
