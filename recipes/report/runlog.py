"""What the run wrote about itself while it trained: metrics, events, dropped rows, trajectories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from recipes.report.evaluations import digest
from recipes.report.reader import Row, finite, int_of, number_of, text_of

# what the report draws -> the metric's name in metrics.jsonl
CURVES = {
    "kl": "distill/kl",
    "entropy": "entropy",
    "distinct": "health/distinct_outputs",
    "train_pass_rate": "reward/pass_rate",
    "loss": "distill/loss",
    "grad_norm": "grad_norm",
}
NOT_TRAINING = ("eval", "evaluate", "warmup")
WHOLE_STEP = "timing/step"  # the sum of the other timings


@dataclass
class Metrics:
    """metrics.jsonl, the last record of each (arm, seed, phase, step, stage and view)."""

    records: dict[tuple[str, int, str, int, str], Row] = field(default_factory=dict)

    @classmethod
    def read(cls, rows: Iterable[Row]) -> Metrics:
        """Fill from the stream; a step written again after a resume replaces the first."""
        table = cls()
        for row in rows:
            if "phase" in row:
                key = (text_of(row, "arm"), int_of(row, "seed"), text_of(row, "phase"))
                values = row.get("metrics")
                # A warm-up has several stages, an evaluation two views, of the same steps.
                part = f"{text_of(row, 'stage')}/{text_of(row, 'view')}"
                table.records[(*key, int_of(row, "step"), part)] = {
                    "seconds": number_of(row, "seconds"),
                    "time": number_of(row, "time"),
                    "round": int_of(row, "round", 1),
                    "metrics": values if isinstance(values, dict) else {},
                }
        return table

    def last_step(self, arm: str, seed: int) -> int:
        """The last training step of an arm's seed; 0 before the first."""
        steps = [k[3] for k in self.records if k[:3] == (arm, seed, "train")]
        return max(steps, default=0)

    def training_seconds(self, arm: str, seed: int) -> float | None:
        """Seconds of sampling, judging and updating, without evaluations; None if not recorded."""
        seconds = [
            record["seconds"]
            for key, record in self.records.items()
            if key[:2] == (arm, seed)
            and key[2] not in NOT_TRAINING
            and record["seconds"] is not None
        ]
        return sum(seconds) if seconds else None

    def curves(self, arm: str) -> dict[str, list[dict[str, float]]]:
        """Per curve a list of {step, value, low, high, seeds}: mean, least and most over seeds.

        A collection that precedes the arm's own training counts steps of its own: left out.
        """
        phases = {key[2] for key in self.records if key[0] == arm}
        aside = (*NOT_TRAINING, "collect") if "train" in phases else NOT_TRAINING
        found: dict[str, dict[int, dict[int, float]]] = {name: {} for name in CURVES}
        for (name, seed, phase, step, _), record in self.records.items():
            if name != arm or phase in aside:
                continue
            for curve, metric in CURVES.items():
                value = finite(record["metrics"].get(metric))
                if value is not None:
                    found[curve].setdefault(step, {})[seed] = value
        return {curve: _over_seeds(steps) for curve, steps in found.items()}

    def mean(self, arm: str, metric: str) -> float | None:
        """Mean of a metric over an arm's training steps and seeds; None if it was not recorded."""
        values = [value for _, value in self._values(arm, metric)]
        return sum(values) / len(values) if values else None

    def total(self, arm: str, metric: str, phase: str | None = None) -> float | None:
        """Sum of a metric over an arm's training steps, or one phase's; the mean over its seeds."""
        values = self._values(arm, metric, phase)
        seeds = {seed for seed, _ in values}
        return sum(value for _, value in values) / len(seeds) if values else None

    def _values(self, arm: str, metric: str, phase: str | None = None) -> list[tuple[int, float]]:
        """(seed, value) of every training step that recorded the metric."""
        return [
            (key[1], value)
            for key, record in self.records.items()
            if key[0] == arm and key[2] not in NOT_TRAINING and phase in (None, key[2])
            if (value := finite(record["metrics"].get(metric))) is not None
        ]

    def phases(self) -> list[dict[str, Any]]:
        """Seconds and records by phase, with the parts that `timing/*` metrics tell apart."""
        phases: dict[str, dict[str, Any]] = {}
        for (arm, _, phase, _, _), record in self.records.items():
            blank = {"phase": phase, "seconds": 0.0, "records": 0, "parts": {}, "arms": {}}
            entry = phases.setdefault(phase, blank)
            seconds = record["seconds"] or 0.0
            entry["seconds"] += seconds
            entry["records"] += 1
            entry["arms"][arm] = entry["arms"].get(arm, 0.0) + seconds
            for name, value in record["metrics"].items():
                part = finite(value)
                if name.startswith("timing/") and name != WHOLE_STEP and part is not None:
                    short = name.removeprefix("timing/")
                    entry["parts"][short] = entry["parts"].get(short, 0.0) + part
        return sorted(phases.values(), key=lambda p: -p["seconds"])

    def span_seconds(self) -> float | None:
        """Wall time from the first record's start to the last; pauses before a resume count."""
        times = [(r["time"], r["seconds"] or 0.0) for r in self.records.values() if r["time"]]
        if not times:
            return None
        return max(t for t, _ in times) - min(t - s for t, s in times)


