"""What the report says of training itself, and of what the PI is worth to the same weights."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_writer import BASE, RunWriter, arm, raised, report_of


def steps(run: RunWriter, name: str, metrics: list[dict[str, float]], seed: int = 0) -> None:
    for step, values in enumerate(metrics, start=1):
        row = {"arm": name, "seed": seed, "phase": "train", "step": step, "metrics": values}
        run.line("metrics", row | {"time": 1000.0 + step, "seconds": 1.0})


def entry(report, name: str):
    return next(t for t in report["training"] if t["name"] == name)


def test_tokens_are_totals_of_a_seed_and_shares_are_means(tmp_path: Path) -> None:
    run = RunWriter(tmp_path / "r", [arm("grpo", algorithm="grpo", seeds=[0, 1])])
    for seed, zero in ((0, 0.5), (1, 1.0)):
        seen = {"tokens/generated": 100.0, "tokens/trained": 40.0}
        steps(run, "grpo", [seen | {"groups/zero_advantage_share": zero}] * 3, seed)
    report = report_of(run)
    grpo = entry(report, "grpo")
    assert grpo["tokens"] == {"generated": 300.0, "trained": 120.0}
    assert grpo["zero_advantage_share"] == pytest.approx(0.75)
    assert grpo["path_diversity"] is None and grpo["off_policy"] == {}
    assert "| grpo | 300 | 120 |" in (run.path / "report.md").read_text()


def test_importance_weights_are_told_apart_by_term(tmp_path: Path) -> None:
    run = RunWriter(tmp_path / "r", [arm("both", algorithm="pi_distill")])
    ratios = {
        "policy_gradient/ratio": 0.9,
        "policy_gradient/clip_fraction": 0.25,
        "policy_gradient/effective_sample_size": 0.5,
        "teacher/policy_gradient/ratio": 1.0,
        "reward/token_kl": 0.125,
    }
    steps(run, "both", [ratios])
    report = report_of(run)
    both = entry(report, "both")
    assert set(both["off_policy"]) == {"policy_gradient", "teacher/policy_gradient"}
    # The teacher samples, so the KL that is in the reward is that of teacher to student.
    assert (both["kl_teacher_student"], both["kl_student_teacher"]) == (0.125, None)
    text = (run.path / "report.html").read_text()
    assert "mean 0.9, clipped 25.0 %, effective size 50.0 %" in text


def test_an_offline_arm_shows_the_tokens_of_its_collection(tmp_path: Path) -> None:
    run = RunWriter(tmp_path / "r", [arm("offline", sampling="offline")])
    steps(run, "offline", [{"tokens/generated": 7.0, "tokens/trained": 7.0}])
    row = {"arm": "collection", "seed": 0, "phase": "collect", "step": 1, "time": 1.0}
    run.line("metrics", row | {"seconds": 1.0, "metrics": {"tokens/generated": 9.0}})
    tokens = entry(report_of(run), "offline")["tokens"]
    assert tokens == {"generated": 9.0, "trained": 7.0}


def test_pi_utility_is_teacher_minus_student_on_the_rows_that_both_answered(tmp_path: Path) -> None:
    run = RunWriter(tmp_path / "r", [arm("online")])
    run.evaluate("baseline", BASE)
    asked = {uid: True for uid in list(BASE)[:100]}
    run.evaluate("baseline", asked, view="teacher")
    run.evaluate("online", raised(60), step=20)
    run.evaluate("online", asked, step=20, view="teacher")
    health = {h["name"]: h for h in report_of(run)["health"]}
    # 40 of the first 100 pass at first; the 60 that were raised are the other 60 of them
    assert health["baseline"]["pi_utility"]["delta_pp"] == pytest.approx(60.0)
    assert health["baseline"]["pi_utility"]["delta_n"] == 100
    assert health["online"]["pi_utility"]["delta_pp"] == pytest.approx(0.0)
