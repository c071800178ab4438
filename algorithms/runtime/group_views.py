"""The teacher's prompts where its information comes from the group that was just sampled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from algorithms.group_pi import Answer, contents
from algorithms.runtime.rows import SampledBatch
from algorithms.views import PromptViews, ViewOverflow


def show_the_group(
    batch: SampledBatch,
    groups: Sequence[str],
    kind: str,
    texts: Sequence[str],
    prompt_views: Callable[[list[dict[str, Any]], str], PromptViews],
) -> dict[str, float]:
    """Write the teacher's prompts into ``batch``; a view that does not fit leaves a row without.

    Args:
        groups: the task of every row.
        kind: one of ``algorithms.group_pi.GROUP_KINDS``.
        texts: the response of every row.
        prompt_views: both prompts of messages and privileged content.

    Returns:
        Metrics: the shares of responses with information, and of those whose view is too long.
    """
    real = batch.real()
    answers = []
    for index in real:
        verdict = batch.verdict(index) or {}
        passed = batch.judged(index) and bool(verdict.get("acc"))
        answers.append(Answer(groups[index], texts[index], passed, verdict.get("feedback") or ""))
    shown = overflow = 0
    for index, content in zip(real, contents(kind, answers), strict=True):
        batch.extra[index]["has_privileged"] = False
        if content is None:
            continue
        try:
            views = prompt_views(batch.messages[index], content)
        except ViewOverflow:
            overflow += 1
            continue
        batch.teacher_prompts[index] = torch.tensor(views.teacher_ids, dtype=torch.int64)
        batch.extra[index]["has_privileged"] = True
        shown += 1
    rows = max(len(real), 1)
    return {"group_pi/shown_share": shown / rows, "group_pi/overflow_share": overflow / rows}
