"""What a recipe sets in verl's configuration, for each profile.

Only what a recipe must decide is here; everything else is verl's default, and ``verl.*`` on the
command line overrides both.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from algorithms.runtime.stages import COPIES, Stage
from recipes import retry_settings
from recipes.config import ConfigError


def settings(
    config: Any, stages: list[Stage], run_folder: Path, model_path: str, files: dict[str, str]
) -> dict[str, Any]:
    """A nested dict to merge over verl's ``ppo_trainer`` configuration."""
    ranks = ranks_of(config)
    copies = any(stage.teacher in COPIES for stage in stages) and not config.model.lora_rank
    tree = _common(config, run_folder, model_path, files, ranks)
    _merge(tree, _cpu(config, ranks) if config.profile_name == "cpu" else _gpu(config))
    if copies:
        _merge(tree, _reference(config))
    tree["privileged"] = {
        "run_folder": str(run_folder),
        "stages": [stage.as_dict() for stage in stages],
        "pi_kind": config.privileged.kind,
        "evaluation": {
            "temperature": config.evaluation.temperature,
            "top_p": config.evaluation.top_p,
            "n": config.evaluation.samples,
        },
    }
    _merge(tree, OmegaConf.to_container(config.verl, resolve=True))
    _check_context(config, tree["actor_rollout_ref"]["rollout"])
    return tree


def _check_context(config: Any, rollout: dict[str, Any]) -> None:
    """A server that reads less than a conversation has would cut answers without a word."""
    wanted, given = retry_settings.context_tokens(config), rollout["max_model_len"]
    if given is not None and given < wanted:
        raise ConfigError(
            f"verl.actor_rollout_ref.rollout.max_model_len={given} is less than the {wanted} "
            "tokens that a conversation may have: raise it, or lower retry.context_tokens, "
            "max_prompt_tokens or max_response_tokens"
        )


def ranks_of(config: Any) -> int:
    """Training processes a node: as configured, or every visible GPU."""
    if config.ranks is not None:
        return int(config.ranks)
    import torch

    return max(torch.cuda.device_count(), 1)


def _merge(tree: dict[str, Any], other: Any) -> None:
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(tree.get(key), dict):
            _merge(tree[key], value)
        else:
            tree[key] = value


def _common(
    config: Any, run_folder: Path, model_path: str, files: dict[str, str], ranks: int
) -> dict[str, Any]:
    budget = config.max_tokens_per_micro_batch
    return {
        "algorithm": {"adv_estimator": "grpo"},  # our trainer computes advantages; no critic
        "data": {
            "train_files": [files["train"]],
            "val_files": [files["eval"]],
            "train_batch_size": config.batch_size,
            "max_prompt_length": config.max_prompt_tokens,
            "max_response_length": config.max_response_tokens,
            "filter_overlong_prompts": False,  # both views were checked when the data was made
            "dataloader_num_workers": 0,
            "validation_shuffle": False,
        },
        "actor_rollout_ref": {
            "model": {
                "path": model_path,
                "lora_rank": config.model.lora_rank,
                "lora_alpha": config.model.lora_alpha,
                # The rollout gets whole weights: no engine has to know of adapters.
                "lora": {"merge": bool(config.model.lora_rank)},
                "enable_gradient_checkpointing": config.profile_name == "gpu",
            },
            "actor": {
                "strategy": "fsdp2",
                "fsdp_config": {"strategy": "fsdp2"},
                # Without decay a step whose gradient is zero changes nothing.
                "optim": {"lr": config.learning_rate, "weight_decay": 0.0},
                "ppo_mini_batch_size": config.batch_size,
                "use_dynamic_bsz": True,
                "ppo_max_token_len_per_gpu": budget,
                "use_kl_loss": False,
            },
            "rollout": {
                "name": config.rollout,
                "n": 1,
                "log_prob_use_dynamic_bsz": True,
                "log_prob_max_token_len_per_gpu": budget,
                "calculate_log_probs": True,
                "agent": {
                    "default_agent_loop": "privileged",
                    "agent_loop_manager_class": (
                        "algorithms.runtime.sampling.PrivilegedAgentLoopManager"
                    ),
                },
                "val_kwargs": {"n": config.evaluation.samples, "do_sample": True},
            },
        },
        "reward": {
            "reward_manager": {
                "source": "importlib",
                "name": "VerifierRewardManager",
                "module": {"path": "pkg://algorithms.runtime.reward_manager"},
            },
        },
        "trainer": {
            "v1": {"trainer_mode": "privileged", "privileged": {"parameter_sync_step": 1}},
            "logger": ["console"],
            "project_name": config.recipe,
            "n_gpus_per_node": ranks,
            "nnodes": 1,
            "save_freq": config.checkpoint_every,
            "max_actor_ckpt_to_keep": 1,
            "resume_mode": "auto",
        },
    }


