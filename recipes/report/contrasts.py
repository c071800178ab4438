"""Arm against arm: online and offline, frozen and live, skeleton and controls, OPSD and SFT."""

from __future__ import annotations

from itertools import combinations
from typing import Any

from recipes.report.arms import Arm, best_arm, difference_json, full_steps
from recipes.report.evaluations import Evaluations, Scores
from recipes.report.reader import Row

SETTINGS = ("sampling", "teacher", "pi")
LADDER = ("scheme", "retries", "pi", "allocation")  # a budget follows from the other arm


def comparisons(arms: list[Arm]) -> list[dict[str, Any]]:
    """Paired differences of all method arms that differ in one setting, or in their objective."""
    found = []
    methods = [arm for arm in arms if arm.comparable and arm.role == "method"]
    for a, b in combinations(methods, 2):
        differs = _differs(a, b)
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


def _differs(a: Arm, b: Arm) -> list[str]:
    """The settings in which two arms differ; their objectives count as one setting."""
    if a.ladder is None or b.ladder is None:
        differs = [s for s in SETTINGS if getattr(a, s) != getattr(b, s)]
        if (a.algorithm, a.settings) != (b.algorithm, b.settings) and a.sampling == b.sampling:
            return ["objective"]
        return differs
    differs = [s for s in LADDER if a.ladder.get(s) != b.ladder.get(s)]
    differs += [s for s in ("sampling", "rounds", "algorithm") if getattr(a, s) != getattr(b, s)]
    return [*differs, "settings"] if a.settings != b.settings else differs


def planned_contrasts(plan: Row, arms: list[Arm]) -> list[dict[str, Any]]:
    """The differences that ``plan["contrasts"]`` asks for, each [arm, arm, what it shows].

    ``absent`` names the arms of a pair that have no result; such a pair has no figures.
    """
    entries = plan.get("contrasts")
    found = []
    for entry in entries if isinstance(entries, list) else []:
        if not isinstance(entry, list) or len(entry) != 3:
            continue
        a, b, shows = map(str, entry)
        pair = [next((arm for arm in arms if arm.name == name), None) for name in (a, b)]
        scores = [arm.scores if arm and arm.comparable else None for arm in pair]
        difference = scores[0].minus(scores[1]) if scores[0] and scores[1] else None
        found.append(
            {
                "a": a,
                "b": b,
                "shows": shows,
                "absent": [n for n, s in zip((a, b), scores, strict=True) if s is None],
                "seeds": difference.seeds if difference else 0,
                **difference_json(difference),
            }
        )
    return found


def matrix(arms: list[Arm], pairs: list[dict[str, Any]]) -> dict[str, list[str]]:
    """The names that a compact table of the comparisons has as {"rows", "columns"}."""
    first, second = ({pair[side] for pair in pairs} for side in ("a", "b"))
    return {
        "rows": [arm.name for arm in arms if arm.name in first],
        "columns": [arm.name for arm in arms if arm.name in second],
    }


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

    Returns None where the plan has no control. Arms that retry have contrasts of their own.
    """
    arms = [arm for arm in arms if arm.ladder is None]
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
    arms = [arm for arm in arms if arm.ladder is None]
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
