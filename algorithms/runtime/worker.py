"""The one FSDP actor/rollout worker, blind to the algorithm.

It subclasses verl's ``ActorRolloutRefWorker`` and its ``TrainingWorker``; optimisation, weight
sync and checkpoints are verl's. What it adds: the reference pass before an update, the counts
that normalise each term over the global batch, and the start of a new stage (other weights, a
fresh optimiser) without a new process.
"""

from __future__ import annotations

import dataclasses
import gc
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from tensordict import TensorDict
from verl.single_controller.base.decorator import (
    Dispatch,
    make_nd_compute_dataproto_dispatch_fn,
    register,
)
from verl.utils import tensordict_utils as tu
from verl.workers.engine_workers import ActorRolloutRefWorker, TrainingWorker

from algorithms.base import VIEWS
from algorithms.runtime import plugin
from algorithms.runtime.engine import MODEL_TYPE, term_loss
from algorithms.runtime.shared_prompts import prompt_keys, rows_to_keep_together
from algorithms.runtime.teacher import (
    AdapterCopy,
    TeacherSettings,
    mixed_teacher,
    move_toward,
    parameters_of,
    refuse_coarse_average,
    reshard,
)
from algorithms.runtime.view_rows import chosen_views, stacked, trained_views
from algorithms.terms import TERMS

# {view: {term: {"tokens", "rows", "norm_tokens", "norm_rows"}}}
Counts = dict[str, dict[str, dict[str, int]]]


