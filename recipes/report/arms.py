"""Arms: what was planned, what was reached, and which evaluation counts as the result."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from recipes.report.evaluations import BASELINE, TEACHER, Difference, Evaluations, Key, Scores
from recipes.report.reader import Row, int_of, text_of
from recipes.report.runlog import Events, Metrics
from recipes.stats import Estimate

COLLECTION = "collection"  # the arm's name under which offline responses are sampled

ALGORITHMS = {
    "opsd": "OPSD",
    "pi_distill": "π-Distill",
    "teacher_objective": "π-Distill's teacher",
    "student_objective": "π-Distill's student",
    "grpo": "GRPO",
    "retry_sft": "self-SFT",
}

# An arm whose held-out answers are this much less varied than those of the baseline and of the
# teacher is no candidate for the best arm: a pass rate can rise while the policy collapses.
SUSPECT_SHARE = 0.25

ROLES = ("method", "control", "sft")


@dataclass
class Arm:
    """One arm. `scores` is None where there is no result that may be compared."""

    name: str
    algorithm: str = ""
    sampling: str = ""
    teacher: str = ""
    pi: str | None = None
    description: str = ""
    planned_role: str = ""
    rounds: int = 1
    ladder: Row | None = None  # how it retries; None for arms of other methods
    settings: Row = field(default_factory=dict)
    planned_seeds: list[int] = field(default_factory=list)
    planned_steps: int = 0
    planned: bool = True
    status: str = "not evaluated"  # done, unfinished, suspect, collapsed, not evaluated
    keys: list[Key] = field(default_factory=list)
    scores: Scores | None = None
    steps: int = 0
    evaluated_at: int | None = None
    seconds: float | None = None
    collapse: Row | None = None
    distinct: tuple[int, int] = (0, 0)
    notes: list[str] = field(default_factory=list)

    @property
    def role(self) -> str:
        """`sft`, `control` (PI without content for the problem) or `method`; the plan wins."""
        if self.planned_role in ROLES:
            return self.planned_role
        if self.algorithm == "sft":
            return "sft"
        # null PI means that the algorithm has no teacher (GRPO, say); `none` is a control of OPSD
        pi = self.pi or ""
        return "control" if pi in ("none", "gibberish") or pi.startswith("wrong") else "method"

    @property
    def comparable(self) -> bool:
        """Whether the arm may be compared and may be the best."""
        return self.scores is not None and self.status in ("done", "unfinished")

    @property
    def label(self) -> str:
        """The arm's settings in words."""
        if self.algorithm == "sft":
            return "SFT on gold proofs"
        if self.ladder is not None:
            return ", ".join([*_ladder_words(self.ladder), *self._rest()])
        parts = [ALGORITHMS.get(self.algorithm, self.algorithm)]
        parts += self._rest()
        parts += [f"{self.teacher} teacher"] if self.teacher not in ("", "none") else []
        parts += [f"PI {self.pi}"] if self.pi else []
        return ", ".join(p for p in parts if p)

    def _rest(self) -> list[str]:
        parts = [f"{name} {value}" for name, value in self.settings.items()]
        parts += [f"{self.sampling} samples"] if self.sampling in ("online", "offline") else []
        return [*parts, f"{self.rounds} rounds"] if self.rounds > 1 else parts


def _ladder_words(ladder: Row) -> list[str]:
    """How an arm's attempts are made."""
    retries = int_of(ladder, "retries")
    if text_of(ladder, "scheme") == "independent":
        parts = [f"{retries + 1} independent samples"]
    else:
        parts = [f"retry, K = {retries}", f"PI {text_of(ladder, 'pi', 'none')}"]
    for name, words in (("allocation", "allocation {}"), ("budget_of", "budget of {}")):
        if value := text_of(ladder, name):
            parts.append(words.format(value))
    return parts


def planned_arms(plan: Row) -> list[Arm]:
    """The arms of plan.json, in its order."""
    arms = []
    entries = plan.get("arms")
    for entry in entries if isinstance(entries, list) else []:
        if not isinstance(entry, dict) or not text_of(entry, "name"):
            continue
        seeds, ladder = entry.get("seeds"), entry.get("ladder")
        arms.append(
            Arm(
                name=text_of(entry, "name"),
                algorithm=text_of(entry, "algorithm"),
                sampling=text_of(entry, "sampling"),
                teacher=text_of(entry, "teacher"),
                pi=text_of(entry, "pi") or None,
                description=text_of(entry, "description"),
                planned_role=text_of(entry, "role"),
                rounds=int_of(entry, "rounds", 1),
                ladder=ladder if isinstance(ladder, dict) else None,
                settings=entry["settings"] if isinstance(entry.get("settings"), dict) else {},
                planned_seeds=[int(s) for s in seeds] if isinstance(seeds, list) else [],
                planned_steps=int_of(entry, "steps"),
            )
        )
    return arms


