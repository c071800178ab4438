"""How many threads a process may use.

Trainer and rollout take turns in a synchronous run, so each may use every core while it works. Ray
sets ``OMP_NUM_THREADS=1`` in actors that reserve no CPU, so both set their count themselves.
"""

from __future__ import annotations

import os

THREADS_ENV = "VERL_PI_CPU_THREADS"


def available_cores() -> int:
    """Cores this process may run on (affinity mask, not the machine's total)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads_per_process(processes: int) -> int:
    """Threads for each of ``processes`` that work at the same time on this machine.

    ``VERL_PI_CPU_THREADS`` overrides the share.

    Raises:
        ValueError: the override is not a positive integer, or ``processes`` is not positive.
    """
    if processes < 1:
        raise ValueError(f"processes must be 1 or more, got {processes}")
    override = os.environ.get(THREADS_ENV, "").strip()
    if override:
        if not override.isdigit() or int(override) < 1:
            raise ValueError(f"{THREADS_ENV} must be a positive integer, got {override!r}")
        return int(override)
    return max(1, available_cores() // processes)