def _reference(config: Any) -> dict[str, Any]:
    budget = config.max_tokens_per_micro_batch
    return {
        "actor_rollout_ref": {
            "ref": {
                "strategy": "fsdp2",
                "fsdp_config": {"strategy": "fsdp2"},
                "log_prob_use_dynamic_bsz": True,
                "log_prob_max_token_len_per_gpu": budget,
            }
        }
    }


def _cpu(config: Any, ranks: int) -> dict[str, Any]:
    rollout: dict[str, Any] = {
        "tensor_model_parallel_size": 1,
        "free_cache_engine": False,
        "max_model_len": retry_settings.context_tokens(config),
        "max_num_seqs": 128,
        "agent": {"num_workers": 1},
    }
    if config.rollout == "vllm":
        _merge(rollout, _vllm_on_cpu())
    return {
        "data": {"filter_overlong_prompts_workers": 1},
        "actor_rollout_ref": {
            "model": {
                "external_lib": "algorithms.runtime.cpu.external",
                "use_remove_padding": True,
                "override_config": {"attn_implementation": "packed_sdpa"},
            },
            "actor": {
                "fsdp_config": {"use_torch_compile": False},
                "use_torch_compile": False,
                "optim": {"override_optimizer_config": {"fused": True}},
            },
            "rollout": rollout,
        },
        "reward": {"num_workers": 1},
        "trainer": {"device": "cpu"},
        "transfer_queue": {"backend": {"SimpleStorage": {"num_data_storage_units": 1}}},
        "ray_kwargs": {"ray_init": {"num_cpus": 16, "num_gpus": ranks, "include_dashboard": False}},
    }


def check_rollout(config: Any) -> None:
    """Is the rollout engine that ``config`` names installed?

    Raises:
        ConfigError: it is not, with the command that installs it.
    """
    if config.rollout in ("vllm", "sglang") and find_spec(config.rollout) is None:
        mend = "run `make vllm`" if config.profile_name == "cpu" else "install verl's extra for it"
        raise ConfigError(f"rollout={config.rollout} is not installed: {mend}")
    if config.profile_name == "cpu" and config.rollout == "sglang":
        raise ConfigError("rollout=sglang needs a GPU: use transformers or vllm")


def _vllm_on_cpu() -> dict[str, Any]:
    return {
        "enable_sleep_mode": False,  # there is no device to free between steps
        "enforce_eager": True,  # compilation costs a minute and more at every start
        "load_format": "auto",
        # The transfer's buffer lies in shared memory; no single weight may be larger.
        "checkpoint_engine": {"update_weights_bucket_megabytes": 256},
    }


def _gpu(config: Any) -> dict[str, Any]:
    return {
        "actor_rollout_ref": {
            "model": {"use_remove_padding": True},
            "rollout": {
                "gpu_memory_utilization": 0.5,
                "tensor_model_parallel_size": 1,
                "max_model_len": retry_settings.context_tokens(config),
            },
        }
    }