def _tokens_and_rows(mask: torch.Tensor, active_xR3: torch.Tensor) -> torch.Tensor:
    """[2, x, 3]: generated tokens of the active rows, and their number."""
    tokens_R = torch.tensor([int(m.sum()) for m in mask.unbind()])
    return torch.stack([(tokens_R[:, None] * active_xR3).sum(1), active_xR3.sum(1)]).double()


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
    teacher = TeacherSettings()
    adapter: AdapterCopy | None = None

    def __init__(self, config: Any) -> None:
        if config.model_type == "language_model":
            config = dataclasses.replace(config, model_type=MODEL_TYPE)
        super().__init__(config=config)

    def train_batch(self, data: TensorDict) -> TensorDict:
        rows = trained_views(data, self.engine.get_data_parallel_group())
        counts = self._count_terms(data, rows)
        if any(counts[view]["distill"]["tokens"] for view in VIEWS):
            rows["reference_hidden"], head = self._reference_pass(rows)
            tu.assign_non_tensor(rows, reference_head=head)
        tu.assign_non_tensor(rows, term_mode="loss", term_counts=counts)
        self._keep_groups_together(rows, self.engine_config.max_token_len_per_gpu)
        output = super().train_batch(rows)
        if self.teacher.kind == "ema":
            self._follow_student()
        return output

    def _count_terms(self, data: TensorDict, rows: TensorDict) -> Counts:
        """Tokens and rows of each term in each view over all ranks, and what it is divided by.

        A term is divided by the tokens of the trajectories that it reaches in either view: one
        which trains a single view weighs as much as one which trains both.
        """
        in_view_2R = torch.stack([rows["view"].cpu() == v for v in range(len(VIEWS))])
        active_2R3 = (rows["term_weights"].cpu() > 0) & in_view_2R[..., None]
        own = _tokens_and_rows(rows["response_mask"], active_2R3)
        weights_B23 = stacked(data["term_weights"]).view(-1, len(VIEWS), len(TERMS)).cpu()
        either = _tokens_and_rows(data["response_mask"], (weights_B23 > 0).any(1)[None])[:, 0]
        local = torch.cat([own.flatten(), either.flatten()]).to(self.device_name)
        dist.all_reduce(local, group=self.engine.get_data_parallel_group())
        own, either = (part.cpu() for part in local.split([own.numel(), either.numel()]))
        own, either = own.view(2, len(VIEWS), len(TERMS)), either.view(2, len(TERMS))
        counts: Counts = {}
        for v, view in enumerate(VIEWS):
            for t, term in enumerate(TERMS):
                counts.setdefault(view, {})[term] = {
                    "tokens": int(own[0, v, t]),
                    "rows": int(own[1, v, t]),
                    "norm_tokens": int(either[0, t]),
                    "norm_rows": int(either[1, t]),
                }
        return counts

    def sequence_kl(self, data: TensorDict) -> TensorDict:
        """KL(sampled view || other view) in nats over each row's generated tokens, no gradient.

        ``data`` has the fields of ``rows.view_fields``; ``kl_estimator`` is ``exact`` or ``k1``.
        Returns {"sequence_kl": [B]}, 0 for rows without privileged information.
        """
        index = torch.arange(data.batch_size[0])
        weights_B3 = torch.zeros(len(index), len(TERMS))
        weights_B3[:, TERMS.index("distill")] = stacked(data["has_privileged"]).float().cpu()
        rows = chosen_views(
            data, index, stacked(data["sampled_view"]).cpu(), weights_B3.to(self.device_name)
        )
        # One stay on the device for all passes; none of them loads or offloads on its own.
        with self.engine.eval_mode():
            rows["reference_hidden"], head = self._reference_pass(rows)
            tu.assign_non_tensor(
                rows,
                reference_head=head,
                term_mode="measure",
                compute_loss=False,
                disable_auto_offload=True,
            )
            output = self.infer_batch(rows)
        sums = [values.sum() for values in output["token_kl"].unbind()]
        return TensorDict({"sequence_kl": torch.stack(sums).float()}, batch_size=len(index))

    def _reference_pass(self, rows: TensorDict) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Hidden states of the other view at the tokens that distill, and the teacher's head.

        The head is None for a live teacher: it is the student's own.
        """
        if self.teacher.kind == "live":
            return self._hidden_of_other_view(self, rows)[0], None
        if self.reference is not None:
            teacher = self._hidden_of_other_view(self.reference, rows)
        elif self.adapter is not None:
            with self.adapter.in_place():
                teacher = self._hidden_of_other_view(self, rows)
        else:
            raise RuntimeError(f"a {self.teacher.kind} teacher was asked for but has no weights")
        if self.teacher.kind != "trust_region":
            return teacher
        live = self._hidden_of_other_view(self, rows)
        hidden, head = mixed_teacher(
            (teacher[0].values(), teacher[1]),
            (live[0].values(), live[1]),
            self.teacher.trust_region_mix,
        )
        return torch.nested.nested_tensor_from_jagged(hidden, teacher[0].offsets()), head

    def _hidden_of_other_view(
        self, worker: PrivilegedTrainingWorker, rows: TensorDict
    ) -> tuple[torch.Tensor, Any]:
        view = rows.select("responses", "response_mask", "term_weights").copy()
        view["input_ids"] = rows["reference_input_ids"]
        view["position_ids"] = rows["reference_position_ids"]
        view["loss_mask"] = rows["response_mask"]
        tu.assign_non_tensor(
            view,
            temperature=tu.get(rows, "temperature", 1.0),
            term_mode="hidden",
            compute_loss=False,
            with_head=self.teacher.kind != "live",
            # A live teacher is the engine that is training: do not offload it in between.
            disable_auto_offload=worker is self,
        )
        worker._keep_groups_together(view, worker.engine_config.infer_max_token_len_per_gpu)
        worker.engine.captured_head_VH = None
        output = worker.infer_batch(view)
        head = worker.engine.captured_head_VH
        worker.engine.captured_head_VH = None
        return output["hidden"].to(self.device_name), None if head is None else head.to(
            self.device_name
        )

    def _keep_groups_together(self, rows: TensorDict, most_tokens: int | None) -> None:
        """Tell verl which rows go into the same micro-batch, so that they share their prompt."""
        if not (self.engine.attends_shared_prompts and self.engine_config.use_dynamic_bsz):
            return
        assert most_tokens is not None  # verl refuses dynamic micro-batches without a bound
        size = rows_to_keep_together(
            prompt_keys(rows["input_ids"], rows["responses"].offsets().diff().tolist()),
            rows["input_ids"].offsets().diff().tolist(),
            most_tokens,
            rows["input_ids"].device,
            self.engine.get_data_parallel_group(),
        )
        tu.assign_non_tensor(rows, force_group_size=size)

    def _follow_student(self) -> None:
        """One step of the moving average."""
        student = parameters_of(self.engine.module)
        move_toward(self._teacher_weights(), student, self.teacher.ema_decay)

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

    def set_teacher(
        self,
        settings: TeacherSettings,
        reference: PrivilegedTrainingWorker | None,
        weights: str | None,
    ) -> None:
        """Give the teacher its first weights, of the checkpoint folder ``weights``."""
        self.teacher, self.reference, self.adapter = settings, None, None
        if not settings.needs_copy:
            return
        if reference is not None:
            self.reference = reference
            if settings.kind == "ema":
                refuse_coarse_average(parameters_of(reference.engine.module))
            if weights is not None:
                reference.load_weights(weights)
        elif self.engine._is_lora:
            if weights is not None:
                self.load_weights(weights)
            self.adapter = AdapterCopy(self.engine.module)
        else:
            raise RuntimeError(
                f"a {settings.kind} teacher needs the reference model, and this worker was "
                "started without"
            )

    def save_teacher(self, folder: str) -> None:
        """This rank's part of a moving teacher, into a checkpoint folder."""
        if self.teacher.kind == "ema":
            weights = {n: t.cpu().clone() for n, t in self._teacher_weights().items()}
            torch.save(weights, self._teacher_file(folder))

    def load_teacher(self, folder: str) -> None:
        """The inverse of ``save_teacher``.

        Raises FileNotFoundError if the checkpoint has no teacher of this number of ranks.
        """
        if self.teacher.kind == "ema":
            file = self._teacher_file(folder)
            if not file.exists():
                raise FileNotFoundError(
                    f"{file} is missing: the checkpoint was written without an ema teacher, or "
                    "by another number of ranks. Resume with the settings of the run that wrote it"
                )
            saved = torch.load(file, weights_only=True)
            move_toward(self._teacher_weights(), saved, 0.0)

    def _teacher_weights(self) -> dict[str, torch.Tensor]:
        if self.adapter is not None:
            return self.adapter.weights
        assert self.reference is not None
        return parameters_of(self.reference.engine.module)

    def _teacher_file(self, folder: str) -> Path:
        size = self.engine.get_data_parallel_size()
        return Path(folder) / f"teacher_world_size_{size}_rank_{dist.get_rank()}.pt"

    def load_weights(self, folder: str) -> None:
        """The model's weights alone from a checkpoint folder that ``save_checkpoint`` wrote."""
        manager = self.engine.checkpoint_manager
        configured = manager.checkpoint_load_contents
        manager.checkpoint_load_contents = ["model"]
        try:
            self.engine.load_checkpoint(local_path=folder, del_local_after_load=False)
        finally:
            manager.checkpoint_load_contents = configured
        reshard(self.engine.module)  # the root may still hold the old weights gathered

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
        self,
        weights: str | None,
        teacher: dict[str, Any],
        teacher_weights: str | None,
        optimiser: dict[str, Any],
    ) -> None:
        """Start a stage.

        Args:
            weights: checkpoint folder of the student's first weights; None keeps the current.
            teacher: ``TeacherSettings`` as a dict.
            teacher_weights: checkpoint folder of the teacher's first weights; None for a live one.
            optimiser: settings that replace those of ``actor.optim``.

        Raises:
            RuntimeError: a teacher with weights of its own is asked for, but this worker has
                neither a reference model nor an adapter.
        """
        self.actor.set_teacher(TeacherSettings(**teacher), self.ref, teacher_weights)
        if weights is not None:
            self.actor.load_weights(weights)
        self.actor.begin_stage(optimiser)

    @register(dispatch_mode=make_nd_compute_dataproto_dispatch_fn(mesh_name="actor"))
    def compute_sequence_kl(self, data: TensorDict) -> TensorDict | None:
        """See ``PrivilegedTrainingWorker.sequence_kl``; the result goes to TransferQueue."""
        return self.actor.sequence_kl(data).cpu()

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def save_weights(self, folder: str) -> None:
        self.actor.save_weights(folder)

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def save_checkpoint(self, local_path, hdfs_path=None, global_step=0, max_ckpt_to_keep=None):
        """verl's checkpoint, and beside it the weights of a teacher that moves."""
        super().save_checkpoint(local_path, hdfs_path, global_step, max_ckpt_to_keep)
        self.actor.save_teacher(local_path)

    @register(dispatch_mode=Dispatch.ONE_TO_ALL)
    def load_checkpoint(self, local_path, hdfs_path=None, del_local_after_load=False):
        super().load_checkpoint(local_path, hdfs_path, del_local_after_load)
        self.actor.load_teacher(local_path)
