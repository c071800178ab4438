"""What an episode's record says the model did: its tool calls, and its replies to the user.

Nothing else in a record counts: results of tools and words of the user may be the model's own
invention, so the calls are made again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

RESPOND = "respond"
_MAX_DEPTH = 64
_CALL, _CALL_END = "<tool_call>", "</tool_call>"
_TURN, _TURN_END = "<|im_start|>", "<|im_end|>"
# What a user does not get to read.
_HIDDEN = (("<think>", "</think>"), ("<tool_response>", "</tool_response>"))


class TranscriptError(ValueError):
    """The response is no record of an episode. `reason` is a verdict's: malformed or no_answer."""

    def __init__(self, message: str, reason: str = "malformed") -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Action:
    """One tool call, or a reply to the user: `respond` with `content`, as in the benchmark.

    fault: why the call cannot be made, such as arguments that are no JSON.
    """

    name: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    fault: str = ""


def actions_of(response: str) -> list[Action]:
    """The model's actions in order.

    response: JSON, either a list of OpenAI-style messages (also under the key "messages" or
    "traj") or a list of actions {"name", "kwargs" or "arguments"}; or text, in which calls stand
    in <tool_call> blocks. Raises TranscriptError.
    """
    stripped = response.strip()
    if not stripped:
        raise TranscriptError("the response is empty", "no_answer")
    if stripped[0] in "[{":
        actions = list(_of_list(_listed(_json(stripped))))
    else:
        actions = list(_of_text(stripped))
    if not actions:
        raise TranscriptError("the response has no tool call and no reply", "no_answer")
    return actions


def _listed(value: Any) -> list[Any]:
    if isinstance(value, dict):
        value = value.get("messages", value.get("traj"))
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise TranscriptError("expected a JSON list of messages or of actions")
    return value


def _of_list(entries: list[dict[str, Any]]) -> Iterator[Action]:
    for entry in entries:
        if "role" not in entry:
            yield _action(entry.get("name"), entry.get("kwargs", entry.get("arguments", {})))
        elif entry["role"] == "assistant":
            yield from _of_message(entry)


def _of_message(message: dict[str, Any]) -> Iterator[Action]:
    """Words beside a call are no reply: the benchmark does not show them to the user."""
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list):
        raise TranscriptError("tool_calls is not a list")
    content = _content(message.get("content"))
    if not calls:
        yield from _of_turn(content)
    for call in calls:
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict):
            raise TranscriptError("a tool call without a function")
        yield _action(function.get("name"), function.get("arguments", {}))


def _content(content: Any) -> str:
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "\n".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _of_turn(content: str) -> Iterator[Action]:
    """One turn of the model: Hermes-style calls, or else a reply."""
    actions = list(_seen(content))
    calls = [action for action in actions if action.name != RESPOND]
    yield from calls or actions


def _of_text(text: str) -> Iterator[Action]:
    """A decoded rollout. With ChatML's markers the model's turns are known; without them all text
    outside of the blocks counts as its reply."""
    own, *turns = text.split(_TURN)
    if not turns:
        yield from _seen(text.replace(_TURN_END, ""))
        return
    yield from _of_turn(own.partition(_TURN_END)[0])
    for turn in turns:
        role, _, content = turn.partition("\n")
        if role.strip() == "assistant":
            yield from _of_turn(content.partition(_TURN_END)[0])


def _seen(text: str) -> Iterator[Action]:
    """Calls and replies. A call in a thought was made all the same: whoever plays the episode
    looks for calls in the whole text. Then the replies come last."""
    visible = _visible(text)
    if visible.count(_CALL) == text.count(_CALL):
        yield from _pieces(visible)
        return
    yield from (action for action in _pieces(text) if action.name != RESPOND)
    yield from (action for action in _pieces(visible) if action.name == RESPOND)


def _visible(text: str) -> str:
    """Without thoughts and results of tools. One that does not end hides all that follows, and a
    thought may have begun in the prompt."""
    opening, closing = _HIDDEN[0]
    before, closed, after = text.partition(closing)
    if closed and opening not in before:
        text = after
    for opening, closing in _HIDDEN:
        kept, *hidden = text.split(opening)
        text = kept + "".join(piece.partition(closing)[2] for piece in hidden)
    return text


def _pieces(text: str) -> Iterator[Action]:
    """Calls and what stands between them, as replies."""
    reply, *blocks = text.split(_CALL)
    if reply.strip():
        yield Action(RESPOND, {"content": reply})
    for block in blocks:
        call, ended, reply = block.partition(_CALL_END)
        yield _hermes(call) if ended else Action("", fault="the tool call does not end")
        if reply.strip():
            yield Action(RESPOND, {"content": reply})


def _hermes(block: str) -> Action:
    try:
        call = _json(block)
    except TranscriptError as err:
        return Action("", fault=f"the tool call is not JSON: {err}")
    if not isinstance(call, dict) or not isinstance(call.get("name"), str):
        return Action("", fault="the tool call is not a JSON object with a name")
    return _action(call.get("name"), call.get("arguments", call.get("kwargs", {})))


def _action(name: Any, arguments: Any) -> Action:
    if not isinstance(name, str):
        raise TranscriptError("a tool call without a name")
    if isinstance(arguments, str):
        try:
            arguments = _json(arguments) if arguments.strip() else {}
        except TranscriptError as err:
            return Action(name, fault=f"the arguments are not JSON: {err}")
    if not isinstance(arguments, dict):
        return Action(name, fault="the arguments are not a JSON object")
    return Action(name, arguments)


def _json(text: str) -> Any:
    """JSON with finite numbers, at most 64 levels deep. Raises TranscriptError."""
    try:
        value = json.loads(text, parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise TranscriptError("it is nested too deep") from None
    except ValueError as err:
        raise TranscriptError(str(err)) from None
    _check_depth(value)
    return value


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is not a finite number")
    return value


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > _MAX_DEPTH:
            raise TranscriptError(f"it is nested more than {_MAX_DEPTH} deep")
        nested: list[Any] = []
        for inner in level:
            if isinstance(inner, dict):
                nested.extend(inner.values())
            elif isinstance(inner, list):
                nested.extend(inner)
        level = nested
