"""`python -m data_prep show`: both views, lengths, overflow, shares."""

from __future__ import annotations

import subprocess
import sys

import pytest
from tiny_model import save_model

from data_prep.__main__ import main as prepare
from data_prep.errors import DataError
from data_prep.family import make_row
from data_prep.preview import main
from data_prep.schema import write_rows


@pytest.fixture
def rows_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [
        make_row(
            data_source="own", prompt=f"w{n} w2", ability="math", verifier="math",
            ground_truth=str(n), split="train" if n < 8 else "test", index=n, level="easy",
            privileged={"gold_answer": f"w{n} " * n, "hint": "w3" if n == 5 else None},
        )
        for n in range(5, 9)
    ]  # fmt: skip
    write_rows(path, rows, source="own")
    return path


def test_without_a_model_characters_are_counted(rows_file, capsys):
    assert main([str(rows_file), "rows=1"]) == 0
    shown = capsys.readouterr().out
    assert "4 rows\nsplit: test 1, train 3\nlevel: easy 4\n" in shown
    assert "gold_answer                        4 rows  100.0%" in shown
    assert "hint                               1 rows   25.0%" in shown
    assert "== student: 5 characters\n[user]\nw5 w2\n" in shown
    assert "== teacher (gold_answer):" in shown and "<privileged_information>\nw5 w5" in shown
    assert shown.count("uid ") == 1


def test_as_a_user_runs_it(tmp_path):
    """In a process of its own, without a tokenizer at hand, on a file that a command wrote."""
    source = tmp_path / "train.jsonl"
    source.write_text('{"question": "What is 1 + 1?", "answer": "Count.\\n#### 2"}\n' * 2)
    out = tmp_path / "out.parquet"
    assert prepare(["gsm8k", f"source={source}", f"out={out}"]) == 0
    command = [sys.executable, "-m", "data_prep", "show", str(out)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"{out}: 1 rows\nsplit: train 1\n" in shown.stdout
    assert "gold_solution                      1 rows  100.0%" in shown.stdout
    assert "== student: " in shown.stdout and "== teacher (gold_answer): " in shown.stdout
    assert "verifier math, ground truth: 2" in shown.stdout and "Traceback" not in shown.stderr


def test_a_row_whose_user_is_simulated(tmp_path, capsys):
    path = tmp_path / "rows.jsonl"
    row = make_row(
        data_source="own", prompt=[{"role": "system", "content": "Be kind."}], ability="tool_use",
        verifier="tool_use", ground_truth={"actions": [], "outputs": []}, split="train", index=0,
        privileged={"hint": "Ask first."}, instruction="You are Ann.",
    )  # fmt: skip
    write_rows(path, [row], source="own")
    assert main([str(path)]) == 0
    shown = capsys.readouterr().out
    assert shown.count("(what the simulated user says first)") == 2
    assert "You are Ann." not in shown


def test_with_a_model_its_tokens_and_its_template(rows_file, tmp_path, capsys):
    model = save_model(tmp_path / "model")
    main([str(rows_file), f"model={model}", "position=user_prefix", "max_prompt_tokens=15"])
    shown = capsys.readouterr().out
    # Two words; in the teacher's view the block's tags (6 tokens) and 5 to 8 words beside them.
    assert "student                    2  2  2  overflow (over 15): 0 rows" in shown
    assert "overflow (over 15): 1 rows" in shown
    assert "== student: 2 tokens\nw5 w2 \n" in shown
    assert shown.count("uid ") == 3


def test_a_row_without_the_kind_says_so(rows_file, capsys):
    main([str(rows_file), "kind=hint", "rows=2"])
    shown = capsys.readouterr().out
    assert "== teacher (hint):" in shown
    assert "== teacher: the student's view (no privileged information)" in shown


def test_mistakes_name_the_mend(rows_file, tmp_path):
    for arguments, message in (
        (["kind=advice"], "no row has `advice`. To mend it: use one of gold_answer, hint"),
        (["position=middle"], "use system, user_prefix, user_suffix"),
        ([f"model={tmp_path / 'gone'}"], "no tokenizer"),
        (["chat=[]"], "give a JSON object"),
    ):
        with pytest.raises(DataError, match=message):
            main([str(rows_file), *arguments])
