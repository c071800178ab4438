"""Held-out evaluation of the student's and the teacher's view, by verl's own validation."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import asdict
from typing import Any

import torch
from torch.utils.data import Subset
from torchdata.stateful_dataloader import StatefulDataLoader
from verl.utils.dataset.rl_dataset import collate_fn

from algorithms.runtime.stages import Stage

BEST_FILE = "evaluation.json"


class HeldOutEvaluation:
    """Put before verl's trainer in the bases: what ``_validate`` runs on, and where it writes.

    The trainer gives ``stage``, ``recorder`` and ``_wake_rollout``.
    """

    def _evaluate(self, step: int) -> None:
        """Every view that the stage asks for, on the same held-out rows, by verl's validation."""
        if self.stage.evaluate and self._rollout_asleep:
            self._wake_rollout(step)
        for view, rows in self.stage.evaluate.items():
            started = time.time()
            self._evaluating = (view, step)
            self.agent_loop_manager.validation_sampling = {
                **asdict(self.stage.sampling),
                **dict(self.config.privileged.evaluation),
                "pi_kind": self.config.privileged.pi_kind,
                "view": view,
                "source": "rollout",
                "ladder": None,
                "journal": None,
                "endpoint": None,
                "verify": True,
                "seed": self.stage.seed,
                "seed_by_step": False,
            }
            whole = self.val_dataloader
            self.val_dataloader = self._heldout(rows)
            self.recorder.evaluation_begins(view)
            try:
                metrics = self._validate()
            finally:
                self.val_dataloader = whole
            named = {f"{view}/{name}": value for name, value in metrics.items()}
            self.recorder.metrics("eval", step, time.time() - started, named, view)

    def _heldout(self, rows: int | None) -> StatefulDataLoader:
        dataset: Any = self.val_dataset
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
        known = rows_by_uid(self.val_dataset)
        rate = self.recorder.evaluations(
            view, step, inputs, outputs, reward_extra_infos_dict, known
        )
        if view == "student":
            self._keep_best(step, rate)

    def _keep_best(self, step: int, rate: float) -> None:
        """Save the weights beside the checkpoints if no earlier evaluation was as good."""
        if not self.stage.keep_best or not self.stage.steps or rate <= self.best_rate:
            return
        self.best_rate = rate
        best = self._checkpoints(self.stage) / "best"
        new = best.with_name("best.new")
        shutil.rmtree(new, ignore_errors=True)
        self.actor_rollout_wg.save_weights(str(new))
        (new / BEST_FILE).write_text(json.dumps({"step": step, "pass_rate": rate}))
        shutil.rmtree(best, ignore_errors=True)
        new.rename(best)

    def _best_so_far(self, stage: Stage) -> float:
        """The rate of the weights that an earlier life of the run saved as the best."""
        file = self._checkpoints(stage) / "best" / BEST_FILE
        return json.loads(file.read_text())["pass_rate"] if file.exists() else -1.0


def rows_by_uid(dataset: Any) -> dict[str, dict[str, Any]]:
    return {row["row_uid"]: row for row in dataset.dataframe}
