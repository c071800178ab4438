"""Both prompt views of a data row under a stage's sampling settings. Imports nothing of verl."""

from __future__ import annotations

from typing import Any

from algorithms.runtime.stages import Sampling
from algorithms.views import PromptViews, ViewTemplate, build_prompt_views


def privileged_content(row: dict[str, Any], kind: str | None) -> str | None:
    """The content of the row's privileged entry of ``kind``; None where there is none."""
    if kind is None or kind == "none":
        return None
    for entry in row.get("privileged") or []:
        if entry["kind"] == kind:
            return entry["content"]
    return None


def row_views(
    tokenizer: Any, row: dict[str, Any], messages: list[dict], sampling: Sampling, **chat: Any
) -> PromptViews:
    """Both prompt views of a row under a stage's sampling settings.

    Raises:
        ViewOverflow: a view has more than ``sampling.max_prompt_tokens`` tokens.
    """
    return build_prompt_views(
        tokenizer,
        messages,
        privileged_content(row, sampling.pi_kind),
        ViewTemplate(**sampling.template),
        max_prompt_tokens=sampling.max_prompt_tokens,
        chat_template_kwargs=chat or None,
    )
