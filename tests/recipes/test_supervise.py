"""Following a child process and explaining its end. The child is real; only its module is ours."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from recipes import supervise
from recipes.supervise import LOG, RunFailed, run_verl


@pytest.fixture
def child(tmp_path, monkeypatch):
    """Makes Python source the module that is run as the child; returns the run folder."""
    modules, folder = tmp_path / "modules", tmp_path / "run"
    modules.mkdir()
    folder.mkdir()
    monkeypatch.setattr(supervise, "LAUNCH", "stand_in")
    monkeypatch.setenv("PYTHONPATH", str(modules), prepend=os.pathsep)

    def write(source: str) -> Path:
        (modules / "stand_in.py").write_text(textwrap.dedent(source))
        return folder

    return write


def failure(folder: Path) -> str:
    with pytest.raises(RunFailed) as error:
        run_verl(folder, "cpu")
    message = str(error.value)
    assert str(folder / LOG) in message
    assert message.endswith("The same command resumes the run.")
    return message


def test_a_run_that_ends_well_returns_and_leaves_its_output_in_the_log(child, capfd):
    folder = child(
        """
        import json, os, sys
        names = ("VERL_PLATFORM", "GOMP_SPINCOUNT", "VERL_PI_PARENT")
        print(json.dumps({name: os.environ.get(name) for name in names}))
        print("folder", sys.argv[1])
        print("noise", file=sys.stderr)
        """
    )
    run_verl(folder, "cpu")
    log = (folder / LOG).read_text()
    assert f"folder {folder}" in log and "noise" in log
    seen = json.loads(log.splitlines()[0])
    assert seen == {
        "VERL_PLATFORM": "cpu",
        "GOMP_SPINCOUNT": "20000",
        "VERL_PI_PARENT": str(os.getpid()),
    }
    assert "noise" not in "".join(capfd.readouterr())


def test_the_platform_is_left_to_verl_on_a_gpu(child, monkeypatch):
    monkeypatch.delenv("VERL_PLATFORM", raising=False)
    folder = child("import os; print('platform', os.environ.get('VERL_PLATFORM'))")
    run_verl(folder, "gpu")
    assert "platform None" in (folder / LOG).read_text()


def test_a_failure_names_its_cause_and_the_log(child):
    message = failure(child("raise ValueError('max_model_len is 100, the prompt has 120 tokens')"))
    assert "the run failed: ValueError: max_model_len is 100, the prompt has 120 tokens" in message


def test_the_cause_is_found_behind_rays_wrappers(child):
    folder = child(
        """
        print("ERROR: an old warning without a name")
        print("Traceback (most recent call last):")
        print("ray.exceptions.RayTaskError(MissingResponse): ray::Worker.run() (pid=1, ip=1.2.3.4)")
        print("algorithms.runtime.sampling.MissingResponse: row 7 has no 'gold' entry")
        print("RayTaskError: wrapped once more")
        print("ray.exceptions.ActorDiedError: The actor died unexpectedly")
        raise SystemExit(1)
        """
    )
    assert "MissingResponse: row 7 has no 'gold' entry" in failure(folder)


def test_without_a_named_cause_the_exit_code_is_given(child):
    assert "the run failed: exit code 7" in failure(child("raise SystemExit(7)"))


def test_only_the_end_of_a_long_log_is_read(child):
    folder = child(
        """
        print("ValueError: from an earlier attempt")
        for _ in range(9000):
            print("x" * 99)
        raise SystemExit(4)
        """
    )
    assert "exit code 4" in failure(folder)


def test_what_an_earlier_attempt_died_of_is_not_told_again(child):
    folder = child("raise SystemExit(4)")
    (folder / LOG).write_text("ValueError: from an earlier attempt\n")
    assert "exit code 4" in failure(folder)


def test_a_resumed_runs_log_goes_on(child):
    folder = child("print('second')")
    (folder / LOG).write_text("first\n")
    run_verl(folder, "cpu")
    assert (folder / LOG).read_text() == "first\nsecond\n"


def test_a_killed_child_is_named(child):
    folder = child("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    message = failure(folder)
    assert "the process was killed (out of memory?" in message


def test_a_run_that_hangs_after_ray_killed_a_worker_is_ended(child, monkeypatch):
    monkeypatch.setattr(supervise, "OUT_OF_MEMORY_SECONDS", 1.0)
    folder = child(
        """
        import time
        print("(raylet) 1 Workers (tasks / actors) killed due to memory pressure (OOM)", flush=True)
        time.sleep(300)
        """
    )
    assert "ran out of memory and Ray killed a worker: lower max_tokens" in failure(folder)


@pytest.mark.parametrize("stubborn", [False, True])
def test_ctrl_c_stops_the_child(child, tmp_path, stubborn, monkeypatch):
    folder = child(
        f"""
        import os, signal, sys, time
        if {stubborn}:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with open(sys.argv[1] + "/pid", "w") as file:
            file.write(str(os.getpid()))
        time.sleep(120)
        """
    )
    parent_source = (
        "import pathlib, sys\n"
        "from recipes import supervise\n"
        "supervise.LAUNCH, supervise.STOP_SECONDS = 'stand_in', 1\n"
        "try:\n"
        "    supervise.run_verl(pathlib.Path(sys.argv[1]), 'cpu')\n"
        "except KeyboardInterrupt:\n"
        "    raise SystemExit(130)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", parent_source, str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        # A shell's background job ignores the signal, and its children with it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        pid = _wait_for(folder / "pid")
        os.kill(parent.pid, signal.SIGINT)
        assert parent.wait(timeout=30) == 130
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    finally:
        parent.kill()


def _wait_for(path: Path) -> int:
    deadline = time.time() + 60
    while not (path.exists() and path.read_text()):
        assert time.time() < deadline, f"no {path}"
        time.sleep(0.05)
    return int(path.read_text())
