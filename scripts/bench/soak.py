"""Ten thousand mixed calls, hostile ones among them: is each answered, does memory stay flat?

    VERL_PI_VERIFIER_WORKERS=2 python scripts/bench/soak.py [CALLS]

Uses every verifier that is installed, several threads at once, no cache. Prints the calls
answered, the verdicts by reason, the memory of the process tree after the first tenth and at the
end, calls per second, and what is left of processes.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import psutil
from soak_verifier import ACTIONS, SLOW

os.environ["VERL_PI_VERIFIER_CACHE"] = "0"

import rewards
from rewards import pool

THREADS = 4
BATCH = 50
ASSERTS = json.dumps({"kind": "asserts", "tests": ["assert f(1) == 2"]})
#: verifier: (response, ground truth) that pass, and that do not.
SAMPLES = {
    "math": ((r"so \boxed{\frac{1}{2}}", "0.5"), (r"\boxed{3}", "4")),
    "exact": (("yes", "yes"), ("no", "yes")),
    "regex": (("answer 42", r"answer \d+"), ("none", r"\d+")),
    "verl_gsm8k": (("#### 72", "72"), ("#### 71", "72")),
    "verl_math": ((r"\boxed{7}", "7"), (r"\boxed{8}", "7")),
    "heuristic_lean": (
        ("theorem t : 1 = 1 := by rfl", "theorem t : 1 = 1 := by"),
        ("sorry", "theorem t : 1 = 1 := by"),
    ),
    "code": (
        ("def f(x):\n    return x + 1\n", ASSERTS), ("def f(x):\n    return x\n", ASSERTS),
    ),
}  # fmt: skip
ODD = ("", "\0", "\ud800", "x" * 100_000, "(" * 5000, "9^9^9^9")
RARE = {"code": 0.02, "slow": 0.005}


def available() -> list[str]:
    """Those of SAMPLES that can run here; says which cannot."""
    found = []
    for name, (right, _) in SAMPLES.items():
        try:
            verdict = rewards.verify(name, *right)
        except (ImportError, rewards.RewardsError) as error:
            print(f"left out: {name} ({str(error).splitlines()[0]})")
            continue
        if verdict.passed:
            found.append(name)
        else:
            print(f"left out: {name} ({verdict.reason}: {verdict.feedback[:80]})")
    return found


def call(names: list[str], draw: random.Random, number: int) -> tuple[str, str, str, dict]:
    """One call of the mixture: a third hostile, the rest honest or odd."""
    name = draw.choice([*names, "hostile"])
    if name == "code" and draw.random() > RARE["code"] * len(names):
        name = "hostile"
    if name != "hostile":
        response, truth = draw.choice(SAMPLES[name])
        return name, draw.choice(ODD) if draw.random() < 0.1 else response, truth, {}
    if draw.random() < 0.5:
        return name, f"honest {number}", f"honest {number}", {}
    action = draw.choice(list(ACTIONS))
    if action in SLOW and draw.random() > RARE["slow"] * len(ACTIONS):
        action = "exit 0"
    return name, action, "", {}


def tree_megabytes() -> float:
    """Proportional memory of this process and all below it."""
    total = 0
    for process in [(own := psutil.Process()), *own.children(recursive=True)]:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total / 2**20


def main(calls: int) -> None:
    rewards.register_verifier("hostile", "soak_verifier:Hostile")
    names = available()
    draw = random.Random(0)
    items = [call(names, draw, number) for number in range(calls)]
    batches = [items[start : start + BATCH] for start in range(0, calls, BATCH)]
    reasons: Counter[str] = Counter()
    wrong = 0
    with ThreadPoolExecutor(THREADS) as threads:
        warm = max(1, len(batches) // 10)
        list(threads.map(rewards.verify_batch, batches[:warm]))
        first, started = tree_megabytes(), time.monotonic()
        for batch, verdicts in zip(
            batches, threads.map(rewards.verify_batch, batches), strict=True
        ):
            reasons.update(verdict.reason for verdict in verdicts)
            wrong += sum(
                verdict.passed != response.startswith("honest")
                for verdict, (name, response, _, _) in zip(verdicts, batch, strict=True)
                if name == "hostile" and response not in ("thread", "garbage")
            )
    seconds, last = time.monotonic() - started, tree_megabytes()
    print(f"verifiers: {', '.join([*names, 'hostile'])}; {pool.current().settings}")
    print(f"answered: {sum(reasons.values())} of {calls} calls, {calls / seconds:.0f} a second")
    print(f"hostile verifier: {wrong} verdicts not as expected")
    print(f"reasons: {dict(reasons.most_common())}")
    print(f"memory of the tree: {first:.0f} MB at the start, {last:.0f} MB at the end")
    described = pool.current().describe()
    print(f"workers replaced: {sum(described['replaced'])}")
    pool.close()
    print(f"processes left: {len(psutil.Process().children(recursive=True))}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
