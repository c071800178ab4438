"""Hints that the model writes itself, from a successful answer to the task (`self_hint`).

The model is asked for two or three sentences; what it writes becomes the privileged information of
that response's teacher (arXiv 2602.04942 calls these self-generated hints).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

SELF_HINT = "self_hint"
MAX_SENTENCES = 3

REQUEST = (
    "Here is a task:\n\n{task}\n\nHere is a successful answer to it:\n\n{solution}\n\n"
    "In two or three sentences, give someone who has not seen this answer the hint that would help "
    "them most. Do not copy the answer."
)


def hint_request(messages: Sequence[Mapping[str, Any]], solution: str) -> list[dict[str, Any]]:
    """The messages that ask for a hint: one user message with the task and its answer."""
    task = "\n\n".join(_text(m["content"]) for m in messages if m["role"] != "system")
    return [{"role": "user", "content": REQUEST.format(task=task, solution=solution)}]


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "") for part in content)


def hint_of(answer: str) -> str | None:
    """The first sentences of what the model wrote; None where it wrote nothing."""
    sentences = re.split(r"(?<=[.!?])\s+", answer.strip())
    return " ".join(sentences[:MAX_SENTENCES]).strip() or None
