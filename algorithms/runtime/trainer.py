"""The one v1 trainer, blind to the algorithm: verl's synchronous trainer, driven stage by stage.

``fit`` of verl is called once a stage; what is overridden are verl's own steps (old log-probs,
advantages, actor update, validation dump) and the hooks around them.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
import torch
import transfer_queue as tq
from omegaconf import OmegaConf, open_dict
from torch.utils.data import Subset
from torchdata.stateful_dataloader import StatefulDataLoader
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.utils import Role
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync
from verl.utils.dataset.rl_dataset import collate_fn

from algorithms import registry
from algorithms.health import HealthMonitor, StageCollapsed
from algorithms.runtime import rows as training_rows
from algorithms.runtime.collection import Collection
from algorithms.runtime.records import RunRecords
from algorithms.runtime.stages import Stage, check_plan, stage_from_dict
from algorithms.runtime.worker import PrivilegedActorRolloutRefWorker

POLL_SECONDS = 0.05


class PrivilegedTrainer(PPOTrainerSync):
    """Runs the stages of ``config.privileged`` one after the other on the same workers."""

    def __init__(self, config: Any) -> None:
        settings = config.privileged
        self.stages = [stage_from_dict(s) for s in OmegaConf.to_container(settings.stages)]
        check_plan(self.stages)
        self.run_folder = Path(settings.run_folder)
        self.records = RunRecords(self.run_folder)
        self.stage: Stage = self.stages[0]
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
        reference = any(stage.teacher == "frozen" for stage in self.stages)
        role = Role.ActorRolloutRef if reference else Role.ActorRollout
        pool = next(iter(self.mapping.values()))
        for old in (Role.ActorRollout, Role.ActorRolloutRef):
            self.role_worker_mapping.pop(old, None)
            pool = self.mapping.pop(old, pool)
        self.role_worker_mapping[role] = ray.remote(PrivilegedActorRolloutRefWorker)
        self.mapping[role] = pool
        self.resource_pool_manager.mapping = self.mapping

    def _load_checkpoint(self) -> None:
        # Called by the set-up, before any stage: each stage resumes from its own folder.
        self.global_steps = 0

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
        collapsed = None
        try:
            if stage.steps > self.global_steps:
                super().fit(agent_loop_manager)
        except StageCollapsed as collapse:
            collapsed = str(collapse)
            self.records.event(
                "collapse", collapsed, arm=stage.arm, seed=stage.seed, step=self.global_steps
            )
        self._evaluate(min(self.global_steps, stage.steps) if collapsed else stage.steps)
        if self.collection is not None:
            self.collection.finish()
        self._write_done(stage, time.time() - started, collapsed)

    def _begin_stage(self, stage: Stage) -> None:
        self.stage = stage
        self.algorithm = registry.build(stage.algorithm, **stage.algorithm_settings)
        self.health = HealthMonitor()
        self.collection = Collection(Path(stage.store)) if stage.store else None
        config, optimiser = self.config, dict(stage.optimiser)
        optimiser["total_training_steps"] = max(stage.steps, 1)
        with open_dict(config):
            config.data.train_files = [stage.data or config.data.val_files[0]]
            config.data.train_batch_size = stage.batch_size
            config.data.shuffle = stage.shuffle
            config.data.seed = stage.seed
            config.actor_rollout_ref.actor.ppo_mini_batch_size = stage.batch_size
            config.actor_rollout_ref.rollout.n = stage.sampling.n
            config.actor_rollout_ref.rollout.temperature = stage.sampling.temperature
            config.trainer.total_training_steps = max(stage.steps, 1)
            config.trainer.default_local_dir = str(self._checkpoints(stage))
            config.trainer.experiment_name = stage.name
        self._init_dump_executor()
        if stage.steps:
            self._init_dataloader()
            self.train_dataloader_it = None
        self.actor_rollout_wg.begin_stage(
            self._weights(stage.start_from), self._teacher_weights(stage), optimiser
        )
        sampling = {**asdict(stage.sampling), "seed": stage.seed, "seed_by_step": True}
        self.agent_loop_manager.sampling = sampling
        self.global_steps = 0
        if stage.phase != "collect":
            super()._load_checkpoint()
        if self.global_steps:
            message = f"resumed {stage.name} after step {self.global_steps}"
            self.records.event("resume", message, arm=stage.arm, seed=stage.seed)
        self.checkpoint_manager.update_weights(self.global_steps)

    def _weights(self, stage_name: str | None) -> str | None:
        if stage_name is None:
            return None
        if stage_name == "base":
            return str(self.run_folder / "checkpoints" / "base")
        return json.loads(self._done_file(stage_name).read_text())["weights"]

    def _teacher_weights(self, stage: Stage) -> str | None:
        if stage.teacher != "frozen":
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

    def _finished(self, stage: Stage) -> bool:
        return self._done_file(stage.name).exists()

    def _write_done(self, stage: Stage, seconds: float, collapsed: str | None) -> None:
        if stage.steps and stage.phase != "collect" and not collapsed:
            weights = self._checkpoints(stage) / f"global_step_{stage.steps}" / "actor"
            for optimiser_state in weights.glob("optim_*.pt"):
                optimiser_state.unlink()  # the stage is over: only its weights are needed
        else:
            weights = Path(self._weights(stage.start_from) or "")
        path = self._done_file(stage.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        done = {
            "stage": stage.as_dict(),
            "weights": str(weights),
            "seconds": seconds,
            "collapsed": collapsed,
        }
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(done, indent=1))
        temporary.replace(path)

    # ------------------------------------------------------------------ one step

    def _compute_old_log_prob(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        # The importance ratio's denominator is taken at sampling time, by the rollout.
        return batch

    def _compute_advantage(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """Trajectories to training rows: the algorithm decides, verl's queue carries."""
        data = tq.kv_batch_get(
            keys=batch.keys, partition_id=batch.partition_id, select_fields=training_rows.FETCH
        )
        sampled = training_rows.read_batch(data, batch.tags)
        groups = [
            extra["group"] or key.split("_")[0]
            for extra, key in zip(sampled.extra, batch.keys, strict=True)
        ]
        seen = training_rows.trajectories(sampled, groups)
        rows, report = self.algorithm.rows(seen)
        metrics.update(report.metrics)
        self._record_trajectories(sampled, report.dropped, metrics)
        if self.collection is not None:
            self.collection.add(self.global_steps, sampled, self._rows_by_uid())
        fields = training_rows.row_fields(
            sampled, rows, need_old_log_probs=self.algorithm.needs_old_log_probs
        )
        metrics["rows/trained"] = len(rows)
        return tq.kv_batch_put(keys=batch.keys, partition_id=batch.partition_id, fields=fields)

    def _rows_by_uid(self) -> dict[str, dict]:
        frame = self.train_dataset.dataframe
        return {row["row_uid"]: row for row in frame}

    def _update_actor(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        if self.collection is not None:
            return batch
        batch.extra_info["loss_settings"] = asdict(self.algorithm.loss_settings())
        batch = super()._update_actor(batch, metrics)
        update = {k.removeprefix("actor/"): v for k, v in metrics.items() if k.startswith("actor/")}
        alarm = self.health.check(update)
        if alarm and self.stage.on_collapse == "stop":
            raise StageCollapsed(alarm)
        if alarm:
            self.records.event(
                "warning", alarm, arm=self.stage.arm, seed=self.stage.seed, step=self.global_steps
            )
        return batch

    def on_step_end(self) -> None:
        if self.collection is None:
            super().on_step_end()
        every = self.stage.evaluate_every
        if every and self.global_steps % every == 0 and self.global_steps < self.stage.steps:
            self._evaluate(self.global_steps)

    def _compute_metrics(self, batch, metrics, timing_raw, global_steps, epoch) -> None:
        super()._compute_metrics(batch, metrics, timing_raw, global_steps, epoch)
        stage = self.stage
        line = {k.removeprefix("actor/"): v for k, v in metrics.items()}
        names = {"gen": "sample", "update_actor": "update", "update_weights": "weight_sync"}
        for key, seconds in timing_raw.items():
            line[f"timing/{names.get(key, key)}"] = seconds
        line["tokens/generated"] = metrics.get("response_length/mean", 0.0) * len(batch.keys)
        self._record_metrics(stage.phase, global_steps, timing_raw.get("step"), line)
        self.records.progress(
            stage.phase,
            global_steps,
            stage.steps,
            arm=stage.arm,
            seed=stage.seed,
            pass_rate=line.get("reward/pass_rate"),
            kl=line.get("distill/kl"),
        )

    def _record_metrics(self, phase: str, step: int, seconds: float | None, metrics: dict) -> None:
        where = {"arm": self.stage.arm, "seed": self.stage.seed, "phase": phase, "step": step}
        values = {k: v for k, v in metrics.items() if isinstance(v, (int, float)) or hasattr(v, "item")}
        self.records.write(
            "metrics", {**where, "time": time.time(), "seconds": seconds, "metrics": values}
        )

    def _record_trajectories(self, sampled, dropped, metrics: dict) -> None:
        where = {"arm": self.stage.arm, "seed": self.stage.seed, "step": self.global_steps}
        real, lines, texts, prompts = sampled.real(), [], [], []
        passed = []
        for index in real:
            text = self.tokenizer.decode(sampled.responses[index], skip_special_tokens=True)
            verdict = sampled.verdict(index)
            texts.append(text)
            prompts.append(sampled.row_uids[index])
            if verdict is not None:
                passed.append(float(verdict["acc"]))
            lines.append(
                {
                    **where,
                    "uid": sampled.row_uids[index],
                    "sample": index,
                    "view": sampled.extra[index]["view"],
                    "prompt": self.tokenizer.decode(sampled.student_prompts[index]),
                    "response": text,
                    "verdict": verdict and {**verdict, "passed": bool(verdict["acc"])},
                    "tokens": int(sampled.masks[index].sum()),
                }
            )
        self.records.write("trajectories", *lines)
        self.records.write(
            "dropped",
            *(
                {**where, "uid": sampled.row_uids[real[i]], "reason": reason, "detail": ""}
                for i, reason in dropped
            ),
        )
        if passed:
            metrics["reward/pass_rate"] = sum(passed) / len(passed)
        if self.stage.sampling.source != "given":
            metrics.update(self.health.observe_outputs(prompts, texts))

    # ------------------------------------------------------------------ evaluation

    def _evaluate(self, step: int) -> None:
        """Every view that the stage asks for, on the same held-out rows, with verl's validation."""
        for view, rows in self.stage.evaluate.items():
            started = time.time()
            self._evaluating = (view, step)
            stage = self.stage
            settings = OmegaConf.to_container(self.config.privileged.evaluation)
            sampling = {
                **asdict(stage.sampling),
                **settings,
                "view": view,
                "source": "rollout",
                "verify": True,
                "seed": stage.seed,
                "seed_by_step": False,
            }
            self.agent_loop_manager.validation_sampling = sampling
            whole = self.val_dataloader
            self.val_dataloader = self._heldout(rows)
            self.records.progress("evaluate", 0, 1, arm=stage.arm, seed=stage.seed, text=view)
            try:
                metrics = self._validate()
            finally:
                self.val_dataloader = whole
            seconds = time.time() - started
            self._record_metrics("eval", step, seconds, {f"{view}/{k}": v for k, v in metrics.items()})

    def _heldout(self, rows: int | None) -> StatefulDataLoader:
        dataset = self.val_dataset
        if rows is not None and rows < len(dataset):
            # The same subset for every arm and seed.
            order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))
            dataset = Subset(dataset, sorted(order[:rows].tolist()))
        return StatefulDataLoader(
            dataset, batch_size=len(dataset), num_workers=0, shuffle=False, collate_fn=collate_fn
        )

    def _maybe_log_val_generations(self, inputs, outputs, scores) -> None:
        if getattr(self, "validation_generations_logger", None) is not None:
            super()._maybe_log_val_generations(inputs, outputs, scores)

    def _dump_generations(self, inputs, outputs, gts, scores, reward_extra_infos_dict, dump_path):
        view, step = self._evaluating
        extra, stage = reward_extra_infos_dict, self.stage
        known = {row["row_uid"]: row["extra_info"] for row in self.val_dataset.dataframe}
        lines = []
        passed = 0
        for i, output in enumerate(outputs):
            uid = extra["row_uid"][i]
            passed += bool(extra["acc"][i])
            lines.append(
                {
                    "arm": stage.arm,
                    "seed": stage.seed,
                    "step": step,
                    "view": view,
                    "uid": uid,
                    "family": known[uid].get("family", ""),
                    "structure": known[uid].get("structure", "seen"),
                    "sample": int(extra["uid"][i].rsplit("_", 2)[1]),
                    "prompt": inputs[i],
                    "response": output,
                    "passed": bool(extra["acc"][i]),
                    "score": scores[i],
                    "reason": extra["reason"][i],
                    "feedback": extra["feedback"][i],
                }
            )
        self.records.write("evaluations", *lines)
        self.records.progress(
            "evaluate",
            1,
            1,
            arm=stage.arm,
            seed=stage.seed,
            text=view,
            pass_rate=passed / max(len(lines), 1),
        )
