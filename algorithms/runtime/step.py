"""One training step: verl's own, with the algorithm where verl computes advantages."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import transfer_queue as tq
from transfer_queue import KVBatchMeta

from algorithms.base import Algorithm
from algorithms.group_pi import GROUP_KINDS
from algorithms.health import StageCollapsed, StageSettled
from algorithms.runtime import rows as training_rows
from algorithms.runtime.collection import Collection
from algorithms.runtime.evaluation import rows_by_uid
from algorithms.runtime.group_views import show_the_group
from algorithms.runtime.recording import StageRecorder, off_policy_metrics
from algorithms.runtime.stages import Stage
from algorithms.views import PromptViews, ViewTemplate, build_prompt_views


class TrainingStep:
    """Put before verl's trainer in the bases: old log-probs, advantages, update and metrics."""

    stage: Stage
    algorithm: Algorithm
    recorder: StageRecorder
    collection: Collection | None
    settled: bool

    def _compute_old_log_prob(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        # The importance ratio's denominator is taken at sampling time, by the rollout.
        return batch

    def _compute_advantage(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """Trajectories to training rows: the algorithm decides, verl's queue carries."""
        partition: Any = batch.partition_id
        data = tq.kv_batch_get(
            keys=batch.keys, partition_id=partition, select_fields=training_rows.FETCH
        )
        sampled = training_rows.read_batch(data, batch.tags)
        groups = [
            extra["group"] or key.split("_")[0]
            for extra, key in zip(sampled.extra, batch.keys, strict=True)
        ]
        if self.stage.sampling.pi_kind in GROUP_KINDS:
            kind = self.stage.sampling.pi_kind
            texts = [self._decode(ids.tolist()) for ids in sampled.responses]
            metrics.update(show_the_group(sampled, groups, kind, texts, self._prompt_views))
        tq.kv_batch_put(
            keys=batch.keys, partition_id=partition, fields=training_rows.view_fields(sampled)
        )
        seen = training_rows.trajectories(
            sampled,
            groups,
            decode=self._decode,
            sequence_kl=self._sequence_kl(batch),
        )
        rows, report = self.algorithm.rows(seen, epoch=self._epoch())
        metrics.update(report.metrics)
        # A collection that is filtered counts its dropped attempts when it is complete.
        dropped = [] if self.stage.keep is not None else report.dropped
        metrics.update(self.recorder.trajectories(self.global_steps, sampled, dropped))
        if self.collection is not None:
            self.collection.add(self.global_steps, sampled, rows_by_uid(self.train_dataset))
        fields = training_rows.row_fields(
            sampled, rows, need_old_log_probs=self.algorithm.needs_old_log_probs
        )
        metrics["rows/trained"] = len(rows)
        if self.collection is None:
            trained = (seen[row.trajectory].generated_tokens for row in rows if row.trains)
            metrics["tokens/trained"] = sum(trained)
        return tq.kv_batch_put(keys=batch.keys, partition_id=partition, fields=fields)

    def _prompt_views(self, messages: list[dict[str, Any]], content: str) -> PromptViews:
        sampling = self.stage.sampling
        return build_prompt_views(
            self.tokenizer,
            messages,
            content,
            ViewTemplate(**sampling.template),
            max_prompt_tokens=sampling.max_prompt_tokens,
            chat_template_kwargs=self.config.data.get("apply_chat_template_kwargs") or {},
        )

    def _decode(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    def _train_rows(self) -> int:
        dataset: Any = self.train_dataset
        return len(dataset)

    def _epoch(self) -> float:
        """Passes over the training rows before this step."""
        return (self.global_steps - 1) * self.stage.batch_size / max(self._train_rows(), 1)

    def _sequence_kl(self, batch: KVBatchMeta) -> list[float] | None:
        """KL between both views of every response, where the algorithm puts it in the reward."""
        if self.algorithm.sequence_kl is None or self.collection is not None:
            return None
        assert batch.extra_info is not None  # set by its constructor
        batch.extra_info["loss_settings"] = asdict(self.algorithm.loss_settings())
        batch.extra_info["kl_estimator"] = self.algorithm.sequence_kl
        self.actor_rollout_wg.compute_sequence_kl(batch)
        partition: Any = batch.partition_id
        data = tq.kv_batch_get(
            keys=batch.keys, partition_id=partition, select_fields=["sequence_kl"]
        )
        return [float(row.sum()) for row in data["sequence_kl"].unbind()]

    def _update_actor(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        if self.collection is not None:
            return batch
        assert batch.extra_info is not None  # set by its constructor
        batch.extra_info["loss_settings"] = asdict(self.algorithm.loss_settings())
        batch = super()._update_actor(batch, metrics)
        update = {k.removeprefix("actor/"): v for k, v in metrics.items() if k.startswith("actor/")}
        metrics |= {f"actor/{k}": v for k, v in off_policy_metrics(update).items()}
        alarm = self.recorder.health.check(self._watched({**metrics, **update}))
        if alarm and self.stage.on_collapse == "stop":
            raise StageCollapsed(alarm)
        if alarm:
            self.recorder.event("warning", alarm, self.global_steps)
        self.settled = self._nothing_to_learn(update)
        return batch

    def _watched(self, metrics: dict[str, float]) -> dict[str, float]:
        """What the alarms look at. Given responses are meant to become certain."""
        if not self.stage.imitates:
            return metrics
        return {name: v for name, v in metrics.items() if not name.endswith("entropy")}

    def _nothing_to_learn(self, update: dict[str, float]) -> bool:
        """Whether student and teacher are the same in every row, of this step and of all others."""
        if self.algorithm.needs_old_log_probs:
            return False  # a later reward may teach
        without_pi = self.stage.sampling.pi_kind in (None, "none")
        return without_pi and update.get("distill/kl") == 0.0 and update.get("grad_norm") == 0.0

    def _compute_metrics(self, batch, metrics, timing_raw, global_steps, epoch) -> None:
        super()._compute_metrics(batch, metrics, timing_raw, global_steps, epoch)
        self.recorder.step(global_steps, metrics, timing_raw)
        if self.settled:
            raise StageSettled(
                "every gradient is exactly zero: the teacher has the student's weights and sees "
                f"the student's prompts. Stopped after step {global_steps} of {self.stage.steps}, "
                "since the others would change nothing"
            )
