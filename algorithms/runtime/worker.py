"""The one FSDP actor/rollout worker, blind to the algorithm.

It subclasses verl's ``ActorRolloutRefWorker`` and its ``TrainingWorker``; optimisation, weight
sync and checkpoints are verl's. What it adds: the reference pass before an update, the counts
that normalise each term over the global batch, and the start of a new stage (other weights, a
fresh optimiser) without a new process.
"""

from __future__ import annotations

import dataclasses
import gc
from typing import Any

import torch
import torch.distributed as dist
from tensordict import TensorDict
from torch.distributed.fsdp import FSDPModule
from verl.single_controller.base.decorator import Dispatch, register
from verl.utils import tensordict_utils as tu
from verl.workers.engine_workers import ActorRolloutRefWorker, TrainingWorker

from algorithms.runtime import plugin
from algorithms.runtime.engine import MODEL_TYPE, TERMS, term_loss


def _training_worker() -> type[TrainingWorker]:
    """verl's training worker, or its CPU form where verl runs on the CPU."""
    plugin.register_engines()
    if not plugin.cpu_selected():
        return TrainingWorker
    from algorithms.runtime.cpu.engine import CpuTrainingWorker

    return CpuTrainingWorker


class PrivilegedTrainingWorker(_training_worker()):  # type: ignore[misc]
    """verl's training worker with the reference pass and the term counts."""

    reference: PrivilegedTrainingWorker | None = None

    def __init__(self, config: Any) -> None:
        if config.model_type == "language_model":
            config = dataclasses.replace(config, model_type=MODEL_TYPE)
        super().__init__(config=config)

    def train_batch(self, data: TensorDict) -> TensorDict:
        if data["term_weights"].is_nested:  # TransferQueue hands every field back as jagged rows
            data["term_weights"] = torch.stack(list(data["term_weights"].unbind()))
        counts = self._count_terms(data)
        if counts["distill"]["tokens"]:
            data["reference_hidden"], head = self._reference_pass(data)
            tu.assign_non_tensor(data, reference_head=head)
        tu.assign_non_tensor(data, term_mode="loss", term_counts=counts)
        return super().train_batch(data)

    def _count_terms(self, data: TensorDict) -> dict[str, dict[str, int]]:
        """Tokens and rows of each term over all ranks."""
        tokens_B = torch.tensor([int(m.sum()) for m in data["response_mask"].unbind()])
        active_B3 = data["term_weights"].cpu() > 0
        local = torch.stack([(tokens_B[:, None] * active_B3).sum(0), active_B3.sum(0)]).double()
        local = local.to(self.device_name)
        dist.all_reduce(local, group=self.engine.get_data_parallel_group())
        return {
            term: {"tokens": int(local[0, i]), "rows": int(local[1, i])}
            for i, term in enumerate(TERMS)
        }

    def _reference_pass(self, data: TensorDict) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Hidden states of the reference view at the generated tokens, and the reference's head.

        The head is None for a live teacher: it is the student's own.
        """
        worker = self.reference or self
        view = data.select("responses", "response_mask", "term_weights").copy()
        view["input_ids"] = data["reference_input_ids"]
        view["position_ids"] = data["reference_position_ids"]
        view["loss_mask"] = data["response_mask"]
        tu.assign_non_tensor(
            view,
            temperature=tu.get(data, "temperature", 1.0),
            term_mode="hidden",
            compute_loss=False,
            # A live teacher is the engine that is training: do not offload it in between.
            disable_auto_offload=worker is self,
        )
        worker.engine.captured_head_VH = None
        output = worker.infer_batch(view)
        head = worker.engine.captured_head_VH
        worker.engine.captured_head_VH = None
        hidden = output["hidden"].to(self.device_name)
        return hidden, None if worker is self else head.to(self.device_name)

    def begin_stage(self, optimiser: dict[str, Any]) -> None:
        """A fresh optimiser and schedule, with ``optimiser``'s settings over the configured."""
        engine = self.engine
        # From the worker's own settings: what an earlier stage set must not stay.
        engine.optimizer_config = dataclasses.replace(self.optimizer_config, **optimiser)
        engine.optimizer = engine._build_optimizer(engine.module)
        engine.lr_scheduler = engine._build_lr_scheduler(engine.optimizer)
        engine.checkpoint_manager.optimizer = engine.optimizer
        engine.checkpoint_manager.lr_scheduler = engine.lr_scheduler
        # Rotation keeps to a stage's own checkpoints: later stages start from earlier ones' last.
        engine.checkpoint_manager.previous_saved_paths = []
        gc.collect()

    def load_weights(self, folder: str) -> None:
        """The model's weights alone from a checkpoint folder that ``save_checkpoint`` wrote."""
        manager = self.engine.checkpoint_manager
        configured = manager.checkpoint_load_contents
        manager.checkpoint_load_contents = ["model"]
        try:
            self.engine.load_checkpoint(local_path=folder, del_local_after_load=False)
        finally:
            manager.checkpoint_load_contents = configured
        if isinstance(self.engine.module, FSDPModule):
            # The root may still hold the old weights gathered.
            self.engine.module.reshard()

    def save_weights(self, folder: str) -> None:
        """The model's weights alone; the rotation of checkpoints does not touch them."""
        manager = self.engine.checkpoint_manager
        configured, rotated = manager.checkpoint_save_contents, list(manager.previous_saved_paths)
        manager.checkpoint_save_contents = ["model"]
        try:
            self.engine.save_checkpoint(local_path=folder, global_step=0, max_ckpt_to_keep=None)
        finally:
            manager.checkpoint_save_contents = configured
            manager.previous_saved_paths = rotated


class PrivilegedActorRolloutRefWorker(ActorRolloutRefWorker):
    """verl's hybrid worker; the reference model, where there is one, is the teacher."""

    actor_worker_cls = PrivilegedTrainingWorker
    ref_worker_cls = PrivilegedTrainingWorker

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def init_model(self) -> None:
        super().init_model()
        if self.actor is not None:
            self.actor.set_loss_fn(term_loss)

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def begin_stage(
        self, weights: str | None, teacher_weights: str | None, optimiser: dict[str, Any]
    ) -> None:
        """Start a stage.

        Args:
            weights: checkpoint folder of the student's first weights; None keeps the current.
            teacher_weights: checkpoint folder of the frozen teacher; None is a live teacher.
            optimiser: settings that replace those of ``actor.optim``.

        Raises:
            RuntimeError: a frozen teacher is asked for but no reference model was built.
        """
        if weights is not None:
            self.actor.load_weights(weights)
        self.actor.begin_stage(optimiser)
        if teacher_weights is None:
            self.actor.reference = None
            return
        if self.ref is None:
            raise RuntimeError(
                "a frozen teacher needs the reference model, and this worker was started without"
            )
        self.ref.load_weights(teacher_weights)
        self.actor.reference = self.ref

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def save_weights(self, folder: str) -> None:
        self.actor.save_weights(folder)
