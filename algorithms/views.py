"""One trajectory seen twice: the student's prompt without privileged information (PI), the
teacher's with it, and after both the same response tokens.

The teacher's messages are the student's with the PI in a delimited block; nothing else differs.
Prompts are tokenised once by the chat template. Response token ids come from the sampler and are
never re-tokenised, so that both views share them exactly, over several turns too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from jinja2 import TemplateError

POSITIONS = ("system", "user_prefix", "user_suffix")
DEFAULT_BLOCK = "<privileged_information>\n{pi}\n</privileged_information>"
SLOT = "{pi}"

Message = Mapping[str, Any]


class Tokenizer(Protocol):
    """What is asked of a tokenizer; Hugging Face's have it."""

    def apply_chat_template(self, conversation: Any, **kwargs: Any) -> Any: ...


class ViewOverflow(ValueError):
    """A view's prompt has more tokens than allowed. Prompts are never cut."""

    def __init__(self, view: str, tokens: int, limit: int, row: str | int | None = None) -> None:
        super().__init__(view, tokens, limit, row)
        self.view, self.tokens, self.limit, self.row = view, tokens, limit, row

    def __str__(self) -> str:
        row = "" if self.row is None else f" of row {self.row}"
        return (
            f"the {self.view}'s prompt{row} has {self.tokens} tokens, the limit is {self.limit}: "
            "raise max_prompt_tokens, drop the row, or give shorter privileged information"
        )


class ViewMismatch(ValueError):
    """The chat template makes the views differ by more than the privileged block."""


@dataclass(frozen=True)
class ViewTemplate:
    """Where the privileged information goes, and in what words.

    Attributes:
        position: `system` appends the block to the system message; `user_prefix` and `user_suffix`
            put it before or after the text of the last user message.
        template: the block; `{pi}` stands for the content, exactly once. Other braces are text.
        name: for reports.
        separator: between the block and the text that it is added to.
        default_system: what `system` does for a conversation without a system message. Some chat
            templates (SmolLM2, Qwen2.5) then write a text of their own, which a system message
            with the block alone would replace. `keep` puts that text before the block, so that
            the views differ by the block alone; `replace` lets the block replace it. Where the
            template writes none, the system message holds the block alone under both. The
            student's view is always what the user gave.
    """

    position: str = "system"
    template: str = DEFAULT_BLOCK
    name: str = "default"
    separator: str = "\n\n"
    default_system: str = "keep"

    def __post_init__(self) -> None:
        if self.position not in POSITIONS:
            raise ValueError(
                f"unknown position {self.position!r}: choose one of {', '.join(POSITIONS)}"
            )
        if self.template.count(SLOT) != 1:
            raise ValueError(
                f"template {self.name!r} must hold {SLOT} exactly once, got {self.template!r}"
            )
        if self.default_system not in ("keep", "replace"):
            raise ValueError(
                f"default_system must be 'keep' or 'replace', got {self.default_system!r}"
            )

    def block(self, pi_content: str) -> str:
        """The delimited block. ValueError for blank content: a task without PI has None."""
        if not pi_content.strip():
            raise ValueError("privileged information is blank: give None for a task without any")
        before, after = self.template.split(SLOT)
        return before + pi_content + after


@dataclass(frozen=True)
class PromptViews:
    """Token ids of both prompts, each up to and with the header of the assistant's turn."""

    student_ids: list[int]
    teacher_ids: list[int]


@dataclass(frozen=True)
class TrajectoryViews:
    """Both views of a whole trajectory.

    Attributes:
        student_prompt_ids: prompt without PI.
        teacher_prompt_ids: prompt with PI.
        response_ids: everything after the prompt, in both views: generated and tool tokens.
        loss_mask: for each response token 1 if the model generated it, else 0.
    """

    student_prompt_ids: list[int]
    teacher_prompt_ids: list[int]
    response_ids: list[int] = field(default_factory=list)
    loss_mask: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        if len(self.response_ids) != len(self.loss_mask):
            raise ValueError(
                f"{len(self.response_ids)} response tokens but {len(self.loss_mask)} mask entries: "
                "give one 0 or 1 a token"
            )
        if any(flag not in (0, 1) for flag in self.loss_mask):
            raise ValueError("loss_mask must hold 0 and 1 only")
        if not self.student_prompt_ids or not self.teacher_prompt_ids:
            raise ValueError("a prompt is empty: its last token predicts the first response token")

    @classmethod
    def start(cls, prompts: PromptViews) -> TrajectoryViews:
        """A trajectory before its first response token."""
        return cls(list(prompts.student_ids), list(prompts.teacher_ids))

    def generated(self, token_ids: Sequence[int]) -> TrajectoryViews:
        """With tokens that the model sampled appended."""
        return self._extended(token_ids, 1)

    def observed(self, token_ids: Sequence[int]) -> TrajectoryViews:
        """With tokens that it did not sample appended: tool output, user turns, headers."""
        return self._extended(token_ids, 0)

    def prompt_ids(self, view: str) -> list[int]:
        """The prompt of `student` or `teacher`."""
        if view not in ("student", "teacher"):
            raise ValueError(f"unknown view {view!r}: choose student or teacher")
        return self.student_prompt_ids if view == "student" else self.teacher_prompt_ids

    def input_ids(self, view: str) -> list[int]:
        """Prompt and response of one view."""
        return [*self.prompt_ids(view), *self.response_ids]

    def predicting_positions(self, view: str) -> list[int]:
        """Indices into `input_ids(view)` whose hidden states predict the generated tokens, in
        order: entry i of both views belongs to the same token."""
        first = len(self.prompt_ids(view)) - 1
        return [first + index for index, flag in enumerate(self.loss_mask) if flag]

    def target_ids(self) -> list[int]:
        """The generated tokens, in the order of `predicting_positions`."""
        return [
            token for token, flag in zip(self.response_ids, self.loss_mask, strict=True) if flag
        ]

    def _extended(self, token_ids: Sequence[int], flag: int) -> TrajectoryViews:
        return TrajectoryViews(
            self.student_prompt_ids,
            self.teacher_prompt_ids,
            [*self.response_ids, *token_ids],
            [*self.loss_mask, *[flag] * len(token_ids)],
        )


