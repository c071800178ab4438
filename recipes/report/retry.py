"""Retry runs: attempts, their success, what was kept and dropped, by arm and round."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from recipes.report.arms import Arm
from recipes.report.evaluations import Evaluations
from recipes.report.reader import finite, text_of
from recipes.report.runlog import NOT_TRAINING, Metrics

MOST_COLUMNS = 6  # attempts with a column of their own; later ones are added up
SAME_BUDGET = 0.01  # of the tokens of the arm that it is matched to


@dataclass
class Round:
    """What the steps of one round recorded, by phase: (seed, metrics)."""

    phases: dict[str, list[tuple[int, dict[str, Any]]]] = field(default_factory=dict)
    last_step: int = 0

    def values(self, metric: str) -> list[tuple[int, float]]:
        """(seed, value): of the collection where it recorded the metric, else of the training."""
        for phase in sorted(self.phases):  # "collect" before "train"
            found = [
                (seed, value)
                for seed, metrics in self.phases[phase]
                if (value := finite(metrics.get(metric))) is not None
            ]
            if found:
                return found
        return []

    def total(self, metric: str) -> float | None:
        """Sum over steps, the mean over seeds; None where nobody recorded it."""
        values = self.values(metric)
        seeds = {seed for seed, _ in values}
        return sum(value for _, value in values) / len(seeds) if values else None

    def mean(self, metric: str) -> float | None:
        """Mean over steps and seeds."""
        values = [value for _, value in self.values(metric)]
        return sum(values) / len(values) if values else None

    def names(self, prefix: str) -> list[str]:
        """What follows the prefix in the names of metrics, sorted."""
        records = [metrics for lines in self.phases.values() for _, metrics in lines]
        return sorted({n.removeprefix(prefix) for m in records for n in m if n.startswith(prefix)})

    @property
    def seeds(self) -> list[int]:
        return sorted({seed for lines in self.phases.values() for seed, _ in lines})


def retry(
    arms: list[Arm], metrics: Metrics, table: Evaluations, dropped: dict[str, Any]
) -> dict[str, Any] | None:
    """{"numbers", "later", "rows"}; None for a run without an arm that retries.

    ``rows`` has an entry an arm and round; counts and tokens are those of one seed (the mean over
    seeds). ``numbers``: the attempts that every row lists in ``attempts``; ``later`` says whether
    some arm made more, which ``rows[...]["later"]`` adds up. ``unequal``: the rows whose tokens
    differ by more than 1 % from those of the arm they are matched to, in words.
    """
    ladders = [arm for arm in arms if arm.ladder is not None]
    if not ladders:
        return None
    rounds = {arm.name: rounds_of(metrics, arm.name) for arm in ladders}
    rows = []
    for arm in ladders:
        for number, found in sorted(rounds[arm.name].items()):
            entry = _entry(found) | _generated(arm, found, number, rounds)
            entry |= _after(arm, found.last_step, table)
            reasons = _reasons(dropped, arm, number, rounds[arm.name])
            rows.append({"arm": arm.name, "round": number, **entry, "reasons": reasons})
    most = max((a["number"] for row in rows for a in row["attempts"]), default=1)
    numbers = list(range(1, min(most, MOST_COLUMNS) + 1))
    for row in rows:
        row["later"] = _pooled(a for a in row["attempts"] if a["number"] > MOST_COLUMNS)
    return {
        "numbers": numbers,
        "later": most > MOST_COLUMNS,
        "unequal": _unequal(rows),
        "rows": rows,
    }


def rounds_of(metrics: Metrics, arm: str) -> dict[int, Round]:
    """The rounds of an arm by number; an online arm's steps are its one round."""
    rounds: dict[int, Round] = {}
    for (name, seed, phase, step, _), record in metrics.records.items():
        if name != arm or phase in NOT_TRAINING:
            continue
        entry = rounds.setdefault(record["round"], Round())
        entry.phases.setdefault(phase, []).append((seed, record["metrics"]))
        if phase == "train":
            entry.last_step = max(entry.last_step, step)
    return rounds


def _entry(found: Round) -> dict[str, Any]:
    retries, repeated = found.total("retry/retries"), found.total("retry/repeated")
    return {
        "seeds": found.seeds,
        "tasks": found.total("retry/tasks"),
        "tries": found.total("retry/attempts"),
        "attempts": _attempts(found),
        "retries": retries,
        "repeated_share": None if repeated is None or not retries else repeated / retries,
        "kept": found.total("retry/kept"),
        "dropped": found.total("retry/dropped"),
        "stopped": {
            why: found.total(f"retry/stopped_{why}") for why in found.names("retry/stopped_")
        },
        "trained": found.total("tokens/trained"),
        "path_diversity": found.mean("health/path_diversity"),
    }


def _attempts(found: Round) -> list[dict[str, Any]]:
    """[{"number", "asked", "passed", "rate"}] by attempt number, the first attempt first."""
    numbers = sorted(int(n) for n in found.names("retry/asked_") if n.isdecimal())
    return [
        {
            "number": number,
            **_success(found.total(f"retry/asked_{number}"), found.total(f"retry/passed_{number}")),
        }
        for number in numbers
    ]


def _success(asked: float | None, passed: float | None) -> dict[str, Any]:
    asked, passed = asked or 0.0, passed or 0.0
    return {"asked": asked, "passed": passed, "rate": passed / asked if asked else None}


def _pooled(attempts: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    found = list(attempts)
    if not found:
        return None
    return _success(sum(a["asked"] for a in found), sum(a["passed"] for a in found))


def _generated(
    arm: Arm, found: Round, number: int, rounds: dict[str, dict[int, Round]]
) -> dict[str, Any]:
    """Tokens generated, and how many times those of the arm that it is matched to."""
    tokens = found.total("tokens/generated")
    of = text_of(arm.ladder or {}, "budget_of") or None
    other = rounds.get(of or "", {}).get(number)
    theirs = other.total("tokens/generated") if other else None
    multiple = tokens / theirs if tokens is not None and theirs else None
    return {"generated": tokens, "budget_of": of, "multiple": multiple}


def _unequal(rows: list[dict[str, Any]]) -> list[str]:
    return [
        f"{row['arm']} in round {row['round']} ({row['multiple']:.3f} × {row['budget_of']})"
        for row in rows
        if row["multiple"] is not None and abs(row["multiple"] - 1) > SAME_BUDGET
    ]


def _after(arm: Arm, step: int, table: Evaluations) -> dict[str, Any]:
    """The held-out pass rate at the round's last step, where it was evaluated there."""
    keys = [k for k in table.keys(arm.name, "student") if k.step == step > 0]
    scores = table.scores(keys) if arm.comparable else None
    return {"heldout": float(scores.values_SN.mean()) if scores else None, "last_step": step}


def _reasons(
    dropped: dict[str, Any], arm: Arm, number: int, rounds: dict[int, Round]
) -> dict[str, float]:
    """Dropped rows by reason, the mean over seeds; where no line names its round, with the last."""
    by_round = dropped["by_round"].get(arm.name, {})
    counts = dict(by_round.get(number, {}))
    if number == max(rounds):
        for reason, n in by_round.get(0, {}).items():
            counts[reason] = counts.get(reason, 0) + n
    seeds = max(len(rounds[number].seeds), 1)
    return {reason: n / seeds for reason, n in counts.items()}
