"""Storing sampled trajectories as parquet, for offline training on them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from algorithms.retry.filter import Candidate, FilterSettings, choose
from algorithms.runtime.rows import SampledBatch
from algorithms.runtime.stages import Stage


def attempts_file(store: Path | str) -> Path:
    """Where everything lies that was sampled for the collection ``store``."""
    path = Path(store)
    return path.with_name(f"{path.stem}-attempts{path.suffix}")


def read_attempts(store: Path | str) -> list[dict[str, Any]]:
    """``{"uid", "number", "tokens", "passed", "reason", "cut_by_budget"}`` of every attempt."""
    fields = ("number", "tokens", "passed", "reason", "cut_by_budget")
    columns = ["row_uid", *(f"stored.{field}" for field in fields)]
    rows = pq.ParquetFile(attempts_file(store)).read(columns=columns).to_pylist()
    return [{"uid": row["row_uid"], **row["stored"]} for row in rows]


class CollectionIncomplete(RuntimeError):
    """Sampling failed for some tasks, with where to look."""


class Collection:
    """Gathers a collection stage's trajectories, in sampling order, and writes them once.

    Of a ladder every attempt is a row. With ``keep`` the file holds what the filter lets through,
    chosen from ``also`` (attempts of earlier collections) and from what was gathered here.
    """

    def __init__(
        self, path: Path, keep: FilterSettings | None = None, also: Sequence[str] = ()
    ) -> None:
        self.path, self.keep, self.also = path, keep, also
        self.rows: list[dict[str, Any]] = []
        self.dropped: list[dict[str, Any]] = []
        self.places: dict[str, int] = {}
        self.tasks = 0

    def add(self, step: int, batch: SampledBatch, rows_by_uid: dict[str, dict]) -> None:
        """Keep the real rows of ``batch``: the data row, plus what was sampled for it."""
        self.places = {uid: place for place, uid in enumerate(rows_by_uid)}
        for index in batch.real():
            self.tasks += 1
            uid, extra = batch.row_uids[index], batch.extra[index]
            common = {
                "view": extra["view"],
                "hint": extra.get("hint") or "",
                "step": step,
                "group": f"{uid}-{step}",
            }
            if "attempts" in extra:
                told = {"round": extra["round"]}
                sampled = [{**_attempt(a, uid), **told} for a in extra["attempts"]]
            else:
                sampled = [_response(batch, index)]
            row = {k: v for k, v in rows_by_uid[uid].items() if k != "token_budget"}
            self.rows += [{**row, "stored": {**common, **stored}} for stored in sampled]

    def check_complete(self, tasks: int, stage: Stage) -> None:
        """Every task was sampled, and something judged: verl goes on without what failed.

        Raises:
            CollectionIncomplete: some were not, or no attempt could be judged.
        """
        if stage.keep is None:
            return
        sampled = self.tasks
        if self.rows and not any(row["stored"]["judged"] for row in self.rows):
            raise CollectionIncomplete(
                f"{stage.name}: none of {len(self.rows)} attempts could be judged; "
                f"trajectories.jsonl has what the verifier said, such as "
                f"{json.loads(self.rows[0]['stored']['verdict'])['feedback'][:200]!r}"
            )
        if sampled < tasks:
            raise CollectionIncomplete(
                f"{stage.name}: sampling failed for {tasks - sampled} of {tasks} tasks; run.log "
                "has the errors. Mend the cause and start the same command again: what was "
                "generated is kept"
            )

    @property
    def grades_in_vain(self) -> bool:
        """Whether partial credit would do, and no attempt gathered here has any."""
        graded = self.keep is not None and self.keep.threshold < 1.0 and bool(self.rows)
        return graded and not any(0.0 < row["stored"]["score"] < 1.0 for row in self.rows)

    def finish(self) -> Counter[str]:
        """Write the parquet file, whole or not at all; the attempts by what became of them.

        Raises:
            ValueError: nothing was sampled.
        """
        if not self.rows and not self.also:
            raise ValueError(f"nothing was collected for {self.path}")
        if self.keep is None:
            _write(self.rows, self.path)
            return Counter(kept=len(self.rows))
        # In the order of the data: that of sampling depends on the machine's load.
        self.rows.sort(key=lambda row: self.places[row["row_uid"]])
        # Where the budget was spent before this collection, its columns are those of the earlier.
        schema = None if self.rows else pq.read_schema(self.also[0])
        _write(self.rows, attempts_file(self.path), schema)
        earlier = [row for path in self.also for row in pq.read_table(path).to_pylist()]
        pool = [*earlier, *self.rows]
        reasons = choose([_candidate(row) for row in pool], self.keep)
        kept = [row for row, reason in zip(pool, reasons, strict=True) if reason is None]
        self.dropped = [
            {
                "uid": row["row_uid"],
                "round": row["stored"]["round"],
                "attempt": row["stored"]["number"],
                "reason": reason,
            }
            for row, reason in zip(pool, reasons, strict=True)
            if reason
        ]
        # The columns of the attempts, where nothing is kept.
        schema = pq.read_schema(attempts_file(self.path))
        _write(kept, self.path, schema)
        return Counter(reason or "kept" for reason in reasons)


def _attempt(attempt: dict[str, Any], uid: str) -> dict[str, Any]:
    verdict = {
        "acc": float(attempt["passed"]),
        **{k: attempt[k] for k in ("score", "reason", "feedback", "verify_seconds")},
        "row_uid": uid,
    }
    same = ("number", "tokens", "passed", "score", "reason", "response", "cut_by_budget")
    told = attempt["reason"] != "verifier_error"
    return {
        **{k: attempt[k] for k in same},
        **_tokens(attempt["response_ids"], attempt["log_probs"]),
        "verdict": json.dumps(verdict),
        "complete": not attempt["cut"],
        "judged": told,
    }


def _tokens(ids: Any, log_probs: Any) -> dict[str, np.ndarray]:
    """As lists they would take nine times the memory, for as long as the collection lasts."""
    return {
        "response_ids": np.asarray(ids, dtype=np.int32),
        "log_probs": np.asarray(log_probs, dtype=np.float32),
    }


def _response(batch: SampledBatch, index: int) -> dict[str, Any]:
    return {
        **_tokens(batch.responses[index], batch.log_probs[index] if batch.log_probs else []),
        "score": batch.scores[index],
        "verdict": json.dumps(batch.verdict(index) or {}),
    }


def _candidate(row: dict[str, Any]) -> Candidate:
    stored = row["stored"]
    return Candidate(
        task=row["row_uid"],
        text=stored["response"],
        tokens=stored["tokens"],
        score=stored["score"] if stored["judged"] else None,
        number=stored["number"],
        complete=stored["complete"],
    )


def _write(rows: list[dict[str, Any]], path: Path, schema: pa.Schema | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), temporary)
    temporary.replace(path)
