"""Synthetic run folders whose figures are known in advance, and the report on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recipes.report import write_report

FAMILIES = [f"family{i}" for i in range(10)]
PROBLEMS = 200  # 20 a family, of which 5 of new structure
BASE = {f"p{i:03d}": i % 5 < 2 for i in range(PROBLEMS)}  # 40 %


def family(uid: str) -> str:
    return FAMILIES[int(uid[1:]) % 10]


def structure(uid: str) -> str:
    return "new" if int(uid[1:]) >= 150 else "seen"


def arm(name: str, **changes: Any) -> dict[str, Any]:
    entry = {
        "name": name,
        "algorithm": "opsd",
        "sampling": "online",
        "teacher": "frozen",
        "pi": "skeleton",
        "seeds": [0],
        "steps": 20,
        "description": f"arm {name}",
    }
    return entry | changes


class RunWriter:
    """Writes a run folder as the trainer does."""

    def __init__(self, path: Path, arms: list[dict[str, Any]], **plan: Any) -> None:
        self.path = path
        path.mkdir(parents=True)
        whole = {
            "recipe": "opsd_skeleton",
            "arms": arms,
            "warmup": {"enabled": True, "steps": 86, "rows": 200, "why": "it cannot answer at all"},
            "heldout": {"n": PROBLEMS, "new_structure": 50},
            "tactic_policy": "Core tactics count; sorry and native_decide do not.",
        }
        (path / "plan.json").write_text(json.dumps(whole | plan))
        (path / "config.yaml").write_text("seed: 0\nverifier:\n  banned_words: [sorry, axiom]\n")
        (path / "versions.json").write_text('{"verl": "0.9.1", "python": "3.11", "machine": {}}')

    def line(self, name: str, row: dict[str, Any]) -> None:
        with (self.path / f"{name}.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")

    def evaluate(
        self,
        arm: str,
        passed: dict[str, bool],
        *,
        step: int = 0,
        seed: int = 0,
        view: str = "student",
        sample: int = 0,
        response: str | None = None,
        **extra: Any,
    ) -> None:
        rows = [
            {
                "arm": arm,
                "seed": seed,
                "step": step,
                "view": view,
                "uid": uid,
                "family": family(uid),
                "structure": structure(uid),
                "sample": sample,
                "response": f"by omega {arm} {uid}" if response is None else response,
                "passed": ok,
                "score": float(ok),
                "reason": "" if ok else "error",
                "feedback": "" if ok else "error: linarith failed",
            }
            | extra
            for uid, ok in passed.items()
        ]
        with (self.path / "evaluations.jsonl").open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)

    def train(self, arm: str, steps: int, *, seed: int = 0, kl: float = 1.0) -> None:
        for step in range(1, steps + 1):
            metrics = {
                "distill/kl": kl / step,
                "entropy": 1.0 - 0.02 * step,
                "health/distinct_outputs": 16 - step // 4,
                "timing/sample": 3.0,
                "timing/update": 2.0,
            }
            row = {"arm": arm, "seed": seed, "phase": "train", "step": step, "metrics": metrics}
            self.line("metrics", row | {"time": 1000.0 + 5 * step, "seconds": 5.0})


def raised(uids: int, start: dict[str, bool] = BASE) -> dict[str, bool]:
    """The baseline's answers with that many more right, from the first wrong one on."""
    wrong = [u for u, ok in start.items() if not ok][:uids]
    return start | dict.fromkeys(wrong, True)


def lowered(uids: int) -> dict[str, bool]:
    right = [u for u, ok in BASE.items() if ok][:uids]
    return BASE | dict.fromkeys(right, False)


def whole_run(path: Path) -> RunWriter:
    arms = [
        arm("online"),
        arm("offline", sampling="offline"),
        arm("wrong", pi="wrong"),
        arm("gibberish", pi="gibberish"),
        arm("sft", algorithm="sft", sampling="none", teacher="none", pi=None),
    ]
    run = RunWriter(path, arms)
    run.evaluate("baseline", BASE)
    run.evaluate("teacher", dict.fromkeys(BASE, True), view="teacher")
    results = [
        ("online", raised(80)),  # 80 %
        ("offline", raised(50)),  # 65 %
        ("wrong", lowered(60)),  # 10 %
        ("gibberish", lowered(40)),  # 20 %
        ("sft", raised(68)),  # 74 %
    ]
    for name, passed in results:
        run.train(name, 20)
        run.evaluate(name, passed, step=20)
    run.evaluate("online", raised(40), step=10)
    run.evaluate("online", dict.fromkeys(BASE, True), step=20, view="teacher")
    return run


