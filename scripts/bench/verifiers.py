"""Verifiers side by side in one run: mathematics against verl's scorer, code, Lean in batches.

    python scripts/bench/verifiers.py --data FOLDER [--only mathematics] [--rows 1000] [--json FILE]

FOLDER has math/train.jsonl and gsm8k/train.jsonl as published. Both sides of a comparison are run
in turn, `--repeats` times; the table gives the median of the ratios with their least and greatest.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ["VERL_PI_VERIFIER_CACHE"] = "0"  # every call is judged

import rewards
from rewards.answers import after_marker, last_boxed

Pair = tuple[str, str]


def pairs(folder: Path, rows: int) -> list[Pair]:
    """Real solutions with their own answer and, as often, with another row's: 2 x `rows`."""
    texts: list[Pair] = []
    for name, key in (("math", "solution"), ("gsm8k", "answer")):
        lines = (folder / name / "train.jsonl").read_text(encoding="utf-8").splitlines()
        for line in random.Random(0).sample(lines, rows // 2):
            text = json.loads(line)[key]
            answer = last_boxed(text) if name == "math" else after_marker(text, "####")
            if name == "gsm8k":  # verl's scorer does not know the mark
                text = text.replace("####", "The final answer is")
            texts.append((text, answer or ""))
    random.Random(1).shuffle(texts)
    other = [texts[place - 1][1] for place in range(len(texts))]
    wrong = [(text, answer) for (text, _), answer in zip(texts, other, strict=True)]
    return [pair for both in zip(texts, wrong, strict=True) for pair in both]


def ours(items: list[Pair]) -> list[bool]:
    verdicts = rewards.verify_batch([("math", text, truth, {}) for text, truth in items])
    return [verdict.passed for verdict in verdicts]


def verls(threads: int) -> Callable[[list[Pair]], list[bool]]:
    """verl's scorer, with its four processes; from one caller as verl calls it, or from several."""
    from verl.utils.reward_score.math_verify import compute_score

    def run(items: list[Pair]) -> list[bool]:
        if threads == 1:
            return [compute_score(text, truth) > 0 for text, truth in items]
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(lambda pair: compute_score(*pair) > 0, items))

    return run


def mathematics(folder: Path, rows: int, repeats: int) -> list[dict[str, Any]]:
    """Each repeat has rows of its own, so that no cache of an earlier one answers."""
    items = pairs(folder, rows * repeats)
    share = len(items) // repeats
    found = []
    sides = {"verl math_verify, one caller": verls(1), "verl math_verify, 4 callers": verls(4)}
    for run in (ours, *sides.values()):
        run(items[:8])  # processes started
    for name, theirs in sides.items():
        ratios, speeds, equal = [], [], 0
        for repeat in range(repeats):
            part = items[repeat * share : (repeat + 1) * share]
            (mine, seconds), (yours, other) = _timed(ours, part), _timed(theirs, part)
            ratios.append(other / seconds)
            speeds.append(len(part) / seconds)
            equal += sum(a == b for a, b in zip(mine, yours, strict=True))
        found.append(
            _row(f"mathematics: math / {name}", ratios, f"{statistics.median(speeds):.0f}/s")
            | {"equal": equal, "of": share * repeats}
        )
    return found


def lean(repeats: int) -> list[dict[str, Any]]:
    """A batch of 64 against single calls, per theorem; Lean has been started before."""
    numbers = iter(range(1, 10**6))

    def theorem() -> tuple[str, str, str, dict[str, Any]]:
        n = next(numbers)
        return ("lean", "omega", f"theorem t{n} (a b : Nat) : a + b + {n} = b + {n} + a := by", {})

    rewards.verify_batch([theorem()])
    ratios, times = [], []
    for _ in range(repeats):
        batch, one = [theorem() for _ in range(64)], [theorem() for _ in range(64)]
        verdicts, seconds = _timed(rewards.verify_batch, batch)
        singles, other = _timed(lambda items: [rewards.verify_batch([i])[0] for i in items], one)
        if not all(verdict.passed for verdict in (*verdicts, *singles)):
            raise RuntimeError("Lean did not accept the benchmark's theorems")
        ratios.append(other / seconds)
        times.append(seconds / 64)
    speed = f"{1000 * statistics.median(times):.1f} ms a theorem"
    in_batch = statistics.median(times)
    return [_row("Lean: batch of 64 / one by one", ratios, speed), fresh_lean(in_batch)]


def fresh_lean(seconds_in_batch: float) -> dict[str, Any]:
    """A batch against a process and a Lean of its own for one theorem, start included."""
    program = (
        "import rewards, sys\n"
        "theorem = 'theorem fresh (a b : Nat) : a + b = b + a := by'\n"
        "sys.exit(not rewards.verify('lean', 'omega', theorem).passed)"
    )
    _, seconds = _timed(lambda c: subprocess.run(c, check=True), [sys.executable, "-c", program])
    ratio = seconds / seconds_in_batch
    return _row("Lean: batch of 64 / a process a theorem", [ratio], f"{seconds:.1f} s the latter")


def code(programs: int) -> list[dict[str, Any]]:
    sys.path.insert(0, str(Path(__file__).parent))
    found = importlib.import_module("code_programs").bench_code(programs)
    return [{"what": "code", **found}]


def _timed(run: Callable[[list[Any]], Any], items: list[Any]) -> tuple[Any, float]:
    begun = time.perf_counter()
    result = run(items)
    return result, time.perf_counter() - begun


def _row(what: str, ratios: list[float], speed: str) -> dict[str, Any]:
    return {
        "what": what,
        "ratio": statistics.median(ratios),
        "least": min(ratios),
        "greatest": max(ratios),
        "ours": speed,
    }


def _table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("what", "ratio", "least–greatest", "ours", "more")
    for row in rows:
        rest = {k: v for k, v in row.items() if k not in _COLUMNS}
        ratio = f"{row['ratio']:.2f}" if "ratio" in row else ""
        spread = f"{row['least']:.2f}–{row['greatest']:.2f}" if "ratio" in row else ""
        more = ", ".join(f"{key} {value}" for key, value in rest.items())
        table.add_row(row["what"], ratio, spread, str(row.get("ours", "")), more)
    Console().print(table)


_COLUMNS = ("what", "ratio", "least", "greatest", "ours")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with the published data sets")
    parser.add_argument("--only", choices=("mathematics", "code", "lean"))
    parser.add_argument("--rows", type=int, default=500, help="solutions of a repeat")
    parser.add_argument("--programs", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if given.only in (None, "mathematics"):
        if given.data is None:
            parser.error("mathematics needs --data FOLDER, with math/ and gsm8k/ in it")
        rows += mathematics(given.data, given.rows, given.repeats)
    if given.only in (None, "code"):
        rows += code(given.programs)
    if given.only in (None, "lean"):
        rows += lean(given.repeats)
    _table(rows)
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
