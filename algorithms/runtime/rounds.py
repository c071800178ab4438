"""What a round needs before it starts: token budgets of the tasks, and enough rows for a batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from algorithms.retry.budget import evenly, frontier, per_task, spent
from algorithms.runtime.collection import read_attempts
from algorithms.runtime.stages import Stage


@dataclass(frozen=True)
class TokenBudget:
    """What the tasks of a collection may generate: what the collection ``of`` generated.

    ``allocation``: ``per_task`` the same for each task, ``uniform`` the total in equal parts,
    ``frontier`` what ``probe`` (another collection) left of the total, in equal parts over the
    tasks whose pass rate there lies in ``band``.
    """

    of: str
    allocation: Literal["per_task", "uniform", "frontier"] = "per_task"
    probe: str | None = None
    band: tuple[float, float] = (0.3, 0.5)

    def of_tasks(self, uids: Sequence[str]) -> dict[str, int]:
        """Tokens by task; tasks that get none are left out.

        Raises:
            algorithms.retry.budget.BudgetError: the collections are not of these tasks.
        """
        reference = spent(read_attempts(self.of))
        if self.allocation == "per_task":
            return {uid: n for uid, n in per_task(reference, uids).items() if n}
        total, chosen = sum(reference.values()), list(uids)
        if self.allocation == "frontier":
            assert self.probe is not None
            tried = read_attempts(self.probe)
            total = max(total - sum(spent(tried).values()), 0)
            # Where no task is on the frontier all of them are as good.
            chosen = frontier(tried, uids, self.band) or chosen
        return {uid: n for uid, n in evenly(total, chosen).items() if n}


def write_budgets(data: str, budget: TokenBudget, path: Path) -> int:
    """The rows of ``data`` that have a budget, with it as ``token_budget``; how many there are."""
    rows = pq.read_table(data).to_pylist()
    tokens = budget.of_tasks([row["row_uid"] for row in rows])
    kept = [{**r, "token_budget": tokens[r["row_uid"]]} for r in rows if r["row_uid"] in tokens]
    _replace(pa.Table.from_pylist(kept), path)
    return len(kept)


def ready(stage: Stage, folder: Path) -> tuple[Stage, str]:
    """The stage with what only its data can tell: budgets, steps, rows enough for a batch.

    Returns the stage and a remark for the run's events, empty where there is none.
    """
    path = folder / f"{stage.name}.parquet"
    if stage.budget is not None:
        rows = write_budgets(stage.data, TokenBudget(**stage.budget), path)
        return replace(stage, data=str(path), batch_size=max(rows, 1), steps=min(rows, 1)), ""
    if stage.sampling.source != "stored" or not stage.imitates:
        return stage, ""
    rows = rows_of(stage.data)
    if not rows:
        return replace(stage, steps=0), "nothing was kept to learn from: the weights stay"
    if stage.data_epochs is not None:
        stage = replace(stage, steps=steps_of_epochs(stage.data_epochs, rows, stage.batch_size))
    if rows >= stage.batch_size:
        return stage, ""
    times = write_repeated(stage.data, stage.batch_size, path)
    remark = f"{rows} responses were kept, fewer than a batch of {stage.batch_size}: each counts "
    return replace(stage, data=str(path)), f"{remark}{times} times in a pass"


def rows_of(data: str) -> int:
    return pq.read_metadata(data).num_rows


def write_repeated(data: str, at_least: int, path: Path) -> int:
    """The rows of ``data`` as often as it takes to have ``at_least`` of them; how often."""
    table = pq.read_table(data)
    times = math.ceil(at_least / table.num_rows)
    _replace(pa.concat_tables([table] * times), path)
    return times


def steps_of_epochs(epochs: float, rows: int, batch_size: int) -> int:
    """Steps that make ``epochs`` passes over ``rows``."""
    return max(math.ceil(epochs * rows / batch_size), 1)


def _replace(table: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    pq.write_table(table, temporary)
    temporary.replace(path)