def report_of(run: RunWriter) -> dict[str, Any]:
    assert write_report(run.path) == run.path / "report.html"
    return json.loads((run.path / "report.json").read_text(), parse_constant=pytest.fail)


def by_name(report: dict[str, Any], name: str) -> dict[str, Any]:
    return next(a for a in report["arms"] if a["name"] == name)


def retry_arm(name: str, role: str = "method", **changes: Any) -> dict[str, Any]:
    """An arm of a retry recipe; ``ladder`` is completed."""
    ladder = {"scheme": "retry", "retries": 2, "pi": "none", "budget_of": None, "allocation": None}
    entry = arm(name, algorithm="retry_sft", sampling="offline", teacher="none", pi=None)
    entry |= {"role": role, "rounds": 2, "seeds": [0, 1]}
    return entry | changes | {"ladder": ladder | changes.get("ladder", {})}


def collected(
    run: RunWriter, name: str, made: list[tuple[int, int]], *, seed: int, round: int, tokens: float
) -> None:
    """One round's collection in two steps, (asked, passed) by attempt, and its ten training steps.

    Half of the retries repeat; a tenth of the passed are dropped as duplicates.
    """
    asked, passed = (sum(numbers) for numbers in zip(*made, strict=True))
    retries = asked - made[0][0]
    metrics = {
        "tokens/generated": tokens,
        "retry/tasks": made[0][0],
        "retry/attempts": asked,
        "retry/retries": retries,
        "retry/repeated": retries / 2,
        "retry/kept": 0.9 * passed,
        "retry/dropped": 0.1 * passed,
        "retry/stopped_passed": passed,
        "retry/stopped_exhausted": made[0][0] - passed,
        "health/path_diversity": 0.5,
    }
    for number, (n, ok) in enumerate(made, start=1):
        metrics |= {f"retry/asked_{number}": n, f"retry/passed_{number}": ok}
    stage = f"{name}-seed{seed}-round{round}"
    where = {"arm": name, "seed": seed, "time": 1000.0, "seconds": 5.0, "round": round}
    # The last of the two rounds has the arm's own stage, as the planner names it.
    trained = stage if round == 1 else f"{name}-seed{seed}"
    for step in (1, 2):
        half = {key: value / 2 for key, value in metrics.items()}
        half["health/path_diversity"] = 0.5
        line = {"phase": "collect", "step": step, "stage": f"{stage}-collect", "metrics": half}
        run.line("metrics", where | line)
    for step in range(10 * round - 9, 10 * round + 1):
        replayed = {"tokens/generated": 7.0, "tokens/trained": 40.0, "reward/pass_rate": 1.0}
        line = {"phase": "train", "step": step, "stage": trained, "metrics": replayed}
        run.line("metrics", where | line)


def retry_run(path: Path) -> RunWriter:
    """Three arms of two seeds and two rounds; figures that can be worked out by hand."""
    arms = [
        retry_arm("retry_bare"),
        retry_arm("retry_gold", ladder={"pi": "gold_answer"}),
        retry_arm(
            "double",
            "control",
            ladder={"scheme": "independent", "retries": 7, "budget_of": "retry_bare"},
        ),
    ]
    contrasts = [
        ["retry_gold", "retry_bare", "the gold answer"],
        ["retry_bare", "double", "the failure signal at an equal budget"],
        ["retry_bare", "nobody", "an arm that was left out"],
    ]
    run = RunWriter(path, arms, recipe="retry_math", contrasts=contrasts, warmup={"enabled": False})
    run.evaluate("baseline", BASE)
    gains = {"retry_bare": (20, 30), "retry_gold": (40, 60), "double": (6, 4)}
    for name, rises in gains.items():
        for seed in (0, 1):
            for round, rise in enumerate(rises, start=1):
                if name == "double":
                    made, tokens = [(100, 40)] + [(10, 2)] * 7, 9800.0
                else:
                    made, tokens = [(100, 40), (60, 15 + 10 * seed), (45, 9)], 10_000.0
                collected(run, name, made, seed=seed, round=round, tokens=tokens)
                run.evaluate(name, raised(rise + 2 * seed), step=10 * round, seed=seed)
    for sample in range(4):
        where = {"arm": "retry_bare", "seed": 0, "step": 1, "uid": "t1", "sample": sample}
        for attempt in (1, 2):
            run.line("dropped", where | {"attempt": attempt, "reason": "duplicate"})
    return run
