"""Settings for every test: quiet, offline, one thread for numeric code unless told otherwise."""

from __future__ import annotations

import importlib.util
import os

import pytest

# Before torch is imported. Ray's processes inherit them.
os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("WANDB_MODE", "disabled")


# First, since they take the longest.
LONGEST = ("test_core_lean_checked.py", "test_lean_real.py", "test_hostile_programs.py")


def pytest_addoption(parser: pytest.Parser) -> None:
    """verl's runs want the machine for themselves, the others can share it: two calls of pytest."""
    parser.addoption(
        "--e2e",
        choices=("skip", "only"),
        help="leave out tests of minutes, or all others",
    )
    parser.addoption(
        "--conformance",
        action="store_true",
        help="also the tests on published data, in the folder that VERL_PI_DATA names",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Choose what ``--e2e`` asks for, and skip what cannot run here, saying why."""
    _skip_without_vllm(items)
    _skip_conformance(config, items)
    wanted = config.getoption("--e2e")
    if wanted is None:
        return
    chosen, left_out = [], []
    for item in items:
        fits = ("e2e" in item.keywords) == (wanted == "only")
        (chosen if fits else left_out).append(item)
    config.hook.pytest_deselected(items=left_out)
    items[:] = sorted(chosen, key=lambda item: item.path.name not in LONGEST)


def _skip_without_vllm(items: list[pytest.Item]) -> None:
    if importlib.util.find_spec("vllm") is not None:
        return
    skip = pytest.mark.skip(reason="vLLM is not installed: run `make vllm`")
    for item in items:
        if "vllm" in item.keywords:
            item.add_marker(skip)


def _skip_conformance(config: pytest.Config, items: list[pytest.Item]) -> None:
    asked = config.getoption("--conformance")
    if asked and not os.environ.get("VERL_PI_DATA"):
        raise pytest.UsageError("--conformance: set VERL_PI_DATA to the folder with the data sets")
    skip = pytest.mark.skip(reason="on published data: VERL_PI_DATA=FOLDER pytest --conformance")
    for item in items:
        if "conformance" in item.keywords and not asked:
            item.add_marker(skip)
