"""Memory before it is taken."""

from __future__ import annotations

import re
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, LlamaConfig

from recipes.config import load
from recipes.estimate import memory_estimate, parameter_count
from recipes.plan import build_plan

MILLIONS = 135_000_000
FILES = {
    "train": "t",
    "train_gold": "g",
    "eval": "e",
    "warmup_0": "w",
    "warmup_1": "w",
    "collected": "c-{}",
}


def estimate(*overrides: str, profile: str = "cpu") -> tuple[str, list[float]]:
    """The line, and its figures."""
    config: Any = load("opsd_skeleton", [f"profile={profile}", *overrides])
    (line,) = memory_estimate(config, build_plan(config, FILES, True), MILLIONS)
    return line, [float(figure) for figure in re.findall(r"\d+\.\d+", line)]


@pytest.fixture(scope="module")
def tiny_config() -> LlamaConfig:
    return LlamaConfig(
        vocab_size=61, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=False,
    )  # fmt: skip


@pytest.mark.parametrize("shard", ["50GB", "20KB"])
def test_parameters_are_counted_in_the_files_headers(tmp_path, tiny_config, shard):
    model = AutoModelForCausalLM.from_config(tiny_config)
    model.save_pretrained(tmp_path, max_shard_size=shard)
    assert parameter_count(str(tmp_path)) == sum(p.numel() for p in model.parameters())


def test_without_weights_the_configuration_tells(tmp_path, tiny_config):
    tiny_config.save_pretrained(tmp_path)
    expected = sum(p.numel() for p in AutoModelForCausalLM.from_config(tiny_config).parameters())
    assert parameter_count(str(tmp_path)) == expected


def test_the_demonstration_models_parameters(demo_folder):
    assert parameter_count(str(demo_folder)) == 134_515_008


def test_a_cpu_run_sums_its_parts():
    line, (total, *parts) = estimate()
    assert total == pytest.approx(sum(parts), abs=0.2)
    # float32 weights, gradients and two moments: 16 bytes a parameter; the teacher 4, bfloat16 2.
    assert parts[:3] == pytest.approx([2.2, 0.5, 0.3], abs=0.05)
    assert "embedded Lean" in line


def test_a_live_teacher_needs_no_copy():
    _, (_, _, teacher, *_) = estimate("teacher=live", "arms=[online]")
    assert teacher == 0.0


def test_adapters_need_less():
    _, (_, full, *_) = estimate()
    _, (_, adapted, *_) = estimate("model.lora_rank=8")
    assert adapted < full / 2


def test_a_gpu_run_counts_no_processes():
    line, figures = estimate(profile="gpu")
    assert "embedded Lean" not in line and "over all ranks" in line
    assert figures[0] == pytest.approx(2.2, abs=0.05)


def test_vllm_on_the_cpu_takes_more_than_our_rollout():
    assert estimate("rollout=vllm")[1][0] > estimate()[1][0] + 0.5
