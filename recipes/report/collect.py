"""From a run folder to the content of report.json: every figure that the report shows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from recipes.report import words
from recipes.report.arms import (
    Arm,
    arm_json,
    baseline_scores,
    best_arm,
    rate_json,
    read_arms,
    reference_size,
    structure_json,
    teacher_scores,
)
from recipes.report.competence import competence, limited
from recipes.report.contrasts import (
    against_sft,
    comparisons,
    matrix,
    planned_contrasts,
    skeleton_contribution,
)
from recipes.report.evaluations import Evaluations, Scores
from recipes.report.health import families, health
from recipes.report.levels import levels
from recipes.report.reader import Row, RunFolder, int_of, number_of, text_of
from recipes.report.retry import retry
from recipes.report.runlog import Events, Metrics, dropped_rows, trajectory_counts
from recipes.report.samples import choose, gather, wanted_keys
from recipes.report.training import training

UNTRAINED = "untrained"  # the model before its warm-up, where a run evaluates it
EXPECTED = ("config.yaml", "versions.json", "plan.json", "metrics.jsonl", "evaluations.jsonl")


def collect(run_dir: Path | str) -> dict[str, Any]:
    """Read a run folder, whole or cut short, and compute the report.

    Returns a JSON-ready dictionary: rates and `ci95` are fractions, `delta_*` percentage points,
    durations seconds. What could not be read is null and named in `missing`.

    Raises:
        NotADirectoryError: run_dir is no folder.
    """
    folder = RunFolder(run_dir)
    plan = folder.document("plan.json")
    table = Evaluations.read(folder.rows("evaluations.jsonl"))
    metrics = Metrics.read(folder.rows("metrics.jsonl"))
    events = Events.read(folder.rows("events.jsonl"))
    trajectories = trajectory_counts(folder.rows("trajectories.jsonl"))
    arms = read_arms(plan, table, metrics, events)
    untrained = next((arm for arm in arms if arm.name == UNTRAINED and not arm.planned), None)
    arms = [arm for arm in arms if arm is not untrained]
    baseline, teacher = baseline_scores(table), teacher_scores(table)
    best, reference_n = best_arm(arms), reference_size(table)
    structures = _structures(table)
    family_rows = families(table, arms, baseline, teacher)
    config, dropped = folder.text("config.yaml"), dropped_rows(folder.rows("dropped.jsonl"))
    report: dict[str, Any] = {
        "recipe": text_of(plan, "recipe") or folder.path.resolve().parent.name,
        "run": folder.path.resolve().name,
        "baseline": _reference_json(baseline, structures),
        "teacher": _reference_json(teacher, structures),
        "arms": [arm_json(arm, baseline, structures) for arm in arms],
        "best_arm": best.name if best else None,
        "has_teacher": teacher is not None or (_has_teacher(arms) and _asks_teacher(plan)),
        "competence": _competence(folder, plan, arms, table),
        "levels": levels(table, arms, baseline, structures),
        "families": family_rows,
        "health": health(table, arms, metrics, family_rows, trajectories),
        "training": training(arms, metrics),
        "retry": retry(arms, metrics, table, dropped),
        "contrasts": planned_contrasts(plan, arms),
        "comparisons": comparisons(arms),
        "controls": skeleton_contribution(arms, table, reference_n),
        "sft": against_sft(arms, table, reference_n),
        "curves": {arm.name: _curves(arm, table, metrics, baseline) for arm in arms},
        "phases": metrics.phases(),
        "span_seconds": metrics.span_seconds(),
        "dropped": dropped,
        "events": {"resumes": events.resumes, "warnings": events.warnings},
        "warmup": _warmup(plan, table),
        "heldout": _heldout(plan, table),
        "lean": is_lean(plan),
        "tactics": _tactic_policy(plan, config),
        "versions": folder.document("versions.json"),
        "config": config,
        "samples": _samples(folder, table, arms, best),
    }
    report["missing"] = _missing(folder, report)
    report["status"] = "partial" if report["missing"] else "complete"
    report["unreadable_lines"] = folder.unreadable
    report["unjudged"] = table.unjudged
    report["verdict"] = words.verdict(report)
    report["matrix"] = matrix(arms, report["comparisons"])
    distils = _has_teacher([arm for arm in arms if arm.ladder is None])
    report["sentences"] = {
        "contribution": words.contribution(report["controls"]) if distils else None,
        "against_sft": words.against_sft(report["sft"]) if distils else None,
        "contrasts": [words.contrast(row) for row in report["contrasts"]],
        "claims": [words.claim(row) for row in report["contrasts"]],
        "warmup": words.warmup(report),
        "comparisons": [words.comparison(row) for row in report["comparisons"]],
    }
    return report


def is_lean(plan: Row) -> bool:
    """Whether plan.json says that Lean judges the answers."""
    return bool(re.search(r"\blean\b", text_of(plan, "verifier")))


def _competence(
    folder: RunFolder, plan: Row, arms: list[Arm], table: Evaluations
) -> dict[str, Any] | None:
    """Where the baseline stands, in runs that ask: those without arms, and those that retry."""
    if plan.get("arms") != [] and all(arm.ladder is None for arm in arms):
        return None
    found = competence(table, lean=is_lean(plan))
    if found is not None and (folder.path / "baseline.json").is_file():
        # only the recipe has the tokenizer at hand that tells which answers were cut
        known = folder.document("baseline.json")
        found = limited(found, number_of(known, "cut_share"), number_of(known, "cut_failed_share"))
    return found


def _reference_json(scores: Scores | None, structures: dict[str, set[str]]) -> dict[str, Any]:
    return {**rate_json(scores), "structure": structure_json(scores, None, structures)}


def _structures(table: Evaluations) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for problem in table.problems.values():
        found.setdefault(problem.structure, set()).add(problem.uid)
    return {name: found[name] for name in sorted(found, reverse=True)}  # seen before new


def _curves(
    arm: Arm, table: Evaluations, metrics: Metrics, baseline: Scores | None
) -> dict[str, Any]:
    """The arm's curves by step; the held-out one starts at the baseline if it has no step 0."""
    steps: dict[int, list[Any]] = {}
    for key in table.keys(arm.name, "student"):
        steps.setdefault(key.step, []).append(key)
    points = []
    if baseline is not None and steps and 0 not in steps:
        points.append(_curve_point(0, baseline))
    for step in sorted(steps):
        scores = table.scores(steps[step])
        if scores is not None:
            points.append(_curve_point(step, scores))
    curves = metrics.curves(arm.name)
    if arm.ladder is not None and arm.sampling != "online":
        # it trains on what it kept: that says nothing of its sampling
        curves |= {"train_pass_rate": [], "distinct": []}
    return {"heldout_pass_rate": points, **curves}


