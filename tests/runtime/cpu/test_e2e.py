"""verl's own trainer on the CPU backend: two ranks, weight sync, checkpoint and resume.

Runs ``python -m verl.trainer.main_ppo`` unchanged, with a random 2-layer model in float32. After an
update at a large learning rate the rollout's log-probs must still equal the actor's; in the control
the update is withheld from the rollout, and they must not.
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
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).resolve().parents[3]
VOCAB = 61
DIFFERENCE = re.compile(r"step:(\d+) - .*rollout_corr/log_ppl_abs_diff:([-+.e\d]+)")

REWARD = """
def compute_score(data_source, solution_str, ground_truth, extra_info=None, **kwargs):
    return solution_str.count("7") / max(1, len(solution_str))
"""

# The first synchronisation (step 0) gives the rollout its weights; the later ones are withheld.
WITHHOLD = """
from algorithms.runtime.cpu.rollout import TransformersRollout

class Withholding(TransformersRollout):
    async def update_weights(self, weights, global_steps=None, **kwargs):
        if not global_steps:
            return await super().update_weights(weights, global_steps=global_steps, **kwargs)
        for _ in weights:
            pass
        await self.server.set_global_steps.remote(global_steps)
"""
REGISTER_WITHHOLD = """
from verl.workers.rollout import base

base._ROLLOUT_REGISTRY[("transformers", "async")] = "withhold.Withholding"
"""


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, its tokenizer, prompts, a reward and the control's module."""
    folder = tmp_path_factory.mktemp("cpu_e2e")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder / "model")
    vocabulary = {"<pad>": 0, "<eos>": 1} | {f"w{i}": i for i in range(2, VOCAB)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()  # type: ignore[assignment]
    PreTrainedTokenizerFast(
        tokenizer_object=words,
        eos_token="<eos>",
        pad_token="<pad>",
        chat_template="{% for m in messages %}{{ m['content'] }} {% endfor %}",
    ).save_pretrained(folder / "model")
    rows = [
        {
            "data_source": "test",
            "prompt": [{"role": "user", "content": f"w{2 + i} w{3 + i} w{20 + i}"}],
            "reward_model": {"style": "rule", "ground_truth": ""},
            "extra_info": {"index": i},
        }
        for i in range(32)
    ]
    (folder / "data.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    (folder / "reward.py").write_text(REWARD)
    (folder / "withhold.py").write_text(WITHHOLD)
    (folder / "register_withhold.py").write_text(REGISTER_WITHHOLD)
    return folder


@pytest.fixture
def ray_folder() -> Iterator[str]:
    """Ray's sockets need a short path."""
    folder = tempfile.mkdtemp(prefix="vpi", dir="/tmp")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def train(
    workplace: Path, ray_folder: str, out: str, ranks: int, steps: int, **options: str
) -> str:
    """Run verl's trainer; returns what it printed."""
    fp32 = "{param_dtype:fp32,reduce_dtype:fp32,buffer_dtype:fp32}"
    actor, rollout = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
    overrides = [
        "algorithm.adv_estimator=grpo",
        f"data.train_files={workplace}/data.jsonl",
        f"data.val_files={workplace}/data.jsonl",
        "data.train_batch_size=4",
        "data.max_prompt_length=16",
        "data.max_response_length=12",
        "data.dataloader_num_workers=0",
        f"actor_rollout_ref.model.path={workplace}/model",
        "actor_rollout_ref.model.external_lib=algorithms.runtime.cpu.external",
        "+actor_rollout_ref.model.override_config.attn_implementation=sdpa",
        f"{actor}.strategy=fsdp2",
        f"{actor}.fsdp_config.strategy=fsdp2",
        f"{actor}.fsdp_config.use_torch_compile=False",
        f"+{actor}.fsdp_config.mixed_precision={fp32}",
        "actor_rollout_ref.ref.fsdp_config.strategy=fsdp2",
        f"+actor_rollout_ref.ref.fsdp_config.mixed_precision={fp32}",
        f"{actor}.use_kl_loss=True",  # builds the reference policy
        f"{actor}.optim.lr=1e-2",
        f"{actor}.ppo_mini_batch_size=4",
        f"{actor}.use_dynamic_bsz=True",
        f"{actor}.ppo_max_token_len_per_gpu=512",
        f"{rollout}.name=transformers",
        f"{rollout}.n=4",
        f"{rollout}.dtype=float32",
        f"{rollout}.tensor_model_parallel_size=1",
        f"{rollout}.agent.num_workers=1",
        "reward.num_workers=1",
        f"reward.custom_reward_function.path={workplace}/reward.py",
        "transfer_queue.backend.SimpleStorage.num_data_storage_units=1",
        "trainer.device=cpu",
        f"trainer.n_gpus_per_node={ranks}",
        "trainer.logger=[console]",
        "trainer.val_before_train=False",
        f"trainer.total_training_steps={steps}",
        f"trainer.default_local_dir={workplace}/{out}",
        "ray_kwargs.ray_init.num_cpus=16",
        f"+ray_kwargs.ray_init.num_gpus={ranks}",
        "+ray_kwargs.ray_init.include_dashboard=False",
        f"+ray_kwargs.ray_init._temp_dir={ray_folder}",
        "+ray_kwargs.ray_init.object_store_memory=200000000",
        *(f"{key}={value}" for key, value in options.items() if "." in key),
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}:{workplace}",
        "VERL_PLATFORM": "cpu",
        "VERL_USE_EXTERNAL_MODULES": options.get("modules", "algorithms.runtime.plugin"),
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
        "RAY_prestart_worker_first_driver": "0",
        "RAY_enable_worker_prestart": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    done = subprocess.run(
        [sys.executable, "-m", "verl.trainer.main_ppo", *overrides],
        cwd=workplace,
        env=environment,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]
    return done.stdout + done.stderr


def differences(output: str) -> dict[int, float]:
    """Mean absolute rollout-against-actor log-prob difference by step."""
    return {int(step): float(value) for step, value in DIFFERENCE.findall(output)}


def test_two_ranks_stay_in_sync_and_resume(workplace, ray_folder):
    first = train(workplace, ray_folder, "two", 2, 2, **{"trainer.save_freq": "2"})
    assert max(differences(first).values()) < 1e-5
    resumed = differences(train(workplace, ray_folder, "two", 2, 4))
    assert sorted(resumed) == [3, 4]
    assert max(resumed.values()) < 1e-5


def test_one_rank_and_the_control_without_updates(workplace, ray_folder):
    synced = differences(train(workplace, ray_folder, "one", 1, 3))
    assert max(synced.values()) < 1e-5
    modules = "algorithms.runtime.plugin,register_withhold"
    withheld = differences(train(workplace, ray_folder, "control", 1, 3, modules=modules))
    assert withheld[1] < 1e-5
    assert withheld[3] > 1e-3
