"""Arm against arm: online and offline, frozen and live, skeleton and controls, OPSD and SFT."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from recipes.report.arms import Arm, best_arm, difference_json, full_steps
from recipes.report.evaluations import Evaluations, Scores

SETTINGS = ("sampling", "teacher", "pi")


def comparisons(arms: list[Arm]) -> list[dict[str, Any]]:
    """Paired differences of all method arms that differ in one setting, or in their objective."""
    found = []
    methods = [arm for arm in arms if arm.comparable and arm.role == "method"]
    for a, b in combinations(methods, 2):
        differs = [s for s in SETTINGS if getattr(a, s) != getattr(b, s)]
        if (a.algorithm, a.settings) != (b.algorithm, b.settings) and a.sampling == b.sampling:
            differs = ["objective"]
        if len(differs) != 1 or not (a.scores and b.scores):
            continue
        difference = a.scores.minus(b.scores)
        if difference is None:
            continue
        found.append(
            {
                "a": a.name,
                "b": b.name,
                "differs": differs[0],
                "seeds": difference.seeds,
                "steps": [a.evaluated_at, b.evaluated_at],
                **difference_json(difference),
            }
        )
    return found


def at_common_step(
    a: Arm, b: Arm, table: Evaluations, reference_n: int
) -> tuple[int | None, Scores | None, Scores | None]:
    """Scores of both arms at the last step at which both have a whole evaluation.

    Without such a step the two results are taken as they are, and the step is None.
    """
    steps_a, steps_b = (full_steps(table, arm, reference_n) for arm in (a, b))
    common = steps_a.keys() & steps_b.keys()
    if not common:
        return None, a.scores, b.scores
    step = max(common)
    return step, table.scores(steps_a[step]), table.scores(steps_b[step])


def skeleton_contribution(
    arms: list[Arm], table: Evaluations, reference_n: int
) -> dict[str, Any] | None:
    """The method arm against its controls (PI none, gibberish, wrong) at the same steps.

    Returns None where the plan has no control.
    """
    controls = [arm for arm in arms if arm.role == "control"]
    if not controls:
        return None
    result: dict[str, Any] = {
        "arm": None,
        "pi": None,
        "best_control": None,
        "rows": [],
        "collapsed": [a.name for a in controls if a.status in ("collapsed", "suspect")],
        "absent": [a.name for a in controls if a.status == "not evaluated"],
    }
    method = _counterpart(arms, controls)
    if method is None:
        return result
    result["arm"], result["pi"] = method.name, method.pi
    for control in controls:
        if not control.comparable:
            continue
        step, ours, theirs = at_common_step(method, control, table, reference_n)
        difference = ours.minus(theirs) if ours and theirs else None
        if theirs is None or difference is None:
            continue
        rate = theirs.rate().value
        row = {"name": control.name, "pi": control.pi, "step": step, "control_pass_rate": rate}
        result["rows"].append({**row, **difference_json(difference)})
    result["rows"].sort(key=lambda r: -r["control_pass_rate"])
    if result["rows"]:
        result["best_control"] = result["rows"][0]["name"]
    return result


def _counterpart(arms: list[Arm], controls: list[Arm]) -> Arm | None:
    """The best method arm with the controls' own sampling and teacher; else the best one."""
    methods = [arm for arm in arms if arm.role == "method" and arm.comparable]
    settings = {(c.algorithm, c.sampling, c.teacher) for c in controls}
    same = [a for a in methods if (a.algorithm, a.sampling, a.teacher) in settings]
    return best_arm(same) or best_arm(methods)


def against_sft(arms: list[Arm], table: Evaluations, reference_n: int) -> dict[str, Any] | None:
    """The best method arm against SFT on gold proofs, on all rows and on the rows that matter.

    Returns None where the plan has no SFT arm.
    """
    sft_arms = [arm for arm in arms if arm.role == "sft"]
    if not sft_arms:
        return None
    sft = best_arm(sft_arms)
    method = best_arm([arm for arm in arms if arm.role == "method"])
    result: dict[str, Any] = {
        "arm": method.name if method else None,
        "sft": (sft or sft_arms[0]).name,
        "sft_status": (sft or sft_arms[0]).status,
        "step": None,
        "rows": [],
        "families": [],
    }
    if sft is None or method is None:
        return result
    result["step"], ours, theirs = at_common_step(method, sft, table, reference_n)
    if ours is None or theirs is None:
        return result
    for scope, uids in _scopes(table).items():
        row = _difference_on(ours, theirs, uids)
        if row:
            result["rows"].append({"scope": scope, **row})
    for family in sorted({p.family for p in table.problems.values()}):
        uids = {u for u, p in table.problems.items() if p.family == family}
        row = _difference_on(ours, theirs, uids)
        if row and (row["delta_ci95"][0] > 0 or row["delta_ci95"][1] < 0):
            result["families"].append({"family": family, **row})
    return result


def _scopes(table: Evaluations) -> dict[str, set[str]]:
    problems = table.problems.values()
    return {
        "all rows": {p.uid for p in problems},
        "seen structure": {p.uid for p in problems if p.structure == "seen"},
        "new structure": {p.uid for p in problems if p.structure == "new"},
        "without gold proofs": {p.uid for p in problems if p.has_gold is False},
    }


def _difference_on(ours: Scores, theirs: Scores, uids: set[str]) -> dict[str, Any] | None:
    left, right = ours.subset(uids), theirs.subset(uids)
    difference = left.minus(right) if left and right else None
    return difference_json(difference) if difference else None
