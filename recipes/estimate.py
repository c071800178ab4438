"""How much memory a run will take, before it takes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from algorithms.runtime.stages import COPIES
from recipes.plan import Plan

GB = 1e9
# Resident memory of one Ray process with verl imported, measured; a CPU run has about eight.
PROCESS_GB = 0.45
CPU_PROCESSES = 8
LEAN_WASM_GB = 3.3
VLLM_ON_CPU_GB = 2.5
# The CPU rollout's `kv_cache_gb` and `prefix_cache_gb`, which fill with long or many answers.
CPU_ROLLOUT_CACHES_GB = 1.6


def parameter_count(model_path: str) -> int:
    """Parameters of a model folder or hub id, from its files' headers or its configuration."""
    counted = sum(_safetensors_parameters(f) for f in Path(model_path).glob("*.safetensors"))
    if counted:
        return counted
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model_path))
    return sum(p.numel() for p in model.parameters())


def _safetensors_parameters(path: Path) -> int:
    with path.open("rb") as handle:
        size = int.from_bytes(handle.read(8), "little")
        header = json.loads(handle.read(size))
    total = 0
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        count = 1
        for extent in tensor["shape"]:
            count *= extent
        total += count
    return total


def memory_estimate(config: Any, plan: Plan, parameters: int, lean: bool = True) -> list[str]:
    """Lines for the dry run: student, teacher, rollout, and on a CPU the processes.

    ``lean``: whether the embedded Lean judges.
    """
    trained = parameters if not config.model.lora_rank else parameters // 50
    student = (4 * parameters + 12 * trained) / GB
    copied = any(s.teacher in COPIES for s in plan.stages)
    teacher = 4 * trained / GB if copied else 0.0
    rollout = 2 * parameters / GB
    if config.profile_name == "cpu" and config.rollout == "vllm":
        rollout += VLLM_ON_CPU_GB
    if config.profile_name != "cpu":
        return [
            f"memory            student {student:.1f} GB and teacher {teacher:.1f} GB over all "
            f"ranks, rollout {rollout:.1f} GB a replica beside its cache"
        ]
    processes = PROCESS_GB * CPU_PROCESSES
    judge = LEAN_WASM_GB if lean else 0.0
    caches = 0.0 if config.rollout == "vllm" else CPU_ROLLOUT_CACHES_GB
    total = student + teacher + rollout + caches + processes + judge
    return [
        f"memory            about {total:.1f} GB: student with optimiser {student:.1f}, teacher "
        f"{teacher:.1f}, rollout {rollout:.1f} and its keys and values {caches:.1f}, processes "
        f"{processes:.1f}, embedded Lean {judge}"
    ]
