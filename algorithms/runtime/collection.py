"""Storing sampled trajectories as parquet, for offline training on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from algorithms.runtime.rows import SampledBatch


class Collection:
    """Gathers a collection stage's trajectories, in sampling order, and writes them once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []

    def add(self, step: int, batch: SampledBatch, rows_by_uid: dict[str, dict]) -> None:
        """Keep the real rows of ``batch``: the data row, plus what was sampled for it."""
        for index in batch.real():
            verdict = batch.verdict(index) or {}
            log_probs = batch.log_probs[index].tolist() if batch.log_probs else []
            stored = {
                "response_ids": batch.responses[index].tolist(),
                "log_probs": log_probs,
                "view": batch.extra[index]["view"],
                "hint": batch.extra[index].get("hint") or "",
                "score": batch.scores[index],
                "verdict": json.dumps(verdict),
                "step": step,
                "group": f"{batch.row_uids[index]}-{step}",
            }
            self.rows.append({**rows_by_uid[batch.row_uids[index]], "stored": stored})

    def finish(self) -> None:
        """Write the parquet file, whole or not at all.

        Raises:
            ValueError: nothing was sampled.
        """
        if not self.rows:
            raise ValueError(f"nothing was collected for {self.path}")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_suffix(".tmp")
        pq.write_table(pa.Table.from_pylist(self.rows), temporary)
        temporary.replace(self.path)
