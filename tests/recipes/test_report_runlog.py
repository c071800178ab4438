"""What a run says of its time, from metrics.jsonl."""

from __future__ import annotations

from typing import Any

from recipes.report.runlog import Metrics


def row(phase: str, step: int, seconds: float, **more: Any) -> dict[str, Any]:
    line = {"arm": "a", "seed": 0, "phase": phase, "step": step, "seconds": seconds, "time": 9.0}
    return {**line, "metrics": {"timing/update": seconds}, **more}


def test_stages_and_views_of_the_same_step_are_counted_apart():
    metrics = Metrics.read(
        [
            row("warmup", 1, 5.0, stage="warmup1"),
            row("warmup", 1, 4.0, stage="warmup2"),
            row("eval", 0, 40.0, stage="baseline", view="student"),
            row("eval", 0, 30.0, stage="baseline", view="teacher"),
        ]
    )
    seconds = {phase["phase"]: phase["seconds"] for phase in metrics.phases()}
    assert seconds == {"warmup": 9.0, "eval": 70.0}


def test_a_step_written_again_replaces_the_first():
    metrics = Metrics.read(
        [row("train", 1, 5.0, stage="s"), row("train", 1, 7.0, stage="s"), row("train", 2, 1.0)]
    )
    assert metrics.training_seconds("a", 0) == 8.0
    assert metrics.last_step("a", 0) == 2
