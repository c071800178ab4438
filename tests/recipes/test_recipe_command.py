"""The command that a user types: dry run, help, refusals, exit codes. Nothing here starts Ray."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recipes import command, opsd_skeleton
from recipes.launch import main as launch_main

GUIDE = Path(__file__).parents[2] / "docs" / "algorithms-api.md"
SMALL = ["profile=cpu", "data.train_rows=24", "data.eval_rows=14"]


def run(folder: Path, *arguments: str, python: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
    command = [sys.executable, *python, "-m", "recipes.opsd_skeleton", *arguments]
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, timeout=120
    )


@pytest.mark.usefixtures("demo_folder")
def test_a_dry_run_from_another_folder_tells_the_plan_and_starts_nothing(tmp_path):
    started = time.monotonic()
    done = run(tmp_path, "dry_run=true", *SMALL, python=("-X", "importtime"))
    assert done.returncode == 0, done.stderr[-2000:]
    assert time.monotonic() - started < 40
    for word in ("gradient steps", "memory", "teacher's view", "Everything is valid."):
        assert word in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "recipes.prepare" in imported
    assert imported.isdisjoint({"ray", "verl", "vllm"}), "a dry run needs no Ray and no verl"
    assert list(tmp_path.iterdir()) == [], "a dry run writes nothing"


def test_bad_settings_exit_2_without_a_traceback(tmp_path):
    done = run(tmp_path, "stesp=3")
    assert done.returncode == 2
    first, *_ = done.stderr.splitlines()
    assert first.startswith("error: ")
    assert "did you mean 'steps'?" in done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("demo_folder")
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["batch_size=300"], "error: data.train has 24 rows, fewer than batch_size=300: lower it"),
        (["arms=[nothing]"], "error: no arm 'nothing'; known: online,"),
        (["verl.trainer.nnods=1"], "error: verl has no setting 'trainer.nnods'; did you mean"),
        (["steps=many"], "error: steps is a whole number, got 'many'"),
        (["max_prompt_tokens=20"], "error: no train row fits max_prompt_tokens=20: raise it"),
    ],
)
def test_every_refusal_is_one_clear_message(tmp_path, monkeypatch, capsys, overrides, message):
    monkeypatch.chdir(tmp_path)
    assert opsd_skeleton.main(["dry_run=true", *SMALL, *overrides]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(message)
    assert captured.out == ""


@pytest.mark.usefixtures("demo_folder")
def test_a_folder_of_other_settings_is_refused_before_anything_runs(tmp_path, capsys):
    folder = tmp_path / "opsd_skeleton" / "mine"
    folder.mkdir(parents=True)
    (folder / "identity").write_text("another")
    assert opsd_skeleton.main([*SMALL, f"output_root={tmp_path}", "run=mine"]) == 2
    assert "was started with another configuration" in capsys.readouterr().err
    assert [path.name for path in folder.iterdir()] == ["identity"]


@pytest.mark.usefixtures("demo_folder")
def test_the_quick_preset_is_a_run_of_its_own(capsys):
    assert opsd_skeleton.main(["dry_run=true", "quick=true", "profile=cpu"]) == 0
    out = capsys.readouterr().out
    assert "42 of 210 held out" in out
    assert "online-seed0, collect-seed0, offline-seed0\n" in out


def test_help_shows_every_setting_with_its_default(capsys):
    with pytest.raises(SystemExit) as end:
        opsd_skeleton.main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    for part in (
        "learning_rate: ",
        "max_prompt_tokens: ",
        "rollout: vllm",
        "dry_run=true",
    ):
        assert part in text
    assert max(map(len, text.splitlines())) <= 120


def test_ctrl_c_says_how_to_go_on(monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "_run", interrupted)
    assert opsd_skeleton.main(["profile=cpu"]) == 130
    assert "the same command resumes the run" in capsys.readouterr().err


def test_launch_names_a_folder_that_no_recipe_prepared(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["launch", str(tmp_path)])
    with pytest.raises(SystemExit) as end:
        launch_main()
    assert end.value.code == 2
    assert "holds no verl.yaml: start a recipe" in capsys.readouterr().err


@pytest.mark.usefixtures("demo_folder")
def test_the_guides_algorithm_runs_as_the_guide_says(tmp_path, monkeypatch, capsys):
    """docs/algorithms-api.md: one file, one entry point, one command."""
    text = GUIDE.read_text()
    source = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    shown = re.findall(r"```\n(python -m .*?)```", text, re.DOTALL)[0]
    (tmp_path / "rejection.py").write_text(source)
    metadata = tmp_path / "rejection-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: rejection\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[verl_pi.algorithms]\nrejection = rejection:Rejection\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    (definition,) = re.findall(r"'(.*)'", shown)
    rest = re.sub(r"'.*'|\\\n", " ", shown).split()
    assert rest[:3] == ["python", "-m", "recipes.opsd_skeleton"]
    try:
        assert opsd_skeleton.main([*rest[3:], definition, *SMALL]) == 0
        assert "rejection-seed0" in capsys.readouterr().out
        wrong = definition.replace("threshold", "treshold")
        assert opsd_skeleton.main([*rest[3:], wrong, *SMALL]) == 2
        assert "no setting treshold; it has threshold" in capsys.readouterr().err
    finally:
        sys.modules.pop("rejection", None)
