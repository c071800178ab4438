"""The report of a retry run: attempts by round, budgets, planned differences, its two charts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from run_writer import BASE, RunWriter, arm, by_name, raised, report_of, retry_arm, retry_run

from recipes.report.words import contrast

Run = tuple[RunWriter, dict[str, Any]]


@pytest.fixture(scope="module")
def retried(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = retry_run(tmp_path_factory.mktemp("o") / "retry_math" / "run1")
    return run, report_of(run)


def row(report: dict[str, Any], name: str, round: int = 1) -> dict[str, Any]:
    rows = report["retry"]["rows"]
    return next(e for e in rows if (e["arm"], e["round"]) == (name, round))


def test_every_arm_and_round_has_its_figures(retried: Run) -> None:
    report = retried[1]
    names = [(e["arm"], e["round"]) for e in report["retry"]["rows"]]
    assert names == [(a, r) for a in ("retry_bare", "retry_gold", "double") for r in (1, 2)]
    bare = row(report, "retry_bare")
    assert (bare["tasks"], bare["tries"], bare["retries"]) == (100, 205, 105)
    assert [a["asked"] for a in bare["attempts"]] == [100, 60, 45]
    # the second attempt passes 15 of 60 with seed 0 and 25 of 60 with seed 1
    assert [a["rate"] for a in bare["attempts"]] == pytest.approx([0.4, 1 / 3, 0.2])
    assert bare["repeated_share"] == pytest.approx(0.5)
    assert bare["kept"] == pytest.approx(0.9 * 69) and bare["dropped"] == pytest.approx(6.9)
    assert bare["path_diversity"] == 0.5 and bare["seeds"] == [0, 1]
    assert bare["stopped"]["passed"] == pytest.approx(69)


def test_tokens_are_those_of_the_collection_and_the_budget_is_told(retried: Run) -> None:
    report = retried[1]
    bare, double = row(report, "retry_bare"), row(report, "double")
    # ten training steps replay 7 tokens each: they are not generated again
    assert (bare["generated"], bare["trained"]) == (10_000.0, 400.0)
    assert (double["budget_of"], double["multiple"]) == ("retry_bare", pytest.approx(0.98))
    assert bare["multiple"] is None
    unequal = [f"double in round {r} (0.980 × retry_bare)" for r in (1, 2)]
    assert report["retry"]["unequal"] == unequal
    tokens = next(t for t in report["training"] if t["name"] == "retry_bare")["tokens"]
    assert tokens == {"generated": 20_000.0, "trained": 800.0}
    # two collection steps and ten training steps of five seconds, twice
    assert by_name(report, "retry_bare")["seconds"] == pytest.approx(120.0)


def test_many_attempts_are_added_up(retried: Run) -> None:
    report = retried[1]
    assert report["retry"]["numbers"] == [1, 2, 3, 4, 5, 6] and report["retry"]["later"] is True
    assert row(report, "double")["later"] == {"asked": 20.0, "passed": 4.0, "rate": 0.2}
    assert row(report, "retry_bare")["later"] is None


def test_dropped_rows_are_told_apart_by_attempt(retried: Run) -> None:
    report = retried[1]
    assert report["dropped"]["by_arm"] == {"retry_bare": {"duplicate": 8}}
    # no line names a round: with the last one, the mean of two seeds
    assert row(report, "retry_bare", 2)["reasons"] == {"duplicate": 4.0}
    assert row(report, "retry_bare", 1)["reasons"] == {}
    for attempt in (1, 2):
        where = {"arm": "double", "seed": 0, "step": 1, "uid": "t1", "sample": 0, "round": 1}
        retried[0].line("dropped", where | {"attempt": attempt, "reason": "too_long"})
    assert row(report_of(retried[0]), "double", 1)["reasons"] == {"too_long": 1.0}


def test_the_result_is_that_of_the_last_round(retried: Run) -> None:
    report = retried[1]
    assert row(report, "retry_bare", 1)["heldout"] == pytest.approx(0.4 + 21 / 200)
    assert row(report, "retry_bare", 2)["heldout"] == pytest.approx(0.4 + 31 / 200)
    bare = by_name(report, "retry_bare")
    assert bare["delta_pp"] == pytest.approx(15.5) and bare["steps"] == 20
    assert bare["delta_by_seed"] == pytest.approx([15.0, 16.0])
    assert (bare["role"], by_name(report, "double")["role"]) == ("method", "control")
    assert bare["settings"] == "retry, K = 2, PI none, offline samples, 2 rounds"
    words = "8 independent samples, budget of retry_bare, offline samples, 2 rounds"
    assert by_name(report, "double")["settings"] == words
    assert report["best_arm"] == "retry_gold"
    # what is replayed for training says nothing of sampling
    assert report["curves"]["retry_bare"]["train_pass_rate"] == []


def test_planned_differences_are_sentences(retried: Run) -> None:
    gold, double, absent = retried[1]["contrasts"]
    assert gold["delta_pp"] == pytest.approx(15.0) and gold["holds"] is True
    # seed differences 30 - 4 / 2 = 13 and 13 + ... : (30 - 4, 32 - 6) / 2 = 13 each
    assert double["delta_pp"] == pytest.approx(13.0)
    assert (absent["delta_pp"], absent["absent"]) == (None, ["nobody"])
    sentences = retried[1]["sentences"]["contrasts"]
    assert sentences[0].startswith("the gold answer: retry_gold − retry_bare: +15.0 points [")
    assert sentences[0].endswith("2 seeds: ahead, holds up over seeds.")
    assert sentences[2] == ("an arm that was left out: retry_bare − nobody: no result of nobody.")


def test_one_seed_separates_nothing() -> None:
    row = {
        "a": "x", "b": "y", "shows": "it", "absent": [], "seeds": 1, "delta_pp": 9.0,
        "delta_ci95": [5.0, 13.0], "delta_seed_ci95": None, "holds": None,
    }  # fmt: skip
    assert contrast(row) == (
        "it: x − y: +9.0 points [+5.0, +13.0], one seed: one seed cannot separate them."
    )


def test_nothing_is_said_of_skeletons_and_teachers(retried: Run) -> None:
    run, report = retried
    assert report["status"] == "complete"
    assert report["sentences"]["contribution"] is report["sentences"]["against_sft"] is None
    for name in ("report.md", "report.html"):
        text = (run.path / name).read_text()
        for words in (
            "What made the difference",
            "gold proofs",
            "No control with",
            "baseline's weights",
        ):
            assert words not in text, words
        for words in ("What the differences show", "the gold answer", "0.980 × retry", "Retry"):
            assert words in text.replace("\\", ""), words


def test_tables_of_the_markdown_are_whole(retried: Run) -> None:
    text = (retried[0].path / "report.md").read_text()
    for heading, rows in (("Retry", 6), ("What the differences show", 3)):
        table = text.split(f"## {heading}\n\n")[1].split("\n\n")[0].splitlines()
        assert len(table) == 2 + rows
        assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {table[0].count("|")}


def test_both_charts_are_drawn(retried: Run) -> None:
    page = (retried[0].path / "report.html").read_text()
    for label in ("Difference to baseline", "Success by attempt"):
        assert f'aria-label="{label}"' in page
    forest = re.search(r'<svg role="img" aria-label="Difference to baseline".*?</svg>', page, re.S)
    assert forest is not None
    for text in ("retry_bare", "retry_gold", "double", "methods", "controls", "points over the"):
        assert text in forest[0]
    assert "#0a0b" not in forest[0] and "#010101" not in forest[0]


def test_an_online_arm_has_one_round_of_its_training_steps(tmp_path: Path) -> None:
    run = RunWriter(tmp_path / "r", [retry_arm("online", sampling="online", rounds=1)])
    for step in (1, 2):
        counts = {"tokens/generated": 50.0, "tokens/trained": 20.0, "retry/tasks": 8.0}
        counts |= {"retry/asked_1": 8.0, "retry/passed_1": 2.0, "reward/pass_rate": 0.25}
        line = {"arm": "online", "seed": 0, "phase": "train", "step": step, "metrics": counts}
        run.line("metrics", line | {"stage": "online-seed0", "time": 1.0, "seconds": 1.0})
    report = report_of(run)
    (only,) = report["retry"]["rows"]
    assert (only["round"], only["tasks"], only["generated"], only["trained"]) == (1, 16, 100, 40)
    assert only["heldout"] is None and only["repeated_share"] is None
    assert report["training"][0]["tokens"] == {"generated": 100.0, "trained": 40.0}
    assert len(report["curves"]["online"]["train_pass_rate"]) == 2


def test_a_run_that_has_only_begun_has_a_report(tmp_path: Path) -> None:
    run = RunWriter(tmp_path / "r", [retry_arm("bare")], contrasts=[["bare", "bare"], None, 3])
    report = report_of(run)
    assert report["retry"] == {"numbers": [1], "later": False, "unequal": [], "rows": []}
    assert report["contrasts"] == [] and report["status"] == "partial"
    assert "the teacher (with PI) has no held-out evaluation" not in report["missing"]


def test_many_pairs_are_a_matrix_and_few_are_sentences(tmp_path: Path) -> None:
    arms = [retry_arm(f"k{k}", seeds=[0], ladder={"retries": k}) for k in (1, 2, 3, 5)]
    arms.append(retry_arm("gold", seeds=[0], ladder={"retries": 2, "pi": "gold_answer"}))
    run = RunWriter(tmp_path / "r", arms)
    run.evaluate("baseline", BASE)
    for i, entry in enumerate(arms):
        run.evaluate(entry["name"], raised(10 * i), step=20)
    report = report_of(run)
    pairs = {(c["a"], c["b"]): c["differs"] for c in report["comparisons"]}
    # six pairs of K; gold differs from k2 in its PI alone
    assert len(pairs) == 7 and pairs["k2", "gold"] == "pi" and pairs["k1", "k5"] == "retries"
    assert len(report["sentences"]["comparisons"]) == 7
    text = (run.path / "report.md").read_text()
    assert "k1 − k2 (retries)" not in text.replace("\\", "")
    assert report["matrix"]["rows"] == ["k1", "k2", "k3"]
    assert "| k1 | -5.0 \\* |".replace("-", "−") in text


def test_ladders_stay_out_of_the_skeletons_contrasts(tmp_path: Path) -> None:
    arms = [arm("opsd"), arm("no_pi", pi="none"), retry_arm("bare", "control", seeds=[0])]
    run = RunWriter(tmp_path / "r", arms)
    run.evaluate("baseline", BASE)
    run.evaluate("teacher", dict.fromkeys(BASE, True), view="teacher")
    for name, rise in (("opsd", 40), ("no_pi", 0), ("bare", 30)):
        run.evaluate(name, raised(rise), step=20)
    report = report_of(run)
    assert [c["name"] for c in report["controls"]["rows"]] == ["no_pi"]
    assert "The skeleton itself contributed +20.0 points" in report["sentences"]["contribution"]
    assert json.loads((run.path / "report.json").read_text())["competence"]["n"] == 200
