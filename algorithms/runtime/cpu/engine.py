"""FSDP2 training on the CPU: verl's engine and worker with the accelerator assumptions taken out.

* The process group is made with backend ``cpu:gloo``. verl's ``cpu:gloo,<device>:<backend>`` names
  the CPU twice there, which torch refuses ("Duplicate device type").
* A forward-only engine (the reference policy) is built without ``CPUOffloadPolicy``, whose pinned
  memory needs an accelerator; on a CPU the parameters are where they would be offloaded to.

Sharding, mixed precision, checkpoints and weight export are verl's own.
"""

from __future__ import annotations

import copy
import os

import torch
from verl.workers import engine_workers
from verl.workers.engine import EngineRegistry, FSDPEngineWithLMHead

from algorithms.runtime.cpu.attention import BOUNDARIES, NAME, register_attention
from algorithms.runtime.cpu.model import attends_to_everything
from algorithms.runtime.cpu.threads import threads_per_process

ENGINE_DEVICE = "cpu"
STRATEGIES = ("fsdp", "fsdp2")


class CpuFSDPEngine(FSDPEngineWithLMHead):
    """verl's FSDP engine for language models, on the CPU (strategy ``fsdp2``)."""

    def __init__(self, model_config, engine_config, optimizer_config, checkpoint_config):
        """See verl's engine.

        Raises:
            ValueError: the strategy is not ``fsdp2``; FSDP1 synchronises module states through an
                accelerator.
        """
        if engine_config.strategy != "fsdp2":
            raise ValueError(
                f"training on the CPU needs strategy 'fsdp2', got {engine_config.strategy!r}: set "
                "actor_rollout_ref.actor.strategy=fsdp2 and "
                "actor_rollout_ref.actor.fsdp_config.strategy=fsdp2 (likewise for ref)"
            )
        register_attention()
        # pyright loses the constructor behind verl's untyped registry decorator.
        super().__init__(model_config, engine_config, optimizer_config, checkpoint_config)  # pyright: ignore[reportCallIssue]
        # The parameters live on the CPU: there is nowhere to offload them to.
        self._is_offload_param = False
        self._is_offload_optimizer = False

    def prepare_model_inputs(self, micro_batch):
        model_inputs, output_args = super().prepare_model_inputs(micro_batch)
        rows = micro_batch["input_ids"]
        packed_tokens = model_inputs["input_ids"].shape[1]
        if self.use_remove_padding and int(rows.offsets()[-1]) == packed_tokens:
            # transformers tells packed rows apart by their positions; our attention by these.
            model_inputs[BOUNDARIES] = rows.offsets()
        return model_inputs, output_args

    def _build_module(self):
        module = super()._build_module()
        attention = getattr(module.config, "_attn_implementation", None)
        whole = attends_to_everything(module.config.get_text_config())
        self.attends_shared_prompts = attention == NAME and whole
        # verl writes the choice of attention into the model's own configuration, which goes into
        # every checkpoint; other programs do not know ours, and choose their own where none is set.
        vars(module.config).pop("attn_implementation", None)
        return module

    def _build_fsdp_module(self, module):
        configured = self.engine_config
        resident = copy.copy(configured)
        # The dataclass is frozen against assignment; this private copy is used for one call.
        object.__setattr__(resident, "forward_only", False)
        object.__setattr__(resident, "offload_policy", False)
        self.engine_config = resident
        try:
            return super()._build_fsdp_module(module)
        finally:
            self.engine_config = configured


class CpuTrainingWorker(engine_workers.TrainingWorker):
    """verl's training worker, with the process group and the thread count of a CPU rank."""

    def __init__(self, config):
        ensure_process_group()
        local_ranks = int(os.environ.get("RAY_LOCAL_WORLD_SIZE", "1"))
        torch.set_num_threads(threads_per_process(local_ranks))
        super().__init__(config)


def ensure_process_group() -> None:
    """Initialise torch.distributed with gloo from verl's environment, unless it is there."""
    if torch.distributed.is_initialized():
        return
    torch.distributed.init_process_group(
        backend="cpu:gloo",
        rank=int(os.environ.get("RANK", "0")),
        world_size=int(os.environ.get("WORLD_SIZE", "1")),
        init_method=os.environ.get("DIST_INIT_METHOD"),
    )


def register_engine() -> None:
    """Register :class:`CpuFSDPEngine` for language models on device ``cpu``; idempotent."""
    registered = EngineRegistry._engines.get("language_model", {})
    for strategy in STRATEGIES:
        if ENGINE_DEVICE not in registered.get(strategy, {}):
            EngineRegistry.register("language_model", strategy, device=ENGINE_DEVICE)(CpuFSDPEngine)


def install_training_backend() -> None:
    """Make verl's actor and reference workers of this process train on the CPU; idempotent.

    A worker class that sets ``actor_worker_cls`` itself keeps its choice and should derive it from
    :class:`CpuTrainingWorker`.
    """
    register_engine()
    worker = engine_workers.ActorRolloutRefWorker
    if worker.actor_worker_cls is engine_workers.TrainingWorker:
        worker.actor_worker_cls = CpuTrainingWorker
    if worker.ref_worker_cls is engine_workers.TrainingWorker:
        worker.ref_worker_cls = CpuTrainingWorker
