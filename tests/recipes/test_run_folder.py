"""A run's folder: resumed by content, never overwritten silently."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from recipes.config import ConfigError, load
from recipes.run_folder import FINISHED, claimed, identity, open_run, versions, write_json


def config_of(root, *overrides: str) -> Any:
    return load("opsd_skeleton", ["profile=cpu", f"output_root={root}", *overrides])


def test_identity_is_what_decides_the_numbers(tmp_path):
    mark = identity(config_of(tmp_path))
    assert mark == identity(
        config_of(tmp_path / "elsewhere", "run=x", "resume=false", "dry_run=true")
    )
    for override in ("steps=3", "seeds=[1]", "model.path=/m", "verl.trainer.nnodes=2"):
        assert identity(config_of(tmp_path, override)) != mark, override


def test_a_new_run_gets_a_folder_of_its_own(tmp_path):
    folder, resumed = open_run(config_of(tmp_path, "run=one"))
    assert folder == tmp_path / "opsd_skeleton" / "one" and not resumed
    assert (folder / "identity").read_text() == identity(config_of(tmp_path))


def test_without_a_name_the_unfinished_run_of_the_same_settings_goes_on(tmp_path):
    first, _ = open_run(config_of(tmp_path, "run=first"))
    other, _ = open_run(config_of(tmp_path, "run=other", "steps=3"))
    assert open_run(config_of(tmp_path)) == (first, True)
    assert open_run(config_of(tmp_path, "steps=3")) == (other, True)
    folder, resumed = open_run(config_of(tmp_path, "steps=4"))
    assert folder not in (first, other) and not resumed


def test_with_resume_false_an_unfinished_run_is_left_alone(tmp_path):
    first, _ = open_run(config_of(tmp_path, "run=first"))
    folder, resumed = open_run(config_of(tmp_path, "resume=false"))
    assert folder != first and not resumed


def test_a_named_run_is_resumed_where_the_settings_are_the_same(tmp_path):
    folder, _ = open_run(config_of(tmp_path, "run=one"))
    assert open_run(config_of(tmp_path, "run=one")) == (folder, True)


@pytest.mark.parametrize(
    ("prepare", "overrides", "message"),
    [
        (lambda f: write_json(f / FINISHED, {}), [], "holds a finished run: choose another run="),
        (lambda f: None, ["steps=3"], "was started with another configuration"),
        (lambda f: (f / "identity").unlink(), [], "was started with another configuration"),
        (lambda f: None, ["resume=false"], "exists and resume=false"),
    ],
)
def test_a_named_folder_is_never_overwritten(tmp_path, prepare, overrides, message):
    folder, _ = open_run(config_of(tmp_path, "run=one"))
    (folder / "kept").write_text("kept")
    prepare(folder)
    with pytest.raises(ConfigError, match=message) as error:
        open_run(config_of(tmp_path, "run=one", *overrides))
    assert str(folder) in str(error.value)
    assert (folder / "kept").read_text() == "kept"


def test_a_finished_run_without_a_name_is_not_taken_up_again(tmp_path):
    first, _ = open_run(config_of(tmp_path, "run=first"))
    write_json(first / FINISHED, {})
    folder, resumed = open_run(config_of(tmp_path))
    assert folder != first and not resumed


def test_versions_name_packages_and_machine():
    found = versions("cpu")
    assert found["verl"] == "0.9.1" and found["torch"] and found["python"].startswith("3.")
    machine = found["machine"]
    assert machine["device"] == "cpu" and machine["memory_gb"] > 1
    assert machine["cores"] == len(os.sched_getaffinity(0))


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "plan.json"
    write_json(path, {"name": "π"})
    with pytest.raises(TypeError):
        write_json(path, {"name": object()})
    assert json.loads(path.read_text()) == {"name": "π"}
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_in_which_a_process_works_is_not_taken_by_another(tmp_path):
    first, _ = open_run(config_of(tmp_path, "run=first"))
    with claimed(first):
        other, resumed = open_run(config_of(tmp_path))
        assert other != first and not resumed
        with pytest.raises(ConfigError, match="another process is working in"), claimed(first):
            pass
    with claimed(first):
        pass


def test_runs_that_start_in_the_same_second_have_folders_of_their_own(tmp_path):
    started = [open_run(config_of(tmp_path, f"steps={n}"))[0] for n in range(1, 5)]
    assert len(set(started)) == 4


def test_another_content_of_the_data_file_is_another_run(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("one")
    before = identity(config_of(tmp_path, f"data.train={rows}"))
    rows.write_text("two")
    assert identity(config_of(tmp_path, f"data.train={rows}")) != before
