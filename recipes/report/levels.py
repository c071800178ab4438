"""Pass rates by difficulty level: the baseline, and every arm with its paired difference."""

from __future__ import annotations

from typing import Any

from recipes.report.arms import Arm, difference_json, rate_json
from recipes.report.evaluations import Evaluations, Scores, by_level


def levels(
    table: Evaluations, arms: list[Arm], baseline: Scores | None, structures: dict[str, set[str]]
) -> list[dict[str, Any]]:
    """[{"level", "n", "baseline": rate, "arms": {name: rate and difference}}], in order.

    Empty where rows have no level, or only one, and where the levels are the structures, which the
    table of results shows already.
    """
    found = by_level(table)
    if len(found) < 2 or found == {name: structures.get(name) for name in found}:
        return []
    rows = []
    for level, uids in found.items():
        base = baseline.subset(uids) if baseline else None
        shown: dict[str, Any] = {}
        for arm in arms:
            part = arm.scores.subset(uids) if arm.comparable and arm.scores else None
            if part is not None:
                difference = part.minus(base) if base else None
                shown[arm.name] = {**rate_json(part), **difference_json(difference)}
        rows.append({"level": level, "n": len(uids), "baseline": rate_json(base), "arms": shown})
    return rows
