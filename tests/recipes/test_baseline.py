"""`python -m recipes.baseline` without Ray: its plan, its figures, and reading a finished run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from run_writer import RunWriter, arm, report_of
from test_prepare import ROW

from data_prep.schema import write_rows
from recipes import baseline
from recipes.config import load
from recipes.prepare import describe, prepare, report_plan

LEVEL = {f"q{i:02d}": str(i % 2 + 1) for i in range(40)}


def answered(path: Path, passes: dict[str, int], samples: int = 4, **plan) -> RunWriter:
    """Of each row's samples the first so many pass; failed ones are all the same answer."""
    heldout = {"n": len(passes), "new_structure": 0}
    whole = {"recipe": "baseline", "warmup": {"enabled": False}, "heldout": heldout}
    run = RunWriter(path, [], **(whole | plan))
    run.line("metrics", {"arm": "baseline", "seed": 0, "phase": "eval", "step": 0, "metrics": {}})
    for uid, passed in passes.items():
        for sample in range(samples):
            ok = sample < passed
            text = f"{uid} {sample}" if ok else ("" if sample == samples - 1 else "no idea")
            where = {"sample": sample, "response": text, "level": LEVEL.get(uid, "")}
            run.evaluate("baseline", {uid: ok}, **where)
    return run


PASSES = {uid: 2 if level == "1" else 1 for uid, level in LEVEL.items()}


def test_the_figures_are_those_of_the_answers(tmp_path):
    found = baseline.write(answered(tmp_path / "run", PASSES).path, lambda text: len(text) > 5)
    assert (found["n"], found["samples"], found["answers"]) == (40, 4, 160)
    assert found["pass_rate"] == pytest.approx(0.375)
    assert [(e["level"], e["pass_rate"]) for e in found["levels"]] == [("1", 0.5), ("2", 0.25)]
    # level 1, 2 of 4 pass: pass@2 = 1 - 1/6; level 2, 1 of 4: 1 - 3/6
    assert {e["k"]: round(e["value"], 6) for e in found["pass_at"]} == {
        1: 0.375, 2: round((5 / 6 + 1 / 2) / 2, 6), 4: 1.0,
    }  # fmt: skip
    # level 1: no pair of equal answers ("no idea" once, "" once); level 2: one of six
    assert found["repeated"] == pytest.approx(1 / 12)
    assert found["empty_share"] == pytest.approx(0.25)
    # "no idea" alone is that long: once a row of level 1, twice a row of level 2
    assert found["cut_share"] == pytest.approx(60 / 160)
    assert found["distinct"] == 60 + 2
    assert found["recommendation"]["zone"] == "30 to 55 %"
    assert json.loads((tmp_path / "run" / "baseline.json").read_text()) == found


def test_no_mode_is_named_where_cut_answers_could_have_changed_it(tmp_path):
    run = answered(tmp_path / "run", PASSES)
    short = baseline.write(run.path, lambda text: text == "no idea")
    assert short["cut_share"] == short["cut_failed_share"] == pytest.approx(60 / 160)
    told = short["recommendation"]
    assert told["warns"] and told["mode"] == "none yet: answers were cut"
    assert "75.0 % (above 60 %)" in told["certainty"] and not told["expected"]
    assert "Mode: none yet" in report_of(run)["verdict"][1]

    harmless = baseline.write(run.path, lambda text: text.endswith("0"))
    assert harmless["cut_share"] > 0 == harmless["cut_failed_share"]
    assert harmless["recommendation"]["mode"] == "retry"


def test_the_report_shows_them_without_a_word_on_arms(tmp_path):
    run = answered(tmp_path / "run", PASSES)
    baseline.write(run.path, lambda text: text not in ("", "no idea"))  # right ones alone
    report = report_of(run)
    assert report["status"] == "complete"
    assert report["competence"]["cut_share"] == pytest.approx(60 / 160)
    assert "37.5 %" in report["verdict"][0] and "Mode: retry." in report["verdict"][1]
    for name in ("report.md", "report.html"):
        text = (run.path / name).read_text()
        assert "Which mode fits this model" in text and "pass@4" in text
        assert "practitioner notes, 3 seeds, Qwen3-1.7B on MATH-500" in text
        for words in ("No arm has a result", "teacher", "What training saw", "Difference to"):
            assert words not in text