def read_arms(plan: Row, table: Evaluations, metrics: Metrics, events: Events) -> list[Arm]:
    """All arms with their results: those of the plan first, then those that only have rows."""
    arms = planned_arms(plan)
    known = {arm.name for arm in arms}
    for name in table.arms():
        if name not in known:
            arms.append(Arm(name=name, planned=False))
    reference_n = reference_size(table)
    for arm in arms:
        _fill(arm, table, metrics, reference_n)
        _judge(arm, table, events)
    return arms


def reference_size(table: Evaluations) -> int:
    """How many problems a whole evaluation has: the baseline's, or the most seen anywhere."""
    keys = last_by_seed(table.keys(BASELINE, "student")) or list(table.answers)
    return max((len(table.means(key)) for key in keys), default=0)


def last_by_seed(keys: list[Key]) -> list[Key]:
    """The last step of each seed."""
    return list({key.seed: key for key in sorted(keys, key=lambda k: k.step)}.values())


def first_by_seed(keys: list[Key]) -> list[Key]:
    """The first step of each seed."""
    return list({key.seed: key for key in sorted(keys, key=lambda k: -k.step)}.values())


def baseline_scores(table: Evaluations) -> Scores | None:
    """The weights all arms start from; its seeds are more samples of one model."""
    scores = table.scores(last_by_seed(table.keys(BASELINE, "student")))
    return scores.pooled() if scores else None


def teacher_keys(table: Evaluations) -> list[Key]:
    """Evaluations of the starting weights with PI."""
    for arm, view in ((TEACHER, "teacher"), (TEACHER, "student"), (BASELINE, "teacher")):
        if keys := table.keys(arm, view):
            return first_by_seed(keys)
    return []


def teacher_scores(table: Evaluations) -> Scores | None:
    """The teacher before training, pooled over seeds."""
    scores = table.scores(teacher_keys(table))
    return scores.pooled() if scores else None


def full_steps(table: Evaluations, arm: Arm, reference_n: int) -> dict[int, list[Key]]:
    """Whole evaluations of trained weights by step; step 0 is the start, not a result."""
    steps: dict[int, list[Key]] = {}
    for key in table.keys(arm.name, "student"):
        if key.step > 0 and len(table.means(key)) >= reference_n:
            steps.setdefault(key.step, []).append(key)
    return steps


def _fill(arm: Arm, table: Evaluations, metrics: Metrics, reference_n: int) -> None:
    keys = [k for k in table.keys(arm.name, "student") if k.step > 0]
    steps = full_steps(table, arm, reference_n)
    if not steps:
        for key in keys:
            steps.setdefault(key.step, []).append(key)
        if keys:
            arm.notes.append(f"no whole evaluation: only part of the {reference_n} held-out rows")
    if steps:
        arm.evaluated_at = max(steps)
        arm.keys = steps[arm.evaluated_at]
        arm.scores = table.scores(arm.keys)
        arm.distinct = table.distinct(arm.keys)
    seeds = [key.seed for key in arm.keys] or arm.planned_seeds
    reached = [metrics.last_step(arm.name, s) for s in seeds]
    arm.steps = (min if arm.keys else max)(reached, default=0)
    arm.steps = arm.steps or arm.evaluated_at or 0
    known = [s for s in (_seconds(arm, s, metrics) for s in seeds) if s is not None]
    arm.seconds = sum(known) / len(known) if known else None


def _seconds(arm: Arm, seed: int, metrics: Metrics) -> float | None:
    """Training time of a seed. An offline arm's holds its collection, even one that arms share."""
    seconds = metrics.training_seconds(arm.name, seed)
    # an arm that retries collects under its own name
    shared = arm.sampling == "offline" and arm.ladder is None
    collection = metrics.training_seconds(COLLECTION, seed) if shared else None
    return seconds if seconds is None or collection is None else seconds + collection


def _judge(arm: Arm, table: Evaluations, events: Events) -> None:
    """Set the status; take the scores away from a collapsed arm."""
    if collapse := events.collapses.get(arm.name):
        arm.status = "collapsed"
        arm.collapse = dict(collapse)
        if arm.scores is not None:
            arm.collapse["pass_rate_then"] = arm.scores.rate().value
        arm.scores = None
        return
    absent = [s for s in arm.planned_seeds if s not in [k.seed for k in arm.keys]]
    if arm.scores is None:
        reached = (
            f"trained {arm.steps} of {arm.planned_steps} steps" if arm.steps else "not started"
        )
        arm.notes.append(f"no held-out evaluation after training ({reached})")
        return
    arm.status = "done"
    if absent:
        arm.notes.append(f"no result for seed {', '.join(map(str, absent))}")
    if arm.planned_steps and (arm.evaluated_at or 0) < arm.planned_steps:
        arm.notes.append(f"evaluated at step {arm.evaluated_at} of {arm.planned_steps}")
    if arm.notes:
        arm.status = "unfinished"
    if not arm.planned:
        arm.notes.append("not in plan.json")
    if warning := _too_uniform(arm, table):
        arm.status = "suspect"
        arm.notes.append(warning)