def _curve_point(step: int, scores: Scores) -> dict[str, Any]:
    rate = scores.rate()
    return {
        "step": step,
        "value": rate.value,
        "low": rate.low,
        "high": rate.high,
        "n": len(scores.uids),
        "seeds": len(scores.seeds),
    }


def _warmup(plan: Row, table: Evaluations) -> dict[str, Any]:
    """What plan.json says; `enabled` is None if it says nothing. `before`: untrained."""
    warmup = plan.get("warmup")
    said = warmup if isinstance(warmup, dict) else {}
    keys = table.keys(UNTRAINED, "student")
    before = rate_json(table.scores(keys[:1])) if keys else None
    names = ("enabled", "steps", "rows", "why")
    return {name: said.get(name) for name in names} | {"before": before}


def _heldout(plan: Row, table: Evaluations) -> dict[str, Any]:
    heldout = plan.get("heldout")
    planned = heldout if isinstance(heldout, dict) else {}
    return {
        "planned": int_of(planned, "n"),
        "planned_new_structure": int_of(planned, "new_structure"),
        "compared": int_of(planned, "compared"),
        "leak_guard": text_of(planned, "leak_guard"),
        "evaluated": len(table.problems),
        "new_structure": sum(p.structure == "new" for p in table.problems.values()),
        "families": len({p.family for p in table.problems.values()}),
    }


def _tactic_policy(plan: Row, config: str) -> dict[str, Any]:
    """Which tactics count: plan.json's `tactic_policy` and what config.yaml says of tactics."""
    lines = [
        line.strip()
        for line in config.splitlines()
        if re.match(r"\s*[-\w]*(tactic|banned)[-\w]*\s*:", line, re.IGNORECASE)
    ]
    note, verifier = text_of(plan, "tactic_policy"), text_of(plan, "verifier")
    return {"note": note or None, "config": lines, "verifier": verifier or None}


def _samples(
    folder: RunFolder, table: Evaluations, arms: list[Arm], best: Arm | None
) -> list[dict[str, Any]]:
    chosen = choose(table, best)
    if not chosen:
        return []
    unreadable = dict(folder.unreadable)
    samples = gather(folder.rows("evaluations.jsonl"), chosen, wanted_keys(table, arms), table)
    folder.unreadable = unreadable  # the second pass skips the same lines: count them once
    return samples


def _missing(folder: RunFolder, report: dict[str, Any]) -> list[str]:
    """What a whole run has and this one has not, in words."""
    missing = [f"{name} is absent" for name in EXPECTED if name in folder.missing]
    missing += [
        f"{n} is unreadable" for n in ("plan.json", "versions.json") if n in folder.unreadable
    ]
    if report["baseline"]["pass_rate"] is None:
        missing.append("the baseline has no held-out evaluation")
    if report["teacher"]["pass_rate"] is None and report["has_teacher"]:
        missing.append("the teacher (with PI) has no held-out evaluation")
    planned = report["heldout"]["planned"]
    if 0 < report["baseline"]["n"] < planned:
        n = report["baseline"]["n"]
        missing.append(f"the baseline is evaluated on {n} of {planned} held-out rows")
    if not report["arms"] and report["competence"] is None:
        missing.append("no arm is planned or evaluated")
    for arm in report["arms"]:
        if arm["status"] in ("unfinished", "not evaluated"):
            missing.append(f"{arm['name']}: {'; '.join(arm['notes'])}")
    return missing


def _asks_teacher(plan: Row) -> bool:
    """Whether the baseline is evaluated with PI too, as far as plan.json says."""
    views = plan.get("baseline_views")
    return "teacher" in views if isinstance(views, list) else True


def _has_teacher(arms: list[Arm]) -> bool:
    """Whether PI or weights of a teacher take part in some arm's training."""
    return any(
        arm.role != "sft"
        and arm.ladder is None
        and (arm.pi is not None or arm.teacher not in ("", "none"))
        for arm in arms
    )
