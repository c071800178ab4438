"""The report's figures: rates, differences, controls, structures, seeds, collapses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from run_writer import (
    BASE,
    RunWriter,
    arm,
    by_name,
    raised,
    report_of,
)


def test_known_effect(whole: tuple[RunWriter, dict[str, Any]]) -> None:
    report = whole[1]
    assert report["status"] == "complete" and report["missing"] == []
    assert report["baseline"]["pass_rate"] == 0.4 and report["baseline"]["n"] == 200
    # Wilson, 80 of 200: (80 + z²/2 ± z·sqrt(80·120/200 + z²/4)) / (200 + z²), z = 1.95996
    assert report["baseline"]["ci95"] == pytest.approx([0.334606, 0.469163], abs=1e-6)
    assert report["teacher"]["pass_rate"] == 1.0
    online = by_name(report, "online")
    assert online["pass_rate"] == pytest.approx(0.8)
    assert online["delta_pp"] == pytest.approx(40.0)
    # 80 differences of one and 120 of zero: the same spread as a proportion of 0.4
    assert online["delta_ci95"] == pytest.approx([33.5, 47.0], abs=1.0)
    assert (online["n"], online["seeds"], online["steps"]) == (200, [0], 20)
    assert online["seconds"] == pytest.approx(100.0)
    assert report["best_arm"] == "online"
    assert "80.0 %" in report["verdict"][0] and "+40.0 points" in report["verdict"][0]


def test_structure_families_and_health(whole: tuple[RunWriter, dict[str, Any]]) -> None:
    report = whole[1]
    online = by_name(report, "online")
    # the first 80 wrong rows are p002..p134: none of the new ones (p150 on) rises
    assert online["structure"]["new"]["delta_pp"] == 0.0
    assert online["structure"]["new"]["delta_ci95"] == [0.0, 0.0]
    assert online["structure"]["seen"]["n"] == 150
    health = next(h for h in report["health"] if h["name"] == "online")
    # rows 2, 3 and 4 modulo 5 are wrong at first: families 2, 3, 4, 7, 8, 9 can rise
    assert health["families"]["rose"] == [f"family{i}" for i in (2, 3, 4, 7, 8, 9)]
    assert health["families"]["most_rise"] is True
    assert health["teacher_before"]["pass_rate"] == health["teacher_after"]["pass_rate"] == 1.0
    wrong = next(h for h in report["health"] if h["name"] == "wrong")
    assert wrong["families"]["fell"] == ["family0", "family1", "family5", "family6"]


def test_controls_and_sft(whole: tuple[RunWriter, dict[str, Any]]) -> None:
    report = whole[1]
    controls = report["controls"]
    assert (controls["arm"], controls["best_control"]) == ("online", "gibberish")
    assert controls["rows"][0]["delta_pp"] == pytest.approx(60.0)
    assert controls["rows"][0]["step"] == 20
    assert "The skeleton itself contributed +60.0 points" in report["sentences"]["contribution"]
    scopes = {row["scope"]: row for row in report["sft"]["rows"]}
    assert scopes["all rows"]["delta_pp"] == pytest.approx(6.0)
    assert "without gold proofs" not in scopes
    assert "is not measured" in report["sentences"]["against_sft"]
    pair = report["comparisons"][0]
    assert (pair["a"], pair["b"], pair["differs"]) == ("online", "offline", "sampling")
    assert pair["delta_pp"] == pytest.approx(15.0) and pair["holds"] is None


def test_samples_show_each_kind(whole: tuple[RunWriter, dict[str, Any]]) -> None:
    samples = {s["title"]: s for s in whole[1]["samples"]}
    assert set(samples) == {"Fixed by online", "Wrong before and after", "New structure"}
    answers = {a["name"]: a for a in samples["Fixed by online"]["answers"]}
    assert not answers["baseline"]["passed"] and answers["online"]["passed"]
    assert answers["baseline"]["feedback"] == "error: linarith failed"
    assert list(answers)[:2] == ["baseline", "teacher"]


def test_collapsed_arm_is_never_a_gain(tmp_path: Path) -> None:
    run = RunWriter(tmp_path / "run", [arm("online"), arm("live", teacher="live")])
    run.evaluate("baseline", BASE)
    run.evaluate("teacher", dict.fromkeys(BASE, True), view="teacher")
    run.evaluate("online", raised(20), step=20)
    run.evaluate("live", raised(100), step=12)
    run.train("live", 12)
    message = "3 distinct outputs in 64. Lower the rate."
    run.line(
        "events", {"kind": "collapse", "arm": "live", "seed": 0, "step": 12, "message": message}
    )
    report = report_of(run)
    live = by_name(report, "live")
    assert live["status"] == "collapsed"
    assert live["delta_pp"] is live["delta_ci95"] is live["pass_rate"] is None
    assert live["collapse"]["step"] == 12 and live["collapse"]["pass_rate_then"] > 0.8
    assert report["best_arm"] == "online"
    assert report["comparisons"] == []
    assert "90.0 %" not in (run.path / "report.md").read_text()
    page = (run.path / "report.html").read_text()
    assert "collapsed at step 12" in page and message in page and "90.0 %" not in page


def test_uniform_answers_are_not_a_result(tmp_path: Path) -> None:
    run = RunWriter(tmp_path / "run", [arm("live", teacher="live")])
    run.evaluate("baseline", BASE)
    run.evaluate("teacher", BASE, view="teacher")
    run.evaluate("live", raised(20), step=20, response="exact")
    report = report_of(run)
    live = by_name(report, "live")
    assert live["status"] == "suspect" and live["delta_pp"] is None
    assert report["best_arm"] is None
    assert "only 1 distinct answers among 200" in " ".join(report["verdict"])


def test_seeds_samples_and_last_line_wins(tmp_path: Path) -> None:
    run = RunWriter(tmp_path / "run", [arm("online", seeds=[0, 1, 2]), arm("live", teacher="live")])
    run.evaluate("baseline", dict.fromkeys(BASE, False))
    run.evaluate("baseline", BASE)  # written again after a resume
    run.evaluate("baseline", BASE, sample=1)
    for seed, gain in enumerate((60, 70, 80)):
        run.evaluate("online", raised(gain), step=20, seed=seed)
    half = {uid: ok for uid, ok in raised(40).items() if uid < "p100"}
    run.evaluate("live", half, step=20)
    report = report_of(run)
    assert report["baseline"]["pass_rate"] == pytest.approx(0.4)
    online = by_name(report, "online")
    assert online["seeds"] == [0, 1, 2]
    assert online["delta_pp"] == pytest.approx(35.0)
    # seed differences 30, 35, 40: t(0.975, 2) = 4.30265, 5/√3 = 2.88675
    assert online["delta_seed_ci95"] == pytest.approx([22.579, 47.421], abs=1e-3)
    assert online["holds"] is True
    live = by_name(report, "live")
    assert live["status"] == "unfinished" and report["status"] == "partial"
    assert live["n"] == 100


def test_killed_run_gives_a_partial_report(tmp_path: Path) -> None:
    run = RunWriter(tmp_path / "run", [arm("online", seeds=[0, 1]), arm("offline")])
    run.evaluate("baseline", BASE)
    run.train("online", 7)
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"arm": "online", "seed": 0, "phase": "train", "step": 8, "metr')
    report = report_of(run)
    assert report["status"] == "partial"
    reached = "online: no held-out evaluation after training (trained 7 of 20 steps)"
    assert reached in report["missing"]
    assert "offline: no held-out evaluation after training (not started)" in report["missing"]
    assert "the teacher (with PI) has no held-out evaluation" in report["missing"]
    assert report["unreadable_lines"] == {"metrics.jsonl": 1}
    assert by_name(report, "online")["delta_pp"] is None
    assert "partial" in (run.path / "report.md").read_text().splitlines()[0]


def test_collapsed_controls_and_one_collapsed_seed(tmp_path: Path) -> None:
    arms = [arm("online", seeds=[0, 1]), arm("no_pi", pi="none"), arm("gibberish", pi="gibberish")]
    run = RunWriter(tmp_path / "run", arms)
    run.evaluate("baseline", BASE)
    run.evaluate("baseline", dict.fromkeys(BASE, True), view="teacher")
    for seed in (0, 1):
        run.evaluate("online", raised(60), step=20, seed=seed)
    run.evaluate("no_pi", BASE, step=20)
    where = {"arm": "gibberish", "seed": 0, "step": 5}
    run.line("events", {"kind": "collapse", "message": "Entropy fell.", **where})
    report = report_of(run)
    assert report["teacher"]["pass_rate"] == 1.0  # the baseline's teacher view
    assert report["controls"]["best_control"] == "no_pi"
    assert report["controls"]["collapsed"] == ["gibberish"]
    assert "gibberish" in report["sentences"]["contribution"]
    run.line("events", {"kind": "collapse", "arm": "online", "seed": 1, "step": 19, "message": "x"})
    report = report_of(run)
    assert by_name(report, "online")["delta_pp"] is None
    assert by_name(report, "online")["collapse"]["seed"] == 1
    assert report["best_arm"] == "no_pi" and "No method arm" in report["verdict"][0]


def test_layout_of_the_trainer(tmp_path: Path) -> None:
    """Both views of the baseline, a teacher asked on part of the rows, a shared collection."""
    run = RunWriter(tmp_path / "run", [arm("offline", sampling="offline")])
    run.evaluate("baseline", BASE, prompt="student's prompt")
    run.evaluate("baseline", raised(110), view="teacher", prompt="with PI")  # 190 of 200
    run.evaluate("offline", raised(60), step=20, prompt="student's prompt")
    some = {uid: uid != "p000" for uid in BASE if uid < "p064"}
    run.evaluate("offline", some, step=20, view="teacher", prompt="with PI")
    run.train("collection", 2)
    run.train("offline", 20)
    report = report_of(run)
    assert by_name(report, "offline")["seconds"] == pytest.approx(110.0)
    assert by_name(report, "offline")["n"] == 200
    health = report["health"][-1]
    assert (health["teacher_before"]["n"], health["teacher_before"]["pass_rate"]) == (64, 1.0)
    assert health["teacher_after"]["pass_rate"] == 63 / 64
    assert {s["statement"] for s in report["samples"]} == {"student's prompt"}
