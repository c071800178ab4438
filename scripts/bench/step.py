"""One OPSD step against one stock verl GRPO step with a KL reference: same model, batch, machine.

    python scripts/bench/step.py
    python scripts/bench/step.py --rows 64 --response 512 --model Qwen/Qwen3-1.7B

Both train verl's FSDP2 engine on one rank without Ray; sampling is left out, since both sample
alike. GRPO: log-probabilities of the old policy, of the reference (a second copy of the weights),
and the update. OPSD: the teacher's hidden states (the same weights, privileged information in the
prompt) and the update, once as it is and once without sharing the prompts of a task's samples. They
take turns, and the median of each phase is shown.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _step_workers as workers
import torch

PHASES = {
    "GRPO, verl": ("old log-probs", "reference log-probs", "update"),
    "OPSD": ("teacher", "update"),
    "OPSD with reward": ("teacher", "update"),
    "OPSD, prompts not shared": ("teacher", "update"),
}


class Clock:
    """Seconds of each phase of each step."""

    def __init__(self) -> None:
        self.seconds: dict[tuple[str, str], list[float]] = defaultdict(list)

    def run(self, step: str, phase: str, call: Callable[[], Any]) -> Any:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        start = time.perf_counter()
        found = call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds[step, phase].append(time.perf_counter() - start)
        return found

    def median(self, step: str, phase: str) -> float:
        return statistics.median(self.seconds[step, phase][1:])  # the first warms up


def grpo_step(clock: Clock, actor: Any, reference: Any, rows: workers.Rows) -> None:
    name = "GRPO, verl"
    old = clock.run(name, "old log-probs", lambda: workers.log_probs(actor, rows))
    ref = clock.run(name, "reference log-probs", lambda: workers.log_probs(reference, rows))
    batch = workers.grpo_batch(rows, old, ref)
    clock.run(name, "update", lambda: actor.train_mini_batch(batch))


def opsd_step(clock: Clock, name: str, actor: Any, rows: workers.Rows) -> None:
    """The teacher's pass happens within the update: it is timed there and taken off."""
    batch = workers.opsd_batch(rows, reward=name.endswith("reward"))
    plain, shares = actor._reference_pass, actor.engine.attends_shared_prompts
    actor.engine.attends_shared_prompts = shares and not name.endswith("not shared")
    actor._reference_pass = lambda views: clock.run(name, "teacher", lambda: plain(views))
    try:
        clock.run(name, "update", lambda: actor.train_mini_batch(batch))
    finally:
        actor._reference_pass = plain
        actor.engine.attends_shared_prompts = shares
    clock.seconds[name, "update"][-1] -= clock.seconds[name, "teacher"][-1]


def held_mib() -> float:
    """On the device, or where there is none in main memory."""
    if torch.cuda.is_available():
        return torch.cuda.memory_allocated() / 2**20
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sizes = {
        "rows": 16, "samples": 4, "prompt": 64, "privileged": 64, "response": 96,
        "micro-batch": 2048,
    }  # fmt: skip
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--model", help="the demonstration model by default")
    args = parser.parse_args()
    names = [name.replace("-", "_") for name in sizes]
    given = workers.Sizes(**{name: getattr(args, name) for name in names})
    model = args.model
    if model is None:
        from recipes.demo_model import ensure_demo_model

        model = str(ensure_demo_model())

    workers.one_rank()
    memory = [held_mib()]
    ours = workers.worker(model, given, ours=True)
    memory.append(held_mib())
    actor = workers.worker(model, given, ours=False)
    reference = workers.worker(model, given, ours=False, forward_only=True)
    memory.append(held_mib())
    torch.set_num_threads(args.threads)
    rows = workers.Rows.make(given, ours.model_config.hf_config.vocab_size)
    clock = Clock()
    for _ in range(args.steps + 1):
        grpo_step(clock, actor, reference, rows)
        for name in list(PHASES)[1:]:
            opsd_step(clock, name, ours, rows)
    report(clock, rows, args.threads, memory)


def report(clock: Clock, rows: workers.Rows, threads: int, memory: list[float]) -> None:
    generated = sum(map(len, rows.responses))
    print(f"{len(rows.responses)} rows, {generated} generated tokens, threads={threads}")
    stock = sum(clock.median("GRPO, verl", phase) for phase in PHASES["GRPO, verl"])
    for step, phases in PHASES.items():
        total = sum(clock.median(step, phase) for phase in phases)
        print(f"\n{step}: {total:.2f} s, {total / stock:.2f} of GRPO's")
        for phase in phases:
            print(f"  {phase:22}{clock.median(step, phase):8.2f} s")
    print(
        f"\nmemory of the built workers: OPSD {memory[1] - memory[0]:.0f} MiB, "
        f"GRPO {memory[2] - memory[1]:.0f} MiB"
    )


if __name__ == "__main__":
    main()
