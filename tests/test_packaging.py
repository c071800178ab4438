"""The wheel holds everything and works from another folder; the set-up's pieces do their job."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("algorithms", "rewards", "data_prep", "recipes")


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy, so that the working tree stays clean."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for room in ROOMS:
        ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
        shutil.copytree(ROOT / room, source / room, ignore=ignored)
    out = tmp_path_factory.mktemp("dist")
    pip = (sys.executable, "-m", "pip")
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index")
    run(*pip, "wheel", *options, "--wheel-dir", out, source, cwd=source)
    (built,) = out.glob("verl_pi-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel installed, to be put in front of this environment's packages."""
    target = tmp_path_factory.mktemp("site")
    pip = (sys.executable, "-m", "pip")
    options = ("--quiet", "--no-deps", "--no-index", "--no-compile")
    run(*pip, "install", *options, "--target", target, wheel, cwd=target)
    return target


def test_wheel_holds_every_file_of_the_rooms(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    expected = {
        str(path.relative_to(ROOT))
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert expected - packed == set()


def test_wheel_holds_nothing_but_the_rooms(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(ROOMS)


def test_installed_wheel_imports_from_another_folder(installed: Path, tmp_path: Path) -> None:
    code = f"import {', '.join(ROOMS)}\nfor m in ({', '.join(ROOMS)}): print(m.__file__)"
    files = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(installed)).split()
    assert [Path(file).parent for file in files] == [installed / room for room in ROOMS]


def test_verl_loads_the_plugin_of_the_installed_wheel(installed: Path, tmp_path: Path) -> None:
    code = "import verl, sys; print(sys.modules['algorithms.runtime.plugin'].__file__)"
    output = run(sys.executable, "-c", code, cwd=tmp_path, PYTHONPATH=str(installed))
    assert output.splitlines()[-1] == str(installed / "algorithms" / "runtime" / "plugin.py")


def test_recipe_shows_its_help_from_another_folder(installed: Path, tmp_path: Path) -> None:
    command = (sys.executable, "-m", "recipes.opsd_skeleton", "--help")
    assert "model.path" in run(*command, cwd=tmp_path, PYTHONPATH=str(installed))


def constraints() -> dict[str, Version]:
    """Name → version of the constraints which hold for this Python."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [Requirement(line) for line in lines if line and not line.startswith("#")]
    pins = [pin for pin in pins if pin.marker is None or pin.marker.evaluate()]
    return {pin.name.lower(): Version(str(pin.specifier).removeprefix("==")) for pin in pins}


def test_constraints_satisfy_the_wheel_and_its_cpu_extras(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        metadata = archive.read(name).decode()
    pins = constraints()
    for text in re.findall(r"^Requires-Dist: (.+)$", metadata, re.MULTILINE):
        requirement = Requirement(text)
        extra = re.search(r"extra == ['\"]([\w-]+)", text)
        if requirement.name == "verl-pi" or (extra and extra[1] == "gpu"):
            continue
        pin = pins[requirement.name.lower()]
        assert requirement.specifier.contains(pin), (text, pin)


@pytest.fixture(scope="module")
def bootstrap() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bootstrap", ROOT / "scripts" / "bootstrap.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_bootstrap_reads_pips_settings_with_pips_precedence(bootstrap: ModuleType) -> None:
    listing = "\n".join(
        [
            ":env:.find-links='/a b'",
            "global.find-links='/other'",
            "global.extra-index-url='\\nfile:///x\\nfile:///y'",
            "install.no-index='1'",
            "freeze.timeout='3'",
        ]
    )
    assert bootstrap._pip_settings(listing) == {
        "find-links": "/a b",
        "extra-index-url": "file:///x file:///y",
        "no-index": "1",
    }


def test_bootstrap_does_nothing_when_all_is_there(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("started an installation")

    monkeypatch.setattr(bootstrap, "_installed", lambda: frozenset({"cpu", "lean", "dev"}))
    monkeypatch.setattr(bootstrap, "_check_space", refuse)
    bootstrap.ensure(frozenset({"cpu", "lean"}))
    with pytest.raises(AssertionError, match="started an installation"):
        bootstrap.ensure(frozenset({"cpu", "report"}))


def test_bootstrap_compiles_where_the_environment_says_not_to(
    bootstrap: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started: dict[str, Any] = {}
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setattr(bootstrap, "LOG", tmp_path / "log")
    monkeypatch.setattr(
        bootstrap.subprocess, "Popen", lambda command, **kw: started.update(kw, command=command)
    )
    bootstrap._compile_in_background()
    assert "PYTHONDONTWRITEBYTECODE" not in started["env"]
    assert "compileall" in started["command"][-1]


def test_bootstrap_names_a_missing_python() -> None:
    done = subprocess.run(
        ["sh", ROOT / "scripts" / "bootstrap.sh", "--extras", "cpu"],
        env={**os.environ, "PYTHON": "python-that-is-not-there"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "no Python 3.10, 3.11 or 3.12 found (looked for: python-that-is" in done.stderr
