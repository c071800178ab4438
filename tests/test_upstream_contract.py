"""Every upstream symbol that this package leans on, so that an upgrade fails here, by name.

Three tables: callables and the parameters that we pass or override, attributes that we read or
set, and pieces of upstream source whose order or presence our overrides depend on. Most of it is
verl's inside; nothing of it is promised to stay.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import os
from typing import Any

import pytest

os.environ.setdefault("VERL_PLATFORM", "cpu")

BASE = "verl.trainer.ppo.v1.trainer_base:PPOTrainer"
ENGINE = "verl.workers.engine.fsdp.transformer_impl:FSDPEngineWithLMHead"
WORKER = "verl.workers.engine_workers:TrainingWorker"
HYBRID = "verl.workers.engine_workers:ActorRolloutRefWorker"
CHECKPOINTS = "verl.utils.checkpoint.fsdp_checkpoint_manager:FSDPCheckpointManager"
ROLLOUT = "verl.workers.rollout.base"
REPLICA = "verl.workers.rollout.replica"
LOOP = "verl.experimental.agent_loop.agent_loop"
TQ_LOOP = "verl.trainer.ppo.v1.agent_loop_tq"
REWARD = "verl.experimental.reward_loop.reward_manager.base:RewardManagerBase"
PLATFORM = "verl.plugin.platform.platform_base:PlatformBase"
TENSORDICT = "verl.utils.tensordict_utils"

# Callable: parameters that have to be there, by name. "*" allows any, for a **kwargs.
PARAMETERS: dict[str, str] = {
    # -- the trainer: overridden steps, hooks and set-up
    f"{BASE}.__init__": "self config",
    f"{BASE}.fit": "self agent_loop_manager",
    f"{BASE}._setup": "self",
    f"{BASE}._build_replay_buffer": "self",
    f"{BASE}._init_resource_pool_mgr": "self",
    f"{BASE}._init_dataloader": "self",
    f"{BASE}._init_dump_executor": "self",
    f"{BASE}._load_checkpoint": "self",
    f"{BASE}._step_once": "self metrics timing_raw sample_batch_size",
    f"{BASE}._compute_old_log_prob": "self batch metrics",
    f"{BASE}._compute_advantage": "self batch metrics",
    f"{BASE}._update_actor": "self batch metrics",
    f"{BASE}._compute_metrics": "self batch metrics timing_raw global_steps epoch",
    f"{BASE}._validate": "self",
    f"{BASE}._maybe_log_val_generations": "self inputs outputs scores",
    f"{BASE}._dump_generations": (
        "self inputs outputs gts scores reward_extra_infos_dict dump_path"
    ),
    "verl.trainer.ppo.v1.trainer_sync:PPOTrainerSync.on_step_end": "self",
    "verl.trainer.ppo.v1.trainer_base:register_trainer": "name",
    "verl.trainer.ppo.v1.replay_buffer:ReplayBuffer.__init__": "self trainer_mode poll_interval",
    "verl.checkpoint_engine:CheckpointEngineManager.update_weights": "self global_steps",
    "verl.trainer.main_ppo:run_ppo": "config task_runner_class",
    "verl.trainer.main_ppo:TaskRunnerV1.__ray_actor_class__.run": "self config",
    "verl.utils.config:validate_config": "config use_reference_policy use_critic",
    "verl.utils.config:omega_conf_to_dataclass": "config dataclass_type",
    "verl.utils.dataset.rl_dataset:collate_fn": "data_list",
    # -- the queue between them
    "transfer_queue:kv_batch_get": "keys partition_id select_fields",
    "transfer_queue:kv_batch_put": "keys partition_id fields",
    "verl.trainer.ppo.padding_utils:construct_minimal_padding_template": (
        "source_td source_tag eos_token_id"
    ),
    # -- the worker
    f"{WORKER}.__init__": "self config",
    f"{WORKER}.train_batch": "self data",
    f"{WORKER}.train_mini_batch": "self data",
    f"{WORKER}.infer_batch": "self data",
    f"{WORKER}.set_loss_fn": "self loss_fn",
    f"{WORKER}.reset": "self",
    f"{WORKER}.save_checkpoint": "self local_path hdfs_path global_step max_ckpt_to_keep",
    f"{HYBRID}.__init__": "self config role",
    f"{HYBRID}.init_model": "self",
    f"{HYBRID}.update_actor": "self data",
    f"{HYBRID}.save_checkpoint": "self local_path hdfs_path global_step max_ckpt_to_keep",
    f"{HYBRID}.load_checkpoint": "self local_path hdfs_path del_local_after_load",
    "verl.single_controller.base.decorator:make_nd_compute_dataproto_dispatch_fn": "mesh_name",
    "verl.single_controller.base.decorator:register": "dispatch_mode",
    # -- the engine
    f"{ENGINE}.__init__": "self model_config engine_config optimizer_config checkpoint_config",
    f"{ENGINE}.prepare_model_inputs": "self micro_batch",
    f"{ENGINE}.prepare_model_outputs": "self output output_args micro_batch logits_processor_func",
    f"{ENGINE}.forward_step": "self micro_batch loss_function forward_only",
    f"{ENGINE}._build_module": "self",
    f"{ENGINE}._build_fsdp_module": "self module",
    f"{ENGINE}._build_optimizer": "self module",
    f"{ENGINE}._build_lr_scheduler": "self optimizer",
    f"{ENGINE}.get_data_parallel_group": "self",
    f"{ENGINE}.save_checkpoint": "self local_path global_step max_ckpt_to_keep",
    f"{ENGINE}.load_checkpoint": "self local_path del_local_after_load",
    "verl.workers.engine:EngineRegistry.register": "model_type backend device",
    f"{CHECKPOINTS}.register_checkpoint": "self new_path max_ckpt_to_keep",
    f"{TENSORDICT}:get_non_tensor_data": "data key default",
    f"{TENSORDICT}:assign_non_tensor_data": "tensor_dict key val",
    f"{TENSORDICT}:assign_non_tensor": "tensor_dict *",
    f"{TENSORDICT}:get": "tensordict key default",
    f"{TENSORDICT}:index_select_tensor_dict": "batch indices",
    "verl.utils.metric:Metric.__init__": "self aggregation value",
    # -- rollout and its server
    f"{ROLLOUT}:BaseRollout.__init__": "self config model_config device_mesh",
    f"{ROLLOUT}:BaseRollout.update_weights": "self weights *",
    f"{ROLLOUT}:BaseRollout.resume": "self tags",
    f"{ROLLOUT}:BaseRollout.release": "self",
    f"{REPLICA}:RolloutReplica.launch_servers": "self",
    f"{REPLICA}:RolloutReplica.init_hybrid": "self worker_group",
    f"{REPLICA}:RolloutReplicaRegistry.register": "name loader",
    "verl.workers.rollout.utils:ensure_async_iterator": "iterable",
    "verl.workers.rollout.llm_server:LLMServerClient.generate": (
        "self request_id prompt_ids sampling_params"
    ),
    "verl.utils.torch_dtypes:PrecisionType.to_dtype": "precision",
    # -- sampling and rewards
    f"{LOOP}:AgentLoopBase.run": "self sampling_params *",
    f"{LOOP}:register": "agent_name",
    f"{TQ_LOOP}:AgentLoopManagerTQ.generate_sequences": "self prompts",
    f"{TQ_LOOP}:AgentLoopManagerTQ.create": "*",
    f"{TQ_LOOP}:AgentLoopWorkerTQ.__ray_actor_class__.generate_sequences": "self batch",
    f"{REWARD}.__init__": "self config tokenizer compute_score",
    f"{REWARD}.run_single": "self data",
    # -- the platform
    "verl.plugin.platform.platform_manager:PlatformRegistry.register": "platform",
    "verl.plugin.platform.platform_manager:PlatformRegistry.get": "name",
}

# Class, dataclass or module: attributes, fields or members that we read, set or construct with.
ATTRIBUTES: dict[str, str] = {
    "verl.trainer.ppo.v1.trainer_base": "TRAINER_REGISTRY",
    "verl.trainer.ppo.utils:Role": "ActorRollout ActorRolloutRef",
    "transfer_queue:KVBatchMeta": "keys tags partition_id extra_info",
    "verl.trainer.main_ppo:TaskRunnerV1": "__ray_actor_class__",
    f"{TQ_LOOP}:AgentLoopWorkerTQ": "__ray_actor_class__",
    HYBRID: "actor_worker_cls ref_worker_cls",
    "verl.workers.engine:EngineRegistry": "_engines",
    "verl.single_controller.base.decorator:Dispatch": "ONE_TO_ALL",
    "verl.utils.metric:AggregationType": "SUM",
    CHECKPOINTS: "should_save_model should_load_optimizer",
    ROLLOUT: "_ROLLOUT_REGISTRY",
    f"{REPLICA}:RolloutReplicaRegistry": "_registry",
    f"{REPLICA}:TokenOutput": "token_ids log_probs stop_reason extra_fields",
    f"{LOOP}:AgentLoopOutput": (
        "prompt_ids response_ids response_mask response_logprobs reward_score num_turns metrics "
        "extra_fields"
    ),
    "verl:DataProto": "batch non_tensor_batch",
    "verl.workers.config:TrainingWorkerConfig": (
        "model_type model_config engine_config optimizer_config checkpoint_config"
    ),
    "verl.workers.config:FSDPEngineConfig": (
        "strategy forward_only offload_policy mixed_precision ulysses_sequence_parallel_size "
        "max_token_len_per_gpu infer_max_token_len_per_gpu use_dynamic_bsz use_torch_compile"
    ),
    "verl.workers.config:FSDPOptimizerConfig": "lr total_training_steps clip_grad weight_decay",
    "verl.workers.config:HFModelConfig": (
        "path model_type lora_rank lora_alpha use_remove_padding external_lib override_config "
        "enable_gradient_checkpointing tokenizer generation_config"
    ),
    "verl.workers.config.rollout:AgentLoopConfig": "agent_loop_manager_class default_agent_loop",
    "verl.workers.config:RolloutConfig": (
        "engine_kwargs checkpoint_engine response_length dtype seed"
    ),
    PLATFORM: (
        "device_name vendor_name device_module is_available is_platform_available current_device "
        "device_count set_device synchronize manual_seed empty_cache communication_backend_name "
        "visible_devices_envvar ray_resource_name ray_noset_envvars is_ipc_supported"
    ),
}

# Callable: what its source has to contain, in this order, for our override to be reached or hold.
SOURCE: dict[str, tuple[str, ...]] = {
    "verl": ('"VERL_USE_EXTERNAL_PLUGINS", "auto"', 'group="verl.plugins"'),
    "verl.utils.distributed:initialize_global_process_group_ray": ("is_initialized()",),
    "verl.workers.config.model:HFModelConfig.__post_init__": (
        "import_external_libs(self.external_lib)",
    ),
    "verl.utils.dataset.rl_dataset:RLHFDataset._read_files_and_tokenize": ("self.dataframe",),
    f"{BASE}.__init__": ("self.trainer_mode =", "self.replay_buffer = self._build_replay_buffer()"),
    f"{BASE}._build_replay_buffer": ('self.trainer_mode == "sync"', "return sampler_cls("),
    f"{BASE}._setup": (
        "self._init_dataloader()",
        "self._init_resource_pool_mgr()",
        "Role.ActorRolloutRef in self.role_worker_mapping",
        "actor_rollout_wg.init_model()",
        "self._load_checkpoint()",
    ),
    f"{BASE}._init_resource_pool_mgr": (
        "self.role_worker_mapping",
        "self.mapping",
        "mapping=self.mapping",
    ),
    f"{BASE}.fit": (
        "self.global_steps += 1",
        "self.total_training_steps",
        "self.step(metrics",
        "self._save_checkpoint()",
        "self.on_step_end()",
        "self._compute_metrics(",
    ),
    f"{BASE}.step": ("self.prepare_step()", "self._step_once("),
    f"{BASE}._step_once": (
        'extra_info["temperature"]',
        "self._balance_batch(",
        "self._compute_old_log_prob(",
        "self._compute_advantage(",
        "self._update_actor(",
    ),
    f"{BASE}._update_actor": (
        "ppo_mini_batch_size * self.config.actor_rollout_ref.rollout.n",
        "actor_rollout_ref.actor.ppo_epochs",
        "batch.extra_info.update(extra_info)",
        "actor_rollout_wg.update_actor(batch)",
        '"actor/"',
    ),
    f"{BASE}._balance_batch": ("upsample_batch_to_divisible_size(",),
    f"{BASE}._validate": (
        "in self.val_dataloader",
        '"validate", True',
        "self.agent_loop_manager.generate_sequences(",
        "self._maybe_log_val_generations(",
        '"validation_data_dir"',
        "self._dump_generations(",
    ),
    f"{BASE}._load_checkpoint": (
        'resume_mode == "auto"',
        "trainer.default_local_dir",
        "self.actor_rollout_wg.load_checkpoint(",
    ),
    f"{BASE}._save_checkpoint": (
        "global_step_",
        '"actor"',
        "max_ckpt_to_keep=max_actor_ckpt_to_keep",
    ),
    f"{BASE}._next_train_batch": ("gen_batch_size", '"global_steps", self.global_steps'),
    "verl.trainer.ppo.v1.trainer_sync:PPOTrainerSync.on_step_end": (
        "update_weights(self.global_steps)",
    ),
    "verl.trainer.ppo.v1.replay_buffer:ReplayBuffer._wait_for_next_poll": ("self.poll_interval",),
    "verl.trainer.ppo.v1.replay_buffer:ReplayBuffer._sync_metadata_from_transfer_queue": (
        "self.finished_keys[",
        "self.failure_keys[",
    ),
    "verl.trainer.ppo.padding_utils:construct_minimal_padding_template": (
        "torch.full((1,), eos_token_id",
        "response_mask = torch.zeros_like(responses)",
        "is_padding=True",
    ),
    "verl.trainer.main_ppo:TaskRunnerV1.__ray_actor_class__.run": (
        "get_trainer_cls(config.trainer.v1.trainer_mode)",
        "self.trainer.fit(self.agent_loop_manager)",
    ),
    "verl.trainer.main_ppo:TaskRunnerV1.__ray_actor_class__.init_agent_loop_manager": (
        "agent_loop_manager_class",
    ),
    f"{HYBRID}.init_model": ("self.ref_worker_cls(", "self.actor_worker_cls(", "set_loss_fn("),
    f"{HYBRID}.update_actor": ("self.actor.train_mini_batch(",),
    f"{WORKER}.__init__": (
        "EngineRegistry.new(",
        "model_type=self.config.model_type",
    ),
    f"{WORKER}.train_mini_batch": ("tu.make_iterator(", "self.train_batch(mini_batch_td)"),
    f"{WORKER}.train_batch": ("loss_function=self.loss_fn", "self._postprocess_output("),
    f"{WORKER}.infer_batch": ('key="compute_loss"', "self.engine.eval_mode("),
    f"{WORKER}._postprocess_output": ("ReduceOp.AVG", "allgather_dict_into_dict("),
    "verl.utils.metric:Metric.aggregate_dp": ("np.mean(value_arrays, axis=0)",),
    f"{ENGINE}.__init__": ("self._is_lora =",),
    f"{ENGINE}._build_module": ('self.model_config.model_type == "language_model"',),
    f"{ENGINE}.forward_backward_batch": (
        "dp_size=self.get_data_parallel_size()",
        "self.forward_step(",
    ),
    f"{ENGINE}.forward_step": (
        "self.prepare_model_inputs(",
        "self.module(\n                **model_inputs",
        "self.prepare_model_outputs(",
        "loss_function(",
    ),
    f"{ENGINE}.prepare_model_inputs": ("input_ids.values().unsqueeze(0)", '"input_ids": input_ids'),
    f"{ENGINE}._build_fsdp_module": ("self.engine_config.forward_only", "CPUOffloadPolicy("),
    # An untied head is sharded on its own: its weight is whole only inside its own call.
    "verl.utils.fsdp_utils:_select_fsdp2_wrap_targets": ('{"embed_tokens", "lm_head"}',),
    "verl.workers.engine.utils:postprocess_batch_func": (
        "as_nested_tensor(",
        "restore_dynamic_batch(",
    ),
    f"{CHECKPOINTS}.save_checkpoint": ("self.register_checkpoint(local_path, max_ckpt_to_keep)",),
    f"{CHECKPOINTS}.register_checkpoint": ("self.previous_saved_paths.append(new_path)",),
    f"{CHECKPOINTS}.__init__": ("super().__init__(",),
    "verl.utils.checkpoint.checkpoint_manager:BaseCheckpointManager.__init__": (
        "self.previous_saved_paths = []",
        "self.checkpoint_load_contents =",
        "self.checkpoint_save_contents =",
    ),
    f"{LOOP}:AgentLoopBase.__init__": (
        "self.rollout_config =",
        "self.server_manager =",
        "self.tokenizer =",
        "self.apply_chat_template_kwargs =",
    ),
    f"{TQ_LOOP}:AgentLoopWorkerTQ.__ray_actor_class__._run_prompt": (
        '"__rollout_n__"',
        "session_id=i",
    ),
    f"{TQ_LOOP}:AgentLoopManagerTQ.__init__": ("self.agent_loop_workers_class =",),
    f"{LOOP}:AgentLoopOutput.as_dict": ('output["prompts"]', 'output["rollout_log_probs"]'),
    f"{ROLLOUT}:get_rollout_class": ("_ROLLOUT_REGISTRY[(rollout_name, mode)]",),
}

# Settings of verl's `ppo_trainer` that we write; a key that is gone would be taken in silence.
SETTINGS = (
    "data.train_batch_size", "data.max_prompt_length", "data.max_response_length",
    "data.dataloader_num_workers", "data.validation_shuffle", "data.seed", "data.shuffle",
    "actor_rollout_ref.model.external_lib", "actor_rollout_ref.model.lora_rank",
    "actor_rollout_ref.model.use_remove_padding", "actor_rollout_ref.actor.strategy",
    "actor_rollout_ref.actor.fsdp_config.strategy", "actor_rollout_ref.actor.optim.lr",
    "actor_rollout_ref.actor.ppo_mini_batch_size", "actor_rollout_ref.actor.use_dynamic_bsz",
    "actor_rollout_ref.actor.ppo_max_token_len_per_gpu", "actor_rollout_ref.actor.use_kl_loss",
    "actor_rollout_ref.ref.log_prob_use_dynamic_bsz",
    "actor_rollout_ref.ref.log_prob_max_token_len_per_gpu", "actor_rollout_ref.rollout.name",
    "actor_rollout_ref.rollout.n", "actor_rollout_ref.rollout.calculate_log_probs",
    "actor_rollout_ref.rollout.agent.default_agent_loop",
    "actor_rollout_ref.rollout.val_kwargs.n", "actor_rollout_ref.rollout.free_cache_engine",
    "reward.reward_manager.source", "reward.reward_manager.name",
    "reward.reward_manager.module.path", "reward.num_workers",
    "trainer.v1.trainer_mode", "trainer.save_freq", "trainer.device",
    "trainer.max_actor_ckpt_to_keep", "trainer.resume_mode", "trainer.validation_data_dir",
    "trainer.val_before_train", "trainer.test_freq", "trainer.total_epochs",
    "trainer.total_training_steps", "transfer_queue.backend.SimpleStorage.num_data_storage_units",
    "ray_kwargs.ray_init.num_cpus",
)  # fmt: skip


def resolve(path: str) -> Any:
    """``package.module:Attribute.attribute``, or a module alone."""
    module, _, attributes = path.partition(":")
    found = importlib.import_module(module)
    for name in filter(None, attributes.split(".")):
        found = getattr(found, name)
    return found


def members(target: Any) -> set[str]:
    fields = getattr(target, "__dataclass_fields__", {}), getattr(target, "model_fields", {})
    return set(dir(target)).union(*fields)


def test_verl_is_the_version_that_was_read():
    assert importlib.metadata.version("verl") == "0.9.1"


@pytest.mark.parametrize("path", PARAMETERS)
def test_callable_takes_what_we_give(path):
    parameters = inspect.signature(resolve(path)).parameters
    wanted = PARAMETERS[path].split()
    if "*" in wanted:
        assert any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    missing = [name for name in wanted if name != "*" and name not in parameters]
    assert not missing, f"{path}{inspect.signature(resolve(path))} lacks {missing}"


@pytest.mark.parametrize("path", ATTRIBUTES)
def test_attributes_are_there(path):
    missing = set(ATTRIBUTES[path].split()) - members(resolve(path))
    assert not missing, f"{path} lacks {sorted(missing)}"


@pytest.mark.parametrize("path", SOURCE)
def test_source_does_what_the_overrides_count_on(path):
    source, position = inspect.getsource(inspect.unwrap(resolve(path))), 0
    for piece in SOURCE[path]:
        position = source.find(piece, position)
        assert position >= 0, f"{path}: {piece!r} is gone, or comes in another order"


@pytest.fixture(scope="module")
def defaults() -> Any:
    from recipes.config import verl_config

    return verl_config({})


@pytest.mark.parametrize("key", SETTINGS)
def test_setting_is_known_to_verl(defaults, key):
    parent, _, name = key.rpartition(".")
    node = defaults
    for part in parent.split("."):
        node = node[part]
    # `in` denies a key whose value is still missing ("???").
    assert name in set(node.keys())