def test_levels_are_shown_for_arms_too(tmp_path):
    run = RunWriter(tmp_path / "run", [arm("online")])
    for name, step, right in (("baseline", 0, 10), ("online", 20, 20)):
        for level, start in (("10", 0), ("9", 50)):
            uids = [f"p{i:03d}" for i in range(start, start + 50)]
            passed = {uid: i < right for i, uid in enumerate(uids)}
            run.evaluate(name, passed, step=step, level=level)
    report = report_of(run)
    assert [row["level"] for row in report["levels"]] == ["9", "10"]
    shown = report["levels"][0]["arms"]["online"]
    assert shown["pass_rate"] == pytest.approx(0.4) and shown["delta_pp"] == pytest.approx(20.0)
    assert shown["delta_ci95"][0] > 0
    assert "| online | 40.0 %" in (run.path / "report.md").read_text().split("## By level")[1]
    assert report["competence"] is None


def test_a_finished_run_is_read_without_training_anything(tmp_path, capsys, whole):
    folder = tmp_path / "copy"
    shutil.copytree(whole[0].path, folder)
    assert baseline.main([f"from={folder}"]) == 0
    out = capsys.readouterr().out
    assert "40.0 % [33.5, 46.9]" in out and "mode: retry" in out
    assert "Reported by others, not measured here:" in out
    written = json.loads((folder / "baseline.json").read_text())
    assert written["cut_share"] is None and written["pass_at"][0]["k"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["from=/no/such/run"], "is no run folder"),
        (["from=EMPTY"], "has no evaluation of its baseline"),
        (["from=EMPTY", "steps=3"], "give it alone"),
    ],
)
def test_what_cannot_be_read_is_one_message(tmp_path, capsys, arguments, message):
    assert baseline.main([a.replace("EMPTY", str(tmp_path)) for a in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and message in captured.err and captured.out == ""


def test_lean_is_told_by_the_plan(tmp_path):
    run = answered(tmp_path / "run", PASSES, verifier="lean (4.31.0)")
    told = baseline.write(run.path, None)["recommendation"]
    assert told["expected"][0]["arm"] == "have-skeleton OPSD"


def rows_at(path: Path, count: int) -> Path:
    rows = [
        {
            **ROW,
            "prompt": [{"role": "user", "content": f"What is {i} plus 5?"}],
            "reward_model": {"style": "math", "ground_truth": str(i + 5)},
            "extra_info": {**ROW["extra_info"], "index": i},
        }
        for i in range(count)
    ]
    write_rows(path, rows, source="sums")
    return path


@pytest.mark.usefixtures("demo_folder")
def test_the_plan_is_one_evaluation_of_the_students_view(tmp_path):
    path = rows_at(tmp_path / "sums.parquet", 12)
    job = prepare(load("baseline", ["profile=cpu", f"data.eval={path}", f"output_root={tmp_path}"]))
    told = describe(job)
    assert "stages            baseline" in told and "48 for evaluation" in "".join(told)
    (stage,) = job.plan.stages
    assert stage.evaluate == {"student": None} and stage.steps == 0
    assert report_plan(job)["arms"] == []
    folder = job.open()
    job.write(folder)  # the training file of a run without training rows can be written


def test_the_figures_are_printed_when_a_run_ends(tmp_path, capsys, demo_tokenizer):
    run = answered(tmp_path / "run", PASSES)
    settings = SimpleNamespace(max_response_tokens=len(demo_tokenizer.encode("no idea")))
    baseline._finish(run.path, SimpleNamespace(tokenizer=demo_tokenizer, config=settings))
    out = capsys.readouterr().out
    assert "level 1   50.0 %" in out and "pass@1 37.5 %" in out
    found = json.loads((run.path / "baseline.json").read_text())
    assert found["cut_share"] >= 60 / 160  # "no idea" at least
    assert f"cut {100 * found['cut_share']:.1f} %" in out
