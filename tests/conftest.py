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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what cannot run here, saying why, and tell pytest-xdist what has to run one by one."""
    _skip_without_vllm(items)
    # Ray's runs are the longest and each wants most of the machine: one after the other, at first.
    items.sort(key=lambda item: "e2e" not in item.keywords)
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))


def _group(item: pytest.Item) -> str:
    """Tests that share a process under ``--dist loadgroup``: by their costliest resource."""
    for resource in ("e2e", "lean"):
        if resource in item.keywords:
            return resource
    return item.path.stem


def _skip_without_vllm(items: list[pytest.Item]) -> None:
    if importlib.util.find_spec("vllm") is not None:
        return
    skip = pytest.mark.skip(reason="vLLM is not installed: run `make vllm`")
    for item in items:
        if "vllm" in item.keywords:
            item.add_marker(skip)
