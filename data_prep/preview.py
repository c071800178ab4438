"""`python -m data_prep show`: rows as the model will see them, and what fits.

The student's and the teacher's view come from `algorithms.views`, as in training.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from algorithms.views import (
    DEFAULT_BLOCK,
    POSITIONS,
    ViewTemplate,
    privileged_messages,
    render_chat,
    teacher_messages,
    tokenise_chat,
)
from data_prep.errors import DataError, no_rows
from data_prep.family import Option, json_object
from data_prep.options import help_text, parse, positive
from data_prep.progress import Ticker
from data_prep.schema import Row, RowFile, privileged

OPTIONS = (
    Option("rows", int, 3, "how many rows are shown"),
    Option("model", str, None, "a folder or hub id with the tokenizer; without it: characters"),
    Option("kind", str, None, "privileged information of the teacher's view (default: most rows')"),
    Option("position", str, "system", f"of the block: {', '.join(POSITIONS)}"),
    Option("max_prompt_tokens", positive, 1024, "views longer than this overflow"),
    Option("measured", positive, 2000, "the lengths are those of the first so many rows"),
    Option(
        "chat", json_object, {}, "for the chat template, such as '{\"enable_thinking\": false}'"
    ),
)
ABOUT = "Prints rows with both views, lengths, overflow, and the share of rows with each kind."
RULE = "-" * 80
# Of a row whose user is simulated; many chat templates refuse a conversation without a user.
SIMULATED = {"role": "user", "content": "(what the simulated user says first)"}


@dataclass
class Survey:
    """What is counted in one pass over a file."""

    total: int = 0
    splits: Counter[str] = field(default_factory=Counter)
    levels: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    first: list[Row] = field(default_factory=list)


def main(arguments: list[str]) -> int:
    """The command. Returns the exit status."""
    if arguments[:1] in (["--help"], ["-h"]):
        print(help_text("show FILE [key=value ...]", ABOUT, OPTIONS))
        return 0
    (path,), options = parse("show", arguments, OPTIONS)
    survey = _survey(RowFile(path), max(options["rows"], options["measured"]))
    kind = options["kind"] or next(iter(dict(survey.kinds.most_common(1))), None)
    if options["kind"] and kind not in survey.kinds:
        mend = (
            f"use one of {', '.join(survey.kinds)}" if survey.kinds else "see data_prep pi --help"
        )
        raise DataError(path, "option `kind`", f"no row has `{kind}`", mend)
    viewer = Viewer(_tokenizer(options["model"]), _template(options["position"]), options["chat"])
    print(_summary(path, survey))
    print(_lengths(viewer, survey.first[: options["measured"]], kind, options))
    for number, row in enumerate(survey.first[: options["rows"]]):
        print(_shown(viewer, number, row, kind))
    return 0


class Viewer:
    """Both views of a row, as text and as a length: tokens, or characters without a tokenizer."""

    def __init__(self, tokenizer: Any, template: ViewTemplate, chat: dict[str, Any]) -> None:
        self.tokenizer, self.template, self.chat = tokenizer, template, chat
        self.unit = "characters" if tokenizer is None else "tokens"

    def messages(self, row: Row, content: str | None) -> Sequence[Any]:
        """The student's messages (content None), or the teacher's."""
        prompt = row["prompt"]
        if not any(message["role"] == "user" for message in prompt):
            prompt = [*prompt, SIMULATED]
        if content is None:
            return prompt
        if self.tokenizer is None:
            return privileged_messages(prompt, content, self.template)
        return teacher_messages(self.tokenizer, prompt, content, self.template, self.chat)

    def text(self, messages: Sequence[Any]) -> str:
        if self.tokenizer is None:
            return "\n".join(f"[{m['role']}]\n{m['content']}" for m in messages)
        return render_chat(self.tokenizer, messages, self.chat)

    def length(self, messages: Sequence[Any]) -> int:
        if self.tokenizer is None:
            return sum(len(message["content"]) for message in messages)
        return len(tokenise_chat(self.tokenizer, messages, self.chat))


def _survey(rows: RowFile, keep: int) -> Survey:
    survey, ticker = Survey(), Ticker("show")
    for row in rows:
        if survey.total < keep:
            survey.first.append(row)
        survey.total += 1
        survey.splits[row["split"]] += 1
        survey.levels[row["level"]] += 1
        survey.kinds.update(entry["kind"] for entry in row["privileged"])
        ticker.tick(survey.total)
    ticker.close()
    if not survey.total:
        raise no_rows(rows.path)
    return survey


def _summary(path: str, survey: Survey) -> str:
    def counts(counter: Counter[str]) -> str:
        shown = [f"{name or '(none)'} {count}" for name, count in sorted(counter.items())]
        return ", ".join(shown[:20]) + (", ..." if len(shown) > 20 else "")

    lines = [
        f"{path}: {survey.total} rows",
        f"split: {counts(survey.splits)}",
        f"level: {counts(survey.levels)}",
        "privileged:" + ("" if survey.kinds else " none"),
    ]
    for kind, count in survey.kinds.most_common():
        lines.append(f"  {kind:<26} {count:>9} rows  {count / survey.total:>6.1%}")
    return "\n".join(lines)


def _lengths(viewer: Viewer, rows: list[Row], kind: str | None, options: dict[str, Any]) -> str:
    student = [viewer.length(viewer.messages(row, None)) for row in rows]
    pairs = [(row, content) for row in rows if (content := _content(row, kind)) is not None]
    teacher = [viewer.length(viewer.messages(row, content)) for row, content in pairs]
    limit = options["max_prompt_tokens"]
    lines = [f"{viewer.unit} of the first {len(rows)} rows:  min  median  max"]
    for name, found in (("student", student), (f"teacher ({kind})", teacher)):
        if found:
            line = f"  {name:<26} {min(found)}  {median(found):.0f}  {max(found)}"
            if viewer.tokenizer is not None:
                line += f"  overflow (over {limit}): {sum(n > limit for n in found)} rows"
            lines.append(line)
    return "\n".join(lines)


def _shown(viewer: Viewer, number: int, row: Row, kind: str | None) -> str:
    verifier, truth = row["reward_model"]["style"], row["reward_model"]["ground_truth"]
    parts = [
        RULE,
        f"row {number}  uid {row['uid']}  {row['data_source']}  split {row['split']}  "
        f"level {row['level'] or '(none)'}",
        f"verifier {verifier}, ground truth: {truth if len(truth) <= 200 else truth[:197] + '...'}",
        _view(viewer, "student", row, None),
    ]
    content = _content(row, kind)
    if content is None:
        parts.append("== teacher: the student's view (no privileged information)")
    else:
        parts.append(_view(viewer, f"teacher ({kind})", row, content))
    return "\n".join(parts)


def _view(viewer: Viewer, name: str, row: Row, content: str | None) -> str:
    messages = viewer.messages(row, content)
    return f"== {name}: {viewer.length(messages)} {viewer.unit}\n{viewer.text(messages)}"


def _content(row: Row, kind: str | None) -> str | None:
    content = None if kind is None else privileged(row, kind)
    return content if content and content.strip() else None


def _template(position: str) -> ViewTemplate:
    if position not in POSITIONS:
        raise DataError(
            "command show", "option `position`", f"`{position}`", f"use {', '.join(POSITIONS)}"
        )
    return ViewTemplate(position, DEFAULT_BLOCK)


def _tokenizer(model: str | None) -> Any:
    if model is None:
        return None
    from transformers import AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(model)
    except (OSError, ValueError) as error:
        problem = f"no tokenizer ({str(error).splitlines()[0][:200]})"
        mend = "give a folder with a tokenizer, or a hub id"
        raise DataError(f"model {model}", "tokenizer", problem, mend) from error
    if not tokenizer.chat_template:
        mend = "use an instruction-tuned model's tokenizer"
        raise DataError(f"model {model}", "tokenizer", "it has no chat template", mend)
    return tokenizer
