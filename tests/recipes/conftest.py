"""The demonstration model, which these tests read and never fetch, and a whole synthetic run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from run_writer import RunWriter, report_of, whole_run

from recipes import demo_model


@pytest.fixture(scope="session")
def demo_folder() -> Path:
    """The converted demonstration model's folder."""
    folder = demo_model.cache_home() / demo_model.NAME
    if not demo_model._is_complete(folder):
        pytest.fail(f"no demonstration model in {folder}: run `python -m recipes.demo_model`")
    return demo_model.ensure_demo_model()


@pytest.fixture(scope="session")
def demo_tokenizer(demo_folder: Path):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(demo_folder)


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunWriter, dict[str, Any]]:
    """A whole synthetic run and its report."""
    run = whole_run(tmp_path_factory.mktemp("o") / "opsd_skeleton" / "run1")
    return run, report_of(run)