def _too_uniform(arm: Arm, table: Evaluations) -> str | None:
    """A collapse that the run itself did not notice: nearly the same answer everywhere."""
    references = [last_by_seed(table.keys(BASELINE, "student")), teacher_keys(table)]
    shares = [share(table.distinct(keys)) for keys in references if keys]
    if not shares or share(arm.distinct) >= SUSPECT_SHARE * min(shares):
        return None
    distinct, total = arm.distinct
    return (
        f"only {distinct} distinct answers among {total} (baseline and teacher: at least "
        f"{100 * min(shares):.0f} in 100): treated as a collapse, not as a result"
    )


def share(distinct: tuple[int, int]) -> float:
    """Distinct answers as a share of all answers."""
    return distinct[0] / distinct[1] if distinct[1] else 0.0


def best_arm(arms: list[Arm]) -> Arm | None:
    """The comparable arm with the highest pass rate; methods before SFT and controls."""
    for roles in (("method",), ("sft",), ("control",)):
        found = [a for a in arms if a.comparable and a.role in roles]
        if found:
            return max(found, key=lambda a: a.scores.rate().value if a.scores else 0.0)
    return None


def estimate_json(estimate: Estimate | None) -> list[float] | None:
    """[low, high] as fractions."""
    return None if estimate is None else [estimate.low, estimate.high]


def rate_json(scores: Scores | None) -> dict[str, Any]:
    """{"pass_rate", "ci95", "n"}; nulls where there are no scores."""
    if scores is None:
        return {"pass_rate": None, "ci95": None, "n": 0}
    rate = scores.rate()
    return {"pass_rate": rate.value, "ci95": estimate_json(rate), "n": len(scores.uids)}


def difference_json(difference: Difference | None) -> dict[str, Any]:
    """{"delta_pp", "delta_ci95", "delta_seed_ci95", "delta_n", "holds"} in percentage points."""
    if difference is None:
        names = ("delta_pp", "delta_ci95", "delta_seed_ci95", "delta_n", "holds")
        return dict.fromkeys(names)
    estimate, over_seeds = difference.estimate, difference.over_seeds
    return {
        "delta_pp": 100 * estimate.value,
        "delta_ci95": [100 * estimate.low, 100 * estimate.high],
        "delta_seed_ci95": [100 * over_seeds.low, 100 * over_seeds.high] if over_seeds else None,
        "delta_n": difference.n,
        "holds": difference.holds,
    }


def arm_json(arm: Arm, baseline: Scores | None, structures: dict[str, set[str]]) -> dict[str, Any]:
    """One entry of report.json's `arms`. A collapsed or suspect arm has no figure to compare."""
    scores = arm.scores if arm.comparable else None
    rate = rate_json(scores)
    over_seeds = scores.rate_over_seeds() if scores else None
    return {
        "name": arm.name,
        "description": arm.description,
        "settings": arm.label,
        "role": arm.role,
        "status": arm.status,
        "collapse": arm.collapse,
        **rate,
        "seed_ci95": estimate_json(over_seeds),
        **difference_json(scores.minus(baseline) if scores and baseline else None),
        "delta_by_seed": _by_seed(scores, baseline),
        "seeds": [key.seed for key in arm.keys] or arm.planned_seeds,
        "planned_seeds": arm.planned_seeds,
        "steps": arm.steps,
        "planned_steps": arm.planned_steps,
        "evaluated_at": arm.evaluated_at,
        "seconds": arm.seconds,
        "structure": structure_json(scores, baseline, structures),
        "notes": arm.notes,
    }


def _by_seed(scores: Scores | None, baseline: Scores | None) -> list[float]:
    """Each seed's difference to the baseline in points, on the problems that both answered."""
    shared = set(scores.uids) & set(baseline.uids) if scores and baseline else set()
    part = scores.subset(shared) if scores else None
    base = baseline.subset(shared) if baseline else None
    if part is None or base is None:
        return []
    return [100 * float(d) for d in part.values_SN.mean(axis=1) - base.values_SN.mean()]


def structure_json(
    scores: Scores | None, baseline: Scores | None, structures: dict[str, set[str]]
) -> dict[str, Any]:
    """Rate and difference on the rows of each structure (seen in training, new)."""
    result = {}
    for name, uids in structures.items():
        part = scores.subset(uids) if scores else None
        base = baseline.subset(uids) if baseline else None
        difference = part.minus(base) if part and base else None
        result[name] = {**rate_json(part), **difference_json(difference)}
    return result
