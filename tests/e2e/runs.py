"""Starting a recipe as a user would, in a folder of its own, and reading what it left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import torch

# The whole path in small: two arms, a short warm-up, few rows.
SMALL = (
    "arms=[online,offline]",
    "steps=4",
    "batch_size=4",
    "warmup.phases=[{steps: 2, learning_rate: 5.0e-5, mix: format}]",
    "data.train_rows=24",
    "data.eval_rows=14",
    "evaluation.teacher_rows=7",
    "checkpoint_every=1",
    "profile=cpu",
)


def start(folder: Path, *overrides: str, recipe: str = "opsd_skeleton") -> subprocess.Popen:
    """``python -m recipes.<recipe>`` from another folder than the repository."""
    folder.mkdir(parents=True, exist_ok=True)
    output = (folder / "stdout.txt").open("ab")
    return subprocess.Popen(
        [sys.executable, "-m", f"recipes.{recipe}", "run=test", *SMALL, *overrides],
        cwd=folder,
        stdout=output,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def finish(
    process: subprocess.Popen, folder: Path, seconds: float, recipe: str = "opsd_skeleton"
) -> Path:
    """Wait for success; the run folder. Fails with the end of the output and of the log."""
    run = folder / "outputs" / recipe / "test"
    try:
        code = process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.terminate()
        code = "no end in time"
    if code != 0:
        shown = (folder / "stdout.txt").read_text()[-3000:]
        log = run / "run.log"
        tail = log.read_text(errors="replace")[-6000:] if log.exists() else "no log"
        raise AssertionError(f"exit {code}\n{shown}\n--- run.log\n{tail}")
    return run


def kill(process: subprocess.Popen) -> None:
    """SIGKILL to the recipe; nothing of the run may stay behind and write into its folder."""
    family = [p for p in psutil.Process(process.pid).children(recursive=True) if _works(p)]
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(family, timeout=60)
    assert not [p for p in alive if _works(p)]


def _works(process: psutil.Process) -> bool:
    """Not one of Ray's agents: these touch nothing of ours and notice a dead raylet only later."""
    try:
        return process.name() not in ("ray::DashboardAgent", "ray::RuntimeEnvAgent")
    except psutil.NoSuchProcess:
        return False


def lines(run: Path, name: str) -> list[dict[str, Any]]:
    path = run / f"{name}.jsonl"
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def steps_of(run: Path, arm: str) -> list[int]:
    """The training steps that were recorded for an arm, each once."""
    return sorted(
        {x["step"] for x in lines(run, "metrics") if x["arm"] == arm and x["phase"] == "train"}
    )


def wait_until(condition, seconds: float, what: str) -> None:
    deadline = time.time() + seconds
    while not condition():
        if time.time() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.5)


def tiny_model(folder: Path) -> str:
    """A 2-layer Llama with the demonstration model's tokenizer: fast, real, and knows nothing."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    from recipes.demo_model import ensure_demo_model

    tokenizer = AutoTokenizer.from_pretrained(ensure_demo_model())
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True,
        max_position_embeddings=1024, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
