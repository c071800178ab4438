"""The one v1 trainer, blind to the algorithm: verl's synchronous trainer, driven stage by stage.

``fit`` of verl is called once a stage; what is overridden are verl's own steps (``step.py``), its
validation (``evaluation.py``) and the hooks around them.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
from omegaconf import OmegaConf, open_dict
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.utils import Role
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync
from verl.utils.debug import marked_timer

from algorithms import registry
from algorithms.health import StageCollapsed, StageSettled
from algorithms.retry.filter import FilterSettings
from algorithms.runtime.collection import Collection
from algorithms.runtime.evaluation import HeldOutEvaluation
from algorithms.runtime.recording import StageRecorder
from algorithms.runtime.records import RunRecords
from algorithms.runtime.rounds import ready
from algorithms.runtime.stages import COPIES, Stage, check_plan, stage_from_dict
from algorithms.runtime.step import TrainingStep
from algorithms.runtime.watch import watched
from algorithms.runtime.worker import PrivilegedActorRolloutRefWorker

POLL_SECONDS = 0.05


class PrivilegedTrainer(TrainingStep, HeldOutEvaluation, PPOTrainerSync):
    """Runs the stages of ``config.privileged`` one after the other on the same workers."""

    def __init__(self, config: Any) -> None:
        settings = config.privileged
        stages: Any = OmegaConf.to_container(settings.stages)
        self.stages = [stage_from_dict(stage) for stage in stages]
        check_plan(self.stages)
        self.run_folder = Path(settings.run_folder)
        self.save_every = config.trainer.save_freq
        self.records = RunRecords(self.run_folder)
        self.stage: Stage = self.stages[0]
        self.settled = False
        with open_dict(config):
            # verl's loop reads these; each stage sets its own.
            config.trainer.val_before_train = False
            config.trainer.test_freq = -1
            config.trainer.total_epochs = 1_000_000
            config.trainer.validation_data_dir = str(self.run_folder)
            config.data.train_files = [self.stage.data or config.data.val_files[0]]
        super().__init__(config)

    # ------------------------------------------------------------------ set-up

    def _build_replay_buffer(self) -> Any:
        # verl compares the mode with the literal "sync"; any other name counts as asynchronous.
        self.trainer_mode = "sync"
        buffer = super()._build_replay_buffer()
        buffer.poll_interval = POLL_SECONDS
        return buffer

    def _init_resource_pool_mgr(self) -> None:
        super()._init_resource_pool_mgr()
        # With LoRA a teacher of its own is another adapter in the same model.
        reference = not self._lora() and any(s.teacher in COPIES for s in self.stages)
        role = Role.ActorRolloutRef if reference else Role.ActorRollout
        pool = next(iter(self.mapping.values()))
        for old in (Role.ActorRollout, Role.ActorRolloutRef):
            self.role_worker_mapping.pop(old, None)
            pool = self.mapping.pop(old, pool)
        self.role_worker_mapping[role] = ray.remote(PrivilegedActorRolloutRefWorker)
        self.mapping[role] = pool
        self.resource_pool_manager.mapping = self.mapping

    def _lora(self) -> bool:
        model = self.config.actor_rollout_ref.model
        return model.lora_rank > 0 or model.get("lora", {}).get("rank", 0) > 0

    def _load_checkpoint(self) -> None:
        # Called by the set-up, before any stage: each stage resumes from its own folder.
        self.global_steps = 0

    def on_init_end(self) -> None:
        # verl's set-up leaves the rollout asleep; the first stage wakes it with its weights.
        self._rollout_asleep = True

    # ------------------------------------------------------------------ stages

    def fit(self, agent_loop_manager: Any) -> None:
        """Every stage that is not finished yet, in order."""
        self.agent_loop_manager = agent_loop_manager
        if any(s.start_from == "base" or s.teacher_from == "base" for s in self.stages):
            self._save_base()
        for number, stage in enumerate(self.stages):
            if self._finished(stage):
                continue
            self.records.progress(
                "stage", number, len(self.stages), arm=stage.arm, seed=stage.seed, text=stage.name
            )
            self._run_stage(stage, agent_loop_manager)

    def _run_stage(self, stage: Stage, agent_loop_manager: Any) -> None:
        started = time.time()
        self._begin_stage(stage)
        stage = self.stage  # its steps may depend on its data
        collapsed = None
        try:
            if stage.steps > self.global_steps:
                super().fit(agent_loop_manager)
        except StageCollapsed as collapse:
            collapsed = str(collapse)
            self.recorder.event("collapse", collapsed, self.global_steps)
            if stage.phase == "warmup":
                # Every arm would start from weights that nobody meant.
                raise
        except StageSettled as end:
            self.recorder.event("warning", str(end), self.global_steps)
        self._evaluate(min(self.global_steps, stage.steps) if collapsed else stage.steps)
        if self.collection is not None:
            self._finish_collection(self.collection)
        self._write_done(stage, time.time() - started, collapsed)

    def _begin_stage(self, stage: Stage) -> None:
        stage, remark = ready(stage, self.run_folder / "data")
        self.stage, self.best_rate = stage, self._best_so_far(stage)
        # A round is one batch of many prompts: looking for its end costs the more the more it has.
        self.replay_buffer.poll_interval = POLL_SECONDS if stage.keep is None else 1.0
        self.algorithm = registry.build(stage.algorithm, **stage.algorithm_settings)
        before = self._last_step(stage.counts_on)
        self.recorder = StageRecorder(self.records, stage, self.tokenizer, before)
        if remark:
            self.recorder.event("warning", remark, 0)
        self.collection = self._collection(stage)
        config, optimiser = self.config, dict(stage.optimiser)
        optimiser["total_training_steps"] = max(stage.steps, 1)
        with open_dict(config):
            config.data.train_files = [stage.data or config.data.val_files[0]]
            config.data.train_batch_size = stage.batch_size
            config.data.shuffle = stage.shuffle
            config.data.seed = stage.seed
            actor = config.actor_rollout_ref.actor
            # verl multiplies it by rollout.n.
            actor.ppo_mini_batch_size = stage.batch_size // stage.mini_batches
            actor.ppo_epochs = stage.epochs
            config.actor_rollout_ref.rollout.n = stage.sampling.n
            config.actor_rollout_ref.rollout.temperature = stage.sampling.temperature
            config.trainer.total_training_steps = max(stage.steps, 1)
            config.trainer.default_local_dir = str(self._checkpoints(stage))
            # A collection changes no weights: there is nothing to save.
            config.trainer.save_freq = -1 if stage.phase == "collect" else self.save_every
            config.trainer.experiment_name = stage.name
        self._init_dump_executor()
        if stage.steps:
            self._init_dataloader()
            self.train_dataloader_it = None
        self._sleep_rollout()
        kind = stage.teacher if stage.teacher in COPIES else "live"
        self.actor_rollout_wg.begin_stage(
            self._weights(stage.start_from),
            {"kind": kind, **stage.teacher_settings},
            self._teacher_weights(stage),
            optimiser,
        )
        sampling = {**asdict(stage.sampling), "seed": stage.seed, "seed_by_step": True}
        self.agent_loop_manager.sampling = sampling
        self.global_steps, self.settled = 0, False
        if stage.phase != "collect":
            super()._load_checkpoint()
        if self.global_steps:
            message = f"resumed {stage.name} after step {self.global_steps}"
            self.recorder.event("resume", message, self.global_steps)
        self._wake_rollout(self.global_steps)

    @staticmethod
    def _collection(stage: Stage) -> Collection | None:
        if not stage.store:
            return None
        keep = None if stage.keep is None else FilterSettings.of(stage.keep)
        return Collection(Path(stage.store), keep, stage.also)

    def _finish_collection(self, collection: Collection) -> None:
        """Write what was sampled, and count what the filter made of it.

        Raises:
            CollectionIncomplete: tasks whose sampling failed are missing.
        """
        collection.check_complete(self._train_rows() if self.stage.steps else 0, self.stage)
        counts = collection.finish()
        if collection.grades_in_vain:
            message = "no attempt got partial credit: the graded filter kept what full marks keep"
            self.recorder.event("warning", message, self.global_steps)
        if self.stage.keep is None or self.stage.probe:
            return
        where, step = dict(self.recorder.where), self.recorder.steps_before + self.stage.steps
        # What earlier rounds dropped was written by them.
        dropped = [line for line in collection.dropped if line["round"] == self.stage.round]
        self.records.write("dropped", *({**where, "step": step, **line} for line in dropped))
        values = {"retry/kept": counts["kept"], "retry/dropped": len(dropped)}
        self.recorder.metrics("collect", self.stage.steps + 1, None, values)

    def _sleep_rollout(self) -> None:
        """Free what the rollout holds on the device; a sleeping one is left alone."""
        if not self._rollout_asleep:
            self.checkpoint_manager.sleep_replicas()  # pyright: ignore[reportUnusedCoroutine]
            self._rollout_asleep = True

    def _wake_rollout(self, step: int) -> None:
        """Give the rollout the current weights, which also wakes it."""
        self._sleep_rollout()
        self.checkpoint_manager.update_weights(step)  # pyright: ignore[reportUnusedCoroutine]
        self._rollout_asleep = False

    def _weights(self, stage_name: str | None) -> str | None:
        if stage_name is None:
            return None
        if stage_name == "base":
            return str(self.run_folder / "checkpoints" / "base")
        done = json.loads(self._done_file(stage_name).read_text())
        return str(self.run_folder / done["weights"])

    def _teacher_weights(self, stage: Stage) -> str | None:
        if stage.teacher not in COPIES:
            return None
        return self._weights(stage.teacher_from or stage.start_from)

    def _save_base(self) -> None:
        folder = self.run_folder / "checkpoints" / "base"
        if not (folder / "complete").exists():
            self.actor_rollout_wg.save_weights(str(folder))
            (folder / "complete").touch()

    def _checkpoints(self, stage: Stage) -> Path:
        return self.run_folder / "checkpoints" / stage.name

    def _done_file(self, stage_name: str) -> Path:
        return self.run_folder / "stages" / f"{stage_name}.json"

    def _last_step(self, stage_name: str | None) -> int:
        """How far a finished stage had counted."""
        if stage_name is None or not self._done_file(stage_name).exists():
            return 0
        return int(json.loads(self._done_file(stage_name).read_text()).get("last_step", 0))

    def _finished(self, stage: Stage) -> bool:
        return self._done_file(stage.name).exists()

    def _write_done(self, stage: Stage, seconds: float, collapsed: str | None) -> None:
        if stage.steps and stage.phase != "collect" and not (collapsed or self.settled):
            weights = self._checkpoints(stage) / f"global_step_{stage.steps}" / "actor"
            for optimiser_state in weights.glob("optim_*.pt"):
                optimiser_state.unlink()  # the stage is over: only its weights are needed
        else:
            weights = Path(self._weights(stage.start_from) or "")
        path = self._done_file(stage.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        done = {
            "stage": stage.as_dict(),
            "weights": os.path.relpath(weights, self.run_folder),
            "seconds": seconds,
            "collapsed": collapsed,
            "last_step": self.recorder.steps_before
            + (stage.steps if stage.phase == "train" else 0),
        }
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(done, indent=1))
        temporary.replace(path)

    def on_sample_end(self) -> None:
        if self.collection is None:
            self._sleep_rollout()
        if self.curr_step_profile:
            self._stop_rollout_profiling()

    def on_step_end(self) -> None:
        # A stage that replays or is given its responses needs the rollout only for evaluation.
        if self.stage.sampling.source in ("rollout", "ladder") and self.collection is None:
            with marked_timer("update_weights", self.timing_raw, color="red"):
                self._wake_rollout(self.global_steps)
        every = self.stage.evaluate_every
        if every and self.global_steps % every == 0 and self.global_steps < self.stage.steps:
            self._evaluate(self.global_steps)

    def step(self, metrics: dict, timing_raw: dict) -> KVBatchMeta:
        # verl saves a checkpoint before it computes the step's metrics: write what is known now, so
        # that a kill in between loses no line. The whole line follows and wins.
        try:
            if self.stage.keep is None:
                return super().step(metrics, timing_raw)
            with watched(self.replay_buffer, self.recorder.collecting):
                return super().step(metrics, timing_raw)
        finally:
            self.recorder.step(self.global_steps, metrics, timing_raw, complete=False)
