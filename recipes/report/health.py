"""What a pass rate alone hides: families that fell, answers alike, a teacher that follows down."""

from __future__ import annotations

from typing import Any

from recipes.report.arms import (
    Arm,
    baseline_scores,
    difference_json,
    last_by_seed,
    rate_json,
    share,
    teacher_keys,
    teacher_scores,
)
from recipes.report.evaluations import BASELINE, Evaluations, Scores
from recipes.report.runlog import Metrics


def families(
    table: Evaluations, arms: list[Arm], baseline: Scores | None, teacher: Scores | None
) -> list[dict[str, Any]]:
    """Per family: n, baseline, teacher, and each comparable arm with its difference."""
    by_family: dict[str, set[str]] = {}
    for problem in table.problems.values():
        by_family.setdefault(problem.family, set()).add(problem.uid)
    rows = []
    for family in sorted(by_family):
        uids = by_family[family]
        base = baseline.subset(uids) if baseline else None
        row: dict[str, Any] = {
            "family": family,
            "n": len(uids),
            "baseline": rate_json(base),
            "teacher": rate_json(teacher.subset(uids) if teacher else None),
            "arms": {},
        }
        for arm in arms:
            part = arm.scores.subset(uids) if arm.comparable and arm.scores else None
            if part is not None:
                difference = part.minus(base) if base else None
                row["arms"][arm.name] = {**rate_json(part), **difference_json(difference)}
        rows.append(row)
    return rows


def family_counts(rows: list[dict[str, Any]], arm: str) -> dict[str, Any]:
    """Which families rose, fell or stayed for an arm; `clear` has intervals without zero."""
    counts: dict[str, Any] = {
        "rose": [],
        "fell": [],
        "same": [],
        "clear_rise": [],
        "clear_fall": [],
    }
    for row in rows:
        entry = row["arms"].get(arm)
        if entry is None or entry["delta_pp"] is None:
            continue
        delta, (low, high) = entry["delta_pp"], entry["delta_ci95"]
        name = row["family"]
        # means of fractions differ by rounding where they are equal
        counts["same" if abs(delta) < 1e-9 else "rose" if delta > 0 else "fell"].append(name)
        if low > 0:
            counts["clear_rise"].append(name)
        if high < 0:
            counts["clear_fall"].append(name)
    total = len(counts["rose"]) + len(counts["fell"]) + len(counts["same"])
    counts["most_rise"] = 2 * len(counts["rose"]) > total if total else None
    return counts


def health(
    table: Evaluations,
    arms: list[Arm],
    metrics: Metrics,
    family_rows: list[dict[str, Any]],
    trajectories: dict[str, dict[str, int]],
) -> list[dict[str, Any]]:
    """One entry for the baseline, the teacher and each arm."""
    before, start = teacher_scores(table), baseline_scores(table)
    base = table.distinct(last_by_seed(table.keys(BASELINE, "student")))
    entries: list[dict[str, Any]] = [
        {
            "name": "baseline",
            "distinct": _distinct_json(base),
            "pi_utility": _pi_utility(before, start),
        },
        {"name": "teacher", "distinct": _distinct_json(table.distinct(teacher_keys(table)))},
    ]
    for arm in arms:
        curves = metrics.curves(arm.name)
        after = table.scores(last_by_seed(table.keys(arm.name, "teacher")))
        change = after.minus(before) if after and before else None
        # after training the teacher may be asked on part of the rows: compare on those alone
        same_rows = before.subset(after.uids) if after and before else before
        entry = {
            "name": arm.name,
            "status": arm.status,
            "distinct": _distinct_json(arm.distinct),
            "sampled": trajectories.get(arm.name),
            "entropy": _ends(curves["entropy"]),
            "kl": _ends(curves["kl"]),
            "teacher_before": rate_json(same_rows),
            "teacher_after": rate_json(after),
            "teacher_change": difference_json(change),
            "pi_utility": _pi_utility(after, _last_student(table, arm)),
            "families": family_counts(family_rows, arm.name),
        }
        entry["warnings"] = _warnings(arm, entry)
        entries.append(entry)
    return entries


def _last_student(table: Evaluations, arm: Arm) -> Scores | None:
    return table.scores(last_by_seed(table.keys(arm.name, "student")))


def _pi_utility(teacher: Scores | None, student: Scores | None) -> dict[str, Any]:
    """The same weights with PI minus without, on the held-out rows that both answered."""
    return difference_json(teacher.minus(student) if teacher and student else None)


def _distinct_json(distinct: tuple[int, int]) -> dict[str, Any]:
    total = distinct[1]
    return {"distinct": distinct[0], "total": total, "share": share(distinct) if total else None}


def _ends(curve: list[dict[str, float]]) -> dict[str, float] | None:
    if not curve:
        return None
    return {"first": curve[0]["value"], "last": curve[-1]["value"]}


def _warnings(arm: Arm, entry: dict[str, Any]) -> list[str]:
    warnings = []
    if arm.status == "suspect":
        warnings.append(arm.notes[-1])
    entropy = entry["entropy"]
    if entropy and entropy["first"] > 0 and entropy["last"] < 0.1 * entropy["first"]:
        warnings.append(f"entropy fell from {entropy['first']:.3g} to {entropy['last']:.3g}")
    change = entry["teacher_change"]
    if change["delta_ci95"] and change["delta_ci95"][1] < 0:
        low, high = change["delta_ci95"]
        warnings.append(
            f"the teacher with PI lost {-change['delta_pp']:.1f} points during training "
            f"[{low:.1f}, {high:.1f}]"
        )
    return warnings
