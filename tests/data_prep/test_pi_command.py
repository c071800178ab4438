"""`python -m data_prep pi`, run as a user runs it."""

from __future__ import annotations

import json

import pytest
from tiny_model import save_model

from data_prep.attempts import Journal, judged
from data_prep.errors import DataError
from data_prep.family import make_row
from data_prep.pi.command import main
from data_prep.schema import privileged, read_rows, write_rows
from rewards import Verdict

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def rows_file(tmp_path):
    path = tmp_path / "rows.parquet"
    rows = [
        make_row(
            data_source="own", prompt=f"w{n}", ability="math", verifier="math", ground_truth=str(n),
            split="train", index=n, privileged={"gold_solution": f"One of {n}. Then {n}."},
        )
        for n in range(5, 75)
    ]  # fmt: skip
    write_rows(path, rows, source="own")
    return path


def test_kinds_are_added_and_replaced(rows_file, tmp_path, capsys):
    once, twice = tmp_path / "once.parquet", tmp_path / "twice.parquet"
    kinds = "kinds=[gold_answer,wrong_answer,first_step]"
    assert main([str(rows_file), kinds, f"out={once}"]) == 0
    shown = capsys.readouterr().out
    assert "wrong_answer: 70 of 70 rows" in shown and f"{once}: 70 rows" in shown
    rows = read_rows(once)
    for row in rows:
        own, wrong = privileged(row, "gold_answer"), privileged(row, "wrong_answer")
        assert own == row["reward_model"]["ground_truth"] and wrong != own
        assert privileged(row, "first_step") == f"One of {own}."
    assert main([str(once), "kinds=wrong_answer", "seed=1", f"out={twice}"]) == 0
    kinds_now = [entry["kind"] for entry in read_rows(twice)[0]["privileged"]]
    assert kinds_now == ["gold_solution", "gold_answer", "first_step", "wrong_answer"]
    assert [r["uid"] for r in read_rows(twice)] == [r["uid"] for r in read_rows(rows_file)]


def test_the_same_input_gives_the_same_bytes(rows_file, tmp_path):
    for name in ("a.parquet", "b.parquet"):
        main([str(rows_file), "kinds=[wrong_answer,matched_gibberish]", f"out={tmp_path / name}"])
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_kinds_from_attempts(rows_file, tmp_path):
    rows = read_rows(rows_file)
    journal = Journal(tmp_path / "attempts.jsonl", {"model": "own"})
    failed = Verdict.failed("compile_error", "line 2: no such name")
    journal.add(judged(rows[0]["uid"], ["a", "b"], [failed, Verdict.ok()]))
    journal.add(judged(rows[1]["uid"], ["a"], [Verdict.ok()]))
    journal.close()
    model = save_model(tmp_path / "model")
    out = tmp_path / "out.jsonl"
    main(
        [str(rows_file), "kinds=[type_checker,hint,failure_diagnosis]", f"out={out}",
         f"attempts={journal.path}", f"model={model}", "max_tokens=8"]
    )  # fmt: skip
    found = read_rows(out)
    assert [privileged(r, "type_checker") for r in found[:2]] == ["line 2: no such name", None]
    assert [bool(privileged(r, "hint")) for r in found[:3]] == [True, True, False]
    assert [bool(privileged(r, "failure_diagnosis")) for r in found[:2]] == [True, False]


def test_mistakes_name_the_mend(rows_file, tmp_path):
    out = f"out={tmp_path / 'out.jsonl'}"
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "other.jsonl").write_text(json.dumps({"uid": "a"}) + "\n")
    for arguments, message in (
        (["kinds=[hint]", out], "add attempts=FILE"),
        (["kinds=[magic]", out], "there is no `magic`.*use one of skeleton"),
        (["kinds=[hint]", out, "attempts=gone.jsonl"], "there is no such file"),
        (["kinds=[hint]", out, f"attempts={tmp_path / 'empty.jsonl'}"], "no attempts in it"),
        (["kinds=[hint]", out, f"attempts={tmp_path / 'other.jsonl'}"], "not a row's attempts"),
        (["kinds=[test_suite]", out], r"no row can have it.*give rows with tests .*\(code\)"),
        (["kinds=[gibberish,skeleton]", out], "no row can have it.*Lean proofs with `have` steps"),
        (["kinds=[gibberish]", "check=true", out], "it is for skeletons.*add kinds="),
        ([out], "`kinds` is missing"),
        (["kinds=[hint]", out, "sed=1"], "there is no `sed`"),
        (["kinds=[hint]", out, "seed=x"], "`seed=x` cannot be read"),
    ):
        with pytest.raises(DataError, match=message):
            main([str(rows_file), *arguments])
    assert not (tmp_path / "out.jsonl").exists()
    with pytest.raises(DataError, match="0 files given, not 1"):
        main(["kinds=[gibberish]", out])
