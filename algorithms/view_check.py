"""Does a chat template let both views of a prompt ask for the same response?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from algorithms.views import (
    Message,
    Tokenizer,
    ViewMismatch,
    ViewTemplate,
    render_chat,
    teacher_messages,
    tokenise_chat,
)

_ANSWER = "ok"  # stands for any answer when chat templates are examined


@dataclass(frozen=True)
class ViewReport:
    """What `check_views` found: token counts of both prompts, of what they share at either end,
    the header of the assistant's turn, and whether the block is the only difference."""

    student_tokens: int
    teacher_tokens: int
    shared_prefix_tokens: int
    shared_suffix_tokens: int
    response_header: str
    only_block_differs: bool


def check_views(
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    pi_content: str,
    template: ViewTemplate,
    *,
    chat_template_kwargs: Mapping[str, Any] | None = None,
) -> ViewReport:
    """Refuse chat templates under which the two views do not ask for the same response.

    The header of the assistant's turn, and how a finished answer is rendered after it, must be
    equal token by token in both views; and the block must arrive in the teacher's prompt.

    Raises:
        ViewMismatch: they are not; the message names the fix.
    """
    kwargs = chat_template_kwargs
    try:
        privileged = teacher_messages(tokenizer, messages, pi_content, template, kwargs)
        student, teacher = (render_chat(tokenizer, m, kwargs) for m in (messages, privileged))
    except TemplateError as error:
        raise ViewMismatch(
            f"the chat template refuses the messages with position {template.position!r}: {error}; "
            "use position 'user_prefix' or 'user_suffix' if it has no system role"
        ) from error
    block = template.block(pi_content)
    if block.strip() not in teacher:
        raise ViewMismatch(
            f"the chat template leaves the privileged block at position {template.position!r} out "
            "of the prompt, or rewrites it: choose another position"
        )
    header = _check_headers(tokenizer, messages, privileged, kwargs)

    student_ids, teacher_ids = (tokenise_chat(tokenizer, m, kwargs) for m in (messages, privileged))
    prefix, suffix = (
        _shared(student_ids, teacher_ids),
        _shared(student_ids[::-1], teacher_ids[::-1]),
    )
    header_ids = _tail_tokens(tokenizer, messages, kwargs)
    if suffix < header_ids:
        raise ViewMismatch(
            f"the last {header_ids} tokens before the response are {student_ids[-header_ids:]} for "
            f"the student and {teacher_ids[-header_ids:]} for the teacher: the block runs into the "
            "response header; put it at position 'system', or end the template with a line break"
        )
    glued = (template.separator + block, block + template.separator, block)
    only_block = any(teacher.replace(text, "", 1) == student for text in glued)
    return ViewReport(
        len(student_ids), len(teacher_ids), prefix, suffix, header, only_block_differs=only_block
    )


def _check_headers(
    tokenizer: Tokenizer, student: Sequence[Message], teacher: Sequence[Message], kwargs: Any
) -> str:
    """The text between prompt and response, equal in both views."""
    headers = [_header(tokenizer, messages, kwargs) for messages in (student, teacher)]
    if headers[0] != headers[1]:
        raise ViewMismatch(
            f"the response starts after {headers[0]!r} in the student's view and after "
            f"{headers[1]!r} in the teacher's: fix the switch in chat_template_kwargs, for "
            "instance enable_thinking=false, or keep the words that trip it out of the block"
        )
    turns = [_answered_turn(tokenizer, messages, kwargs) for messages in (student, teacher)]
    if turns[0] != turns[1]:
        raise ViewMismatch(
            f"a finished answer is written {turns[0]!r} in the student's view and {turns[1]!r} in "
            "the teacher's: fix the switch in chat_template_kwargs, for instance "
            "enable_thinking=false"
        )
    # No header at all is fine where an answer follows the prompt directly (Mistral's "[/INST]").
    if not headers[0] and not turns[0].lstrip().startswith(_ANSWER):
        raise ViewMismatch(
            f"the chat template adds nothing for add_generation_prompt, but starts an answer with "
            f"{turns[0]!r}: use a chat template that writes the assistant header"
        )
    return headers[0]


def _header(tokenizer: Tokenizer, messages: Sequence[Message], kwargs: Any) -> str:
    closed = render_chat(tokenizer, messages, kwargs, add_generation_prompt=False)
    return render_chat(tokenizer, messages, kwargs)[len(closed) :]


def _answered_turn(tokenizer: Tokenizer, messages: Sequence[Message], kwargs: Any) -> str:
    closed = render_chat(tokenizer, messages, kwargs, add_generation_prompt=False)
    answered = [*messages, {"role": "assistant", "content": _ANSWER}]
    return render_chat(tokenizer, answered, kwargs, add_generation_prompt=False)[len(closed) :]


def _tail_tokens(tokenizer: Tokenizer, messages: Sequence[Message], kwargs: Any) -> int:
    """Number of tokens of the response header."""
    closed = tokenise_chat(tokenizer, messages, kwargs, add_generation_prompt=False)
    return len(tokenise_chat(tokenizer, messages, kwargs)) - len(closed)


def _shared(left: Sequence[int], right: Sequence[int]) -> int:
    for index, (a, b) in enumerate(zip(left, right, strict=False)):
        if a != b:
            return index
    return min(len(left), len(right))
