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
    """Skip what needs vLLM where it is not installed, and say how to get it."""
    if importlib.util.find_spec("vllm") is not None:
        return
    skip = pytest.mark.skip(reason="vLLM is not installed: run `make vllm`")
    for item in items:
        if "vllm" in item.keywords:
            item.add_marker(skip)
