"""What an arm's training saw: tokens, groups, importance ratios, leaks, variety of paths."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from recipes.report.arms import COLLECTION, Arm
from recipes.report.runlog import Metrics

# What the report shows -> the metric's name in metrics.jsonl, of either view.
MEANS = {
    "privileged_share": "tasks/privileged_share",
    "zero_advantage_share": "groups/zero_advantage_share",
    "kept_share": "retry/kept_share",
    "leak_rate_student": "leak_rate/student",
    "leak_rate_teacher": "leak_rate/teacher",
    "path_diversity": "health/path_diversity",
}
# Nats per generated token; whichever view is trained, or the sampled view's where the KL is in the
# reward.
STUDENT_TEACHER = ("distill/kl_own_other", "teacher/distill/kl_other_own")
TEACHER_STUDENT = ("distill/kl_other_own", "teacher/distill/kl_own_other")
SAMPLED_OTHER = "reward/token_kl"
TEACHER_SAMPLES = ("pi_distill", "teacher_objective", "student_objective")
OFF_POLICY = ("ratio", "clip_fraction", "effective_sample_size")
WEIGHTED = ("policy_gradient", "teacher/policy_gradient", "distill")
TOTALS = ("generated", "trained")


def training(arms: list[Arm], metrics: Metrics) -> list[dict[str, Any]]:
    """One entry an arm: means over its steps and seeds, tokens as the mean total of a seed.

    ``off_policy`` has an entry for each importance-weighted term: the ratio's mean, the clipped
    share of its tokens and the effective sample size as a share. An offline arm's generated tokens
    are those of its collection, a retry arm's those of its own. What no step recorded is null.
    """
    return [_entry(arm, metrics) for arm in arms]


def _entry(arm: Arm, metrics: Metrics) -> dict[str, Any]:
    means = {name: metrics.mean(arm.name, metric) for name, metric in MEANS.items()}
    off_policy = {}
    for term in WEIGHTED:
        figures = {name: metrics.mean(arm.name, f"{term}/{name}") for name in OFF_POLICY}
        if any(value is not None for value in figures.values()):
            off_policy[term] = figures
    in_reward = "kl_teacher_student" if arm.algorithm in TEACHER_SAMPLES else "kl_student_teacher"
    for name, candidates in (
        ("kl_student_teacher", STUDENT_TEACHER),
        ("kl_teacher_student", TEACHER_STUDENT),
    ):
        also = (SAMPLED_OTHER,) if name == in_reward else ()
        means[name] = _first(metrics.mean(arm.name, metric) for metric in (*candidates, *also))
    tokens = {name: metrics.total(arm.name, f"tokens/{name}") for name in TOTALS}
    if arm.ladder is not None:
        tokens = _collected(arm.name, metrics)
    elif arm.sampling == "offline":
        tokens["generated"] = metrics.total(COLLECTION, "tokens/generated")
    elif arm.role == "sft":
        tokens["generated"] = None  # given responses: nobody sampled them
    return {"name": arm.name, "tokens": tokens, "off_policy": off_policy, **means}


def _collected(arm: str, metrics: Metrics) -> dict[str, float | None]:
    """Of an arm that collects under its own name, what is replayed is not generated again."""
    phases = {"generated": ("collect", "train"), "trained": ("train", "collect")}
    return {
        name: _first(metrics.total(arm, f"tokens/{name}", phase) for phase in order)
        for name, order in phases.items()
    }


def _first(values: Iterable[float | None]) -> float | None:
    return next((value for value in values if value is not None), None)
