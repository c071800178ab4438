"""The command line: what it lists, what it refuses, and what it leaves on disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from data_prep import registry
from data_prep.__main__ import main
from data_prep.family import Family, Option, make_row
from data_prep.schema import read_rows

COMMAND = [sys.executable, "-m", "data_prep"]


def questions(path, count, **more):
    rows = [
        {"question": f"What is {i} + 1?", "answer": f"Add.\n#### {i + 1}"} for i in range(count)
    ]
    path.write_text("".join(json.dumps({**row, **more}) + "\n" for row in rows))
    return path


def test_help_in_a_process_of_its_own_names_every_data_set_and_command():
    shown = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, check=True).stdout
    for name in (*registry.families(), *registry.COMMANDS):
        assert f"\n  {name} " in shown
    assert "dry_run=" in shown and "source=" in shown


@pytest.mark.parametrize("name", registry.FAMILIES)
def test_every_data_set_describes_itself(name, capsys):
    assert main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    family = registry.get_family(name)
    assert family.name == name and family.description in shown
    for option in (*family.options, Option("source", str, None, "")):
        assert f"  {option.name}=" in shown


def test_core_lean_is_the_bundled_set(tmp_path, capsys):
    assert main(["core_lean", f"out={tmp_path}"]) == 0
    assert f"{tmp_path / 'heldout.jsonl'}: 210 rows" in capsys.readouterr().out
    bundled = os.path.dirname(sys.modules["data_prep.core_lean"].__file__ or "")
    for split in ("warmup", "train", "heldout"):
        with open(os.path.join(bundled, f"{split}.jsonl"), "rb") as file:
            assert (tmp_path / f"{split}.jsonl").read_bytes() == file.read()


def test_minif2f_from_lean_files(tmp_path):
    source = tmp_path / "Test.lean"
    source.write_text("theorem amc_1 : 1 = 1 := by\n  have h : 1 = 1 := by rfl\n  exact h\n")
    out = tmp_path / "out" / "rows.parquet"
    assert main(["minif2f", f"source={source}", f"out={out}"]) == 0
    assert [row["split"] for row in read_rows(out)] == ["test"]


def test_a_dry_run_counts_and_writes_nothing(tmp_path, capsys):
    source = questions(tmp_path / "train.jsonl", 3)
    out = tmp_path / "out"
    assert main(["gsm8k", f"source={source}", f"out={out}", "dry_run=true"]) == 0
    assert f"{out / 'train.parquet'}: 3 rows" in capsys.readouterr().out
    assert not out.exists()


def test_train_and_held_out_rows_do_not_share_a_file(tmp_path, capsys):
    source = questions(tmp_path / "x.jsonl", 40)
    arguments = ["gsm8k", f"source={source}", f"out={tmp_path / 'x.parquet'}"]
    assert main([*arguments, "split=train:0.5,test:0.5"]) == 2
    assert "test and train would be in one file" in capsys.readouterr().err
    assert main([*arguments, "split=train:0.5,test:0.5", "keep=test"]) == 0
    assert {row["split"] for row in read_rows(tmp_path / "x.parquet")} == {"test"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["numbers"], "there is no `numbers`"),
        (["gsm8"], "did you mean `gsm8k`?"),
        (["gsm8k", "sorce=x"], "did you mean `source`?"),
        (["core_lean", "out"], "`out` has no value"),
        (["gsm8k", "rows=many"], "rows: found `many`. To mend it: give a whole number."),
        (["gsm8k", "strict=perhaps"], "To mend it: give true or false."),
        (["gsm8k", "format=xml"], "there is no `xml`"),
        (["gsm8k", "out=x.xml"], "no format of ours: `.xml`"),
        (["gsm8k", "source=OUT", "split=train:0.5"], "add up to 1"),
        (["gsm8k", "source=OUT", "split=train"], "add up to 1"),
        (["gsm8k", "source=OUT", "keep=dev"], "no row is of split `dev`"),
        (["gsm8k", "source=OUT", "against=gone.parquet"], "there is no such file"),
        (["minif2f", "source=gone.jsonl"], "there is no file or folder gone.jsonl"),
        (["minif2f"], "source: missing"),
        (["minif2f", "source=gone.lean"], "there is no file or folder gone.lean"),
        (["reasoning_gym", "tasks=chain_som"], "did you mean `chain_sum`?"),
        (["reasoning_gym", "config=[]"], "give a JSON object"),
        (["reasoning_gym", 'config={"min_terms": -4}'], "chain_sum cannot be drawn"),
        (["reasoning_gym", "size=-1"], "size: found -1"),
        (["leak", "one.parquet"], "1 given"),
    ],
)
def test_mistakes_are_one_line(arguments, message, tmp_path, capsys):
    source = questions(tmp_path / "train.jsonl", 2)
    given = [argument.replace("OUT", str(source)) for argument in arguments]
    out = [] if "out" in str(arguments) or given[0] == "leak" else [f"out={tmp_path / 'out'}"]
    assert main([*given, *out]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and error.startswith("data_prep: ")


def test_the_hub_out_of_reach_is_one_line_that_names_the_source(tmp_path, capsys):
    assert main(["gsm8k", f"out={tmp_path / 'out'}"]) == 2
    error = capsys.readouterr().err
    assert "HF_HUB_OFFLINE is set, and the cache does not give openai/gsm8k: " in error
    assert "`hf download openai/gsm8k --repo-type dataset`" in error
    assert "give source=FOLDER" in error and error.count("\n") == 1
    assert main(["gsm8k", "source=some/data:main:test", f"out={tmp_path / 'out'}"]) == 2
    assert "source=some/data: " in capsys.readouterr().err


def from_elsewhere(request):
    yield make_row(
        data_source="elsewhere", prompt="Say 3.", ability="math", verifier="exact",
        ground_truth="3", split="train", index=0, privileged={"gold_answer": "3", "hint": None},
        family=request["tone"],
    )  # fmt: skip


ELSEWHERE = Family(
    "elsewhere", "from another package", "exact", from_elsewhere, "nothing",
    options=(Option("tone", str, "soft", "soft or loud"),),
)  # fmt: skip


def test_another_package_adds_a_family_by_entry_point(tmp_path, monkeypatch, capsys):
    (tmp_path / "other-1.dist-info").mkdir()
    (tmp_path / "other-1.dist-info" / "METADATA").write_text("Name: other\nVersion: 1\n")
    (tmp_path / "other-1.dist-info" / "entry_points.txt").write_text(
        "[verl_pi.datasets]\nelsewhere = tests_elsewhere:ELSEWHERE\nbroken = tests_elsewhere:GONE\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "tests_elsewhere", sys.modules[__name__])
    registry._foreign.cache_clear()
    try:
        assert main(["elsewhere", f"out={tmp_path / 'out'}", "tone=loud"]) == 0
        (row,) = read_rows(tmp_path / "out" / "train.parquet")
        assert row["extra_info"]["family"] == "loud"
        assert row["privileged"] == [{"kind": "gold_answer", "content": "3"}]
        assert main(["broken"]) == 2
        assert "tests_elsewhere:GONE: cannot be loaded" in capsys.readouterr().err
    finally:
        registry._foreign.cache_clear()