def privileged_messages(
    messages: Sequence[Message],
    pi_content: str,
    template: ViewTemplate,
    *,
    default_system: str | None = None,
) -> list[dict[str, Any]]:
    """Copies of the messages with the privileged block in one of them.

    Args:
        messages: chat messages; contents are strings or lists of typed parts.
        pi_content: the privileged information, not blank.
        template: where and how.
        default_system: text that the chat template writes where no system message is given, see
            `default_system_text`. Used by position `system` with `default_system="keep"`.

    Raises:
        ValueError: blank content, or a user position without a user message.
    """
    copied = [dict(message) for message in messages]
    block = template.block(pi_content)
    if template.position == "system":
        if not copied or copied[0]["role"] != "system":
            kept = default_system if template.default_system == "keep" else None
            copied.insert(0, {"role": "system", "content": kept or ""})
        index = 0
    else:
        users = [i for i, message in enumerate(copied) if message["role"] == "user"]
        if not users:
            raise ValueError(
                f"position {template.position!r} needs a user message, roles are "
                f"{[message['role'] for message in copied]}: use position 'system'"
            )
        index = users[-1]
    before = template.position == "user_prefix"
    copied[index]["content"] = _joined(copied[index]["content"], block, template.separator, before)
    return copied


def _joined(content: Any, block: str, separator: str, before: bool) -> Any:
    if not isinstance(content, str):  # typed parts: the block is a text part of its own
        text = block + separator if before else separator + block
        part = {"type": "text", "text": text}
        return [part, *content] if before else [*content, part]
    if not content:
        return block
    return block + separator + content if before else content + separator + block


def default_system_text(
    tokenizer: Tokenizer, *, chat_template_kwargs: Mapping[str, Any] | None = None
) -> str | None:
    """The system text that the chat template writes on its own; None if it writes none."""
    user = {"role": "user", "content": "x"}
    probe = "\u2063probe\u2063"
    try:
        with_probe = render_chat(
            tokenizer, [{"role": "system", "content": probe}, user], chat_template_kwargs
        )
    except TemplateError:  # the template refuses system messages
        return None
    bare = render_chat(tokenizer, [user], chat_template_kwargs)
    before, found, after = with_probe.partition(probe)
    if not found or not (bare.startswith(before) and bare.endswith(after)):
        return None
    text = bare[len(before) : len(bare) - len(after)] if len(bare) >= len(before + after) else ""
    return text or None


def build_prompt_views(
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    pi_content: str | None,
    template: ViewTemplate,
    *,
    max_prompt_tokens: int,
    chat_template_kwargs: Mapping[str, Any] | None = None,
    row: str | int | None = None,
) -> PromptViews:
    """Token ids of the student's and the teacher's prompt.

    Args:
        tokenizer: with a chat template.
        messages: the student's messages.
        pi_content: privileged information; None gives two equal views.
        template: where the block goes.
        max_prompt_tokens: limit of each view.
        chat_template_kwargs: passed to the chat template for both views, for instance
            `{"enable_thinking": False}` or `{"tools": [...]}`.
        row: names the row in errors.

    Raises:
        ViewOverflow: a view is longer than the limit.
        ValueError: see `privileged_messages`.
    """
    student_ids = tokenise_chat(tokenizer, messages, chat_template_kwargs)
    teacher_ids = student_ids
    if pi_content is not None:
        privileged = teacher_messages(
            tokenizer, messages, pi_content, template, chat_template_kwargs
        )
        teacher_ids = tokenise_chat(tokenizer, privileged, chat_template_kwargs)
    for view, ids in (("student", student_ids), ("teacher", teacher_ids)):
        if len(ids) > max_prompt_tokens:
            raise ViewOverflow(view, len(ids), max_prompt_tokens, row)
    return PromptViews(list(student_ids), list(teacher_ids))


def teacher_messages(
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    pi_content: str,
    template: ViewTemplate,
    kwargs: Mapping[str, Any] | None,
) -> list[dict[str, Any]]:
    needs_default = (
        template.position == "system"
        and template.default_system == "keep"
        and not (len(messages) and messages[0]["role"] == "system")
    )
    default = default_system_text(tokenizer, chat_template_kwargs=kwargs) if needs_default else None
    return privileged_messages(messages, pi_content, template, default_system=default)


def render_chat(
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    kwargs: Mapping[str, Any] | None,
    *,
    add_generation_prompt: bool = True,
) -> str:
    return tokenizer.apply_chat_template(
        [dict(message) for message in messages],
        add_generation_prompt=add_generation_prompt,
        tokenize=False,
        **(kwargs or {}),
    )


def tokenise_chat(
    tokenizer: Tokenizer,
    messages: Sequence[Message],
    kwargs: Mapping[str, Any] | None,
    *,
    add_generation_prompt: bool = True,
) -> list[int]:
    ids = tokenizer.apply_chat_template(
        [dict(message) for message in messages],
        add_generation_prompt=add_generation_prompt,
        tokenize=True,
        return_dict=False,
        **(kwargs or {}),
    )
    return [int(token) for token in ids]
