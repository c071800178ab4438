"""verl's own trainer, unchanged, on the CPU backend: `python -m verl.trainer.main_ppo`.

At a large learning rate the rollout's log-probs equal the actor's only if every update reaches the
rollout. As a control one update is dropped on its way; the step after it must then differ.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIMIT = 600.0
DIFFERENCE = re.compile(r"step:(\d+) - .*rollout_corr/log_ppl_abs_diff:([-+.e\d]+)")
REWARD = """
def compute_score(data_source, solution_str, ground_truth, extra_info=None, **kwargs):
    return solution_str.count("7") / max(1, len(solution_str))
"""
DROP_ONE = """
from {module} import {base}

class Dropping({base}):
    async def update_weights(self, weights, global_steps=None, **kwargs):
        if global_steps != {step}:
            return await super().update_weights(weights, global_steps=global_steps, **kwargs)
        for _ in weights:
            pass
        server = getattr(self, "server", None)
        if server is not None:
            await server.set_global_steps.remote(global_steps)
"""
REGISTER_DROP_ONE = """
from verl.workers.rollout import base

base._ROLLOUT_REGISTRY[("{rollout}", "async")] = "drop_one.Dropping"
"""
ADAPTERS = {
    "transformers": ("algorithms.runtime.cpu.rollout", "TransformersRollout"),
    "vllm": ("algorithms.runtime.cpu.vllm.server", "CpuServerAdapter"),
}


def prepare(folder: Path, rollout: str, dropped_step: int, prompts: list[str]) -> None:
    """Prompts, a reward, and the rollout that loses the update after ``dropped_step``."""
    module, base = ADAPTERS[rollout]
    (folder / "drop_one.py").write_text(
        DROP_ONE.format(module=module, base=base, step=dropped_step)
    )
    (folder / "register_drop_one.py").write_text(REGISTER_DROP_ONE.format(rollout=rollout))
    (folder / "reward.py").write_text(REWARD)
    rows = [
        {
            "data_source": "test",
            "prompt": [{"role": "user", "content": prompt}],
            "reward_model": {"style": "rule", "ground_truth": ""},
            "extra_info": {"index": index},
        }
        for index, prompt in enumerate(prompts)
    ]
    (folder / "data.jsonl").write_text("\n".join(json.dumps(row) for row in rows))


def train(folder: Path, model: str, rollout: str, ranks: int, steps: int, *more: str) -> str:
    """Run verl's trainer up to ``steps`` in a prepared folder; returns what it printed.

    Checkpoints of ``folder`` are resumed from, ``more`` are further overrides.
    """
    with _short_folder() as ray_folder:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "verl.trainer.main_ppo"),
                *_overrides(folder, model, rollout, ranks, steps, ray_folder),
                *more,
            ],
            cwd=folder,
            env=_environment(folder),
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-6000:]
    return output


def differences(output: str) -> dict[int, float]:
    """Mean absolute rollout-against-actor log-prob difference by step."""
    return {int(step): float(value) for step, value in DIFFERENCE.findall(output)}


@contextmanager
def _short_folder() -> Iterator[str]:
    """Ray's sockets need a short path."""
    folder = tempfile.mkdtemp(prefix="vpi", dir="/tmp")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _environment(folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": f"{ROOT}:{folder}",
        "VERL_PLATFORM": "cpu",
        "VERL_USE_EXTERNAL_MODULES": "algorithms.runtime.plugin,register_drop_one",
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "RAY_prestart_worker_first_driver": "0",
        "RAY_enable_worker_prestart": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }


def _overrides(
    folder: Path, model: str, rollout: str, ranks: int, steps: int, ray_folder: str
) -> list[str]:
    # bfloat16 would hide a lost update in its rounding.
    fp32 = "{param_dtype:fp32,reduce_dtype:fp32,buffer_dtype:fp32}"
    actor, worker = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
    return [
        "algorithm.adv_estimator=grpo",
        f"data.train_files={folder}/data.jsonl",
        f"data.val_files={folder}/data.jsonl",
        "data.train_batch_size=4",
        "data.max_prompt_length=64",
        "data.max_response_length=12",
        "data.dataloader_num_workers=0",
        f"actor_rollout_ref.model.path={model}",
        "actor_rollout_ref.model.external_lib=algorithms.runtime.cpu.external",
        "+actor_rollout_ref.model.override_config.attn_implementation=packed_sdpa",
        f"{actor}.strategy=fsdp2",
        f"{actor}.fsdp_config.strategy=fsdp2",
        f"{actor}.fsdp_config.use_torch_compile=False",
        f"+{actor}.fsdp_config.mixed_precision={fp32}",
        f"+{actor}.fsdp_config.mixed_precision={fp32}",
        f"{actor}.optim.lr=1e-2",
        f"{actor}.ppo_mini_batch_size=4",
        f"{actor}.use_dynamic_bsz=True",
        f"{actor}.ppo_max_token_len_per_gpu=1024",
        f"{worker}.name={rollout}",
        f"{worker}.n=4",
        f"{worker}.dtype=float32",
        f"{worker}.tensor_model_parallel_size=1",
        f"{worker}.max_model_len=128",
        f"{worker}.free_cache_engine=False",
        f"{worker}.calculate_log_probs=True",
        f"{worker}.agent.num_workers=1",
        "reward.num_workers=1",
        f"reward.custom_reward_function.path={folder}/reward.py",
        "transfer_queue.backend.SimpleStorage.num_data_storage_units=1",
        "trainer.device=cpu",
        f"trainer.n_gpus_per_node={ranks}",
        "trainer.logger=[console]",
        "trainer.val_before_train=False",
        "trainer.test_freq=-1",
        f"trainer.total_training_steps={steps}",
        f"trainer.default_local_dir={folder}/checkpoints",
        "ray_kwargs.ray_init.num_cpus=16",
        f"+ray_kwargs.ray_init.num_gpus={ranks}",
        "+ray_kwargs.ray_init.include_dashboard=False",
        f"+ray_kwargs.ray_init._temp_dir={ray_folder}",
        "+ray_kwargs.ray_init.object_store_memory=200000000",
    ]
