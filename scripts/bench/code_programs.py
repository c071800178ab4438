"""Programs a second that the verifier `code` judges: `python scripts/bench/code_programs.py`.

Half right, half wrong, one small function each with three assertions, as many at once as there are
slots. Beside it the limit of this machine: the same number of sandboxes that only start Python.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

os.environ["VERL_PI_VERIFIER_CACHE"] = "0"  # every program is run

import rewards
from rewards.code import command, sandbox

TRUTH = json.dumps(
    {
        "kind": "asserts",
        "tests": [f"assert power({a}, {b}) == {a**b}" for a, b in ((2, 10), (3, 3), (7, 0))],
    }
)
RIGHT = "import math\n\n\ndef power(a, b):\n    return math.prod([a] * b)\n"
WRONG = "def power(a, b):\n    return a * b\n"


def bench_code(n: int, place: str = "auto") -> dict[str, Any]:
    """Judge `n` programs; seconds on the clock, programs a second, the machine's load."""
    items = [("code", WRONG if i % 2 else RIGHT, TRUTH, {"sandbox": place}) for i in range(n)]
    rewards.verify_batch(items[:2])  # the first call looks for bubblewrap
    started = time.perf_counter()
    verdicts = rewards.verify_batch(items)
    seconds = time.perf_counter() - started
    assert [v.passed for v in verdicts] == [i % 2 == 0 for i in range(n)]
    return {
        "programs": n,
        "seconds": round(seconds, 2),
        "programs_per_second": round(n / seconds, 1),
        "slots": sandbox.slot_count(),
        "sandbox": place,
        "load": [round(x, 1) for x in os.getloadavg()],
    }


def bench_start(n: int) -> dict[str, Any]:
    """Start `n` sandboxes with a Python that does nothing, as many at once as there are slots."""
    line = [*command.bwrap(), "--", *command.python("")[:-1], "-c", "pass"]
    started = time.perf_counter()
    with ThreadPoolExecutor(sandbox.slot_count()) as pool:
        list(pool.map(lambda _: subprocess.run(line, check=True, env={}), range(n)))
    seconds = time.perf_counter() - started
    return {"sandboxes_started": n, "sandboxes_per_second": round(n / seconds, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=int, default=200)
    parser.add_argument("--sandbox", default="auto")
    arguments = parser.parse_args()
    found = bench_code(arguments.programs, arguments.sandbox)
    if not sandbox.bubblewrap_missing():
        found |= bench_start(arguments.programs)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