def _over_seeds(steps: dict[int, dict[int, float]]) -> list[dict[str, float]]:
    points = []
    for step in sorted(steps):
        values = list(steps[step].values())
        points.append(
            {
                "step": step,
                "value": sum(values) / len(values),
                "low": min(values),
                "high": max(values),
                "seeds": len(values),
            }
        )
    return points


@dataclass
class Events:
    """events.jsonl: the first collapse of each arm's seed, and the other lines as they came."""

    collapses: dict[str, Row] = field(default_factory=dict)
    resumes: int = 0
    warnings: list[Row] = field(default_factory=list)
    most_warnings: int = 50

    @classmethod
    def read(cls, rows: Iterable[Row]) -> Events:
        """Fill from the stream. A collapse is never taken back by a later line."""
        events = cls()
        for row in rows:
            kind, arm = text_of(row, "kind"), text_of(row, "arm")
            entry = {
                "arm": arm,
                "seed": int_of(row, "seed"),
                "step": int_of(row, "step"),
                "message": text_of(row, "message", "no cause was written"),
            }
            if kind == "collapse":
                events.collapses.setdefault(arm, entry)
            elif kind == "resume":
                events.resumes += 1
            elif kind == "warning" and len(events.warnings) < events.most_warnings:
                events.warnings.append(entry)
        return events


def dropped_rows(rows: Iterable[Row]) -> dict[str, Any]:
    """Dropped rows: {"total", "by_reason", "by_arm", "by_round", "examples"}.

    `by_reason` is {reason: n}, `by_arm` {arm: {reason: n}}, `by_round` {arm: {round: {reason: n}}}
    with round 0 where rows name none; `examples` holds the first detail of each reason.
    """
    reasons: dict[tuple[Any, ...], tuple[str, str, int]] = {}
    examples: dict[str, str] = {}
    for row in rows:
        arm, reason = text_of(row, "arm"), text_of(row, "reason", "no reason given")
        where = (arm, int_of(row, "seed"), int_of(row, "step"), text_of(row, "uid"))
        which = (int_of(row, "sample"), int_of(row, "attempt"), int_of(row, "round"))
        reasons[(*where, *which, reason)] = (arm, reason, which[2])
        examples.setdefault(reason, text_of(row, "detail")[:200])
    by_arm: dict[str, Counter[str]] = {}
    by_round: dict[str, dict[int, Counter[str]]] = {}
    for arm, reason, number in reasons.values():
        by_arm.setdefault(arm, Counter())[reason] += 1
        by_round.setdefault(arm, {}).setdefault(number, Counter())[reason] += 1
    total = Counter(reason for _, reason, _ in reasons.values())
    return {
        "total": sum(total.values()),
        "by_reason": dict(total.most_common()),
        "by_arm": {arm: dict(counts.most_common()) for arm, counts in by_arm.items()},
        "by_round": {
            arm: {number: dict(counts.most_common()) for number, counts in sorted(rounds.items())}
            for arm, rounds in by_round.items()
        },
        "examples": examples,
    }


def trajectory_counts(rows: Iterable[Row]) -> dict[str, dict[str, int]]:
    """Per arm: trajectories, judged, passed and distinct responses, the last of each key."""
    answers: dict[tuple[Any, ...], tuple[bool | None, bytes]] = {}
    for row in rows:
        key = (
            text_of(row, "arm"),
            int_of(row, "seed"),
            int_of(row, "step"),
            text_of(row, "uid"),
            int_of(row, "sample"),
            text_of(row, "view"),
            text_of(row, "stage"),
        )
        verdict = row.get("verdict")
        passed = verdict.get("passed") is True if isinstance(verdict, dict) else None
        answers[key] = (passed, digest(text_of(row, "response")))
    counts: dict[str, dict[str, int]] = {}
    distinct: dict[str, set[bytes]] = {}
    for key, (passed, response) in answers.items():
        arm = key[0]
        entry = counts.setdefault(arm, {"trajectories": 0, "judged": 0, "passed": 0, "distinct": 0})
        entry["trajectories"] += 1
        entry["judged"] += passed is not None
        entry["passed"] += passed is True
        distinct.setdefault(arm, set()).add(response)
    for arm, responses in distinct.items():
        counts[arm]["distinct"] = len(responses)
    return counts
