"""The command line, run as a user runs it."""

from __future__ import annotations

import subprocess
import sys

from data_prep.__main__ import main
from data_prep.schema import read_rows


def test_help_names_every_command():
    shown = subprocess.run(
        [sys.executable, "-m", "data_prep", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert "core_lean  out=DIR" in shown and "minif2f    source=PATH out=FILE" in shown


def test_core_lean(tmp_path, capsys):
    assert main(["core_lean", f"out={tmp_path}"]) == 0
    assert f"{tmp_path / 'heldout.jsonl'}: 210 rows" in capsys.readouterr().out


def test_minif2f(tmp_path):
    source = tmp_path / "Test.lean"
    source.write_text("theorem amc_1 : 1 = 1 := by\n  have h : 1 = 1 := by rfl\n  exact h\n")
    out = tmp_path / "out" / "rows.parquet"
    assert main(["minif2f", f"source={source}", f"out={out}"]) == 0
    assert [row["split"] for row in read_rows(out)] == ["test"]


def test_mistakes_are_one_line(capsys):
    for arguments, message in (
        (["numbers"], "there is no `numbers`. To mend it: use one of core_lean, minif2f."),
        (["core_lean"], "`out` is missing"),
        (["core_lean", "out"], "`out` has no value"),
        (["core_lean", "out=x", "seed=3"], "there is no `seed`"),
        (["minif2f", "source=gone.jsonl", "out=x.parquet"], "No such file"),
    ):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
