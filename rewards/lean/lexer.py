"""Lean's text cut into tokens, comments left out: enough to compare statements and find words.

Symbols are single characters, so `:=` is two tokens. That is coarser than Lean, which is fine: what
Lean is given is always the statement that was asked for, never the one in the response.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_SPACE = re.compile(r"\s+")
_LINE_COMMENT = re.compile(r"--[^\n]*")
_COMMENT_EDGE = re.compile(r"/-|-/")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_RAW_STRING = re.compile(r'r(#*)"')
_CHAR = re.compile(r"'(?:[^'\\\n]|\\(?:[^xu\n]|x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}))'")
# An atom may hold letters of any script, digits, subscripts, primes, ! and ?; dots join atoms. What
# stands between « and » may be anything, a quotation mark or the start of a comment too.
_ATOM = r"(?:«[^»]*»|[^\W\d][\w'!?₀-₉ₐ-ₜᵢ-ᵪ]*)"
_NAME = re.compile(rf"#?{_ATOM}(?:\.{_ATOM})*")
_NUMBER = re.compile(r"\d[\w]*(?:\.\d+)?")


class UnfinishedError(ValueError):
    """A comment or a string has no end."""


@dataclass(frozen=True)
class Token:
    text: str
    start: int
    end: int
    kind: str  # "name", "string", "number" or "symbol"


def tokens_of(text: str) -> list[Token]:
    """All tokens of `text`. Raises UnfinishedError on a comment or string without an end."""
    found: list[Token] = []
    at = 0
    while at < len(text):
        skipped = _skip(text, at)
        if skipped > at:
            at = skipped
            continue
        kind, end = _next(text, at)
        found.append(Token(text[at:end], at, end, kind))
        at = end
    return found


def _skip(text: str, at: int) -> int:
    if space := _SPACE.match(text, at):
        return space.end()
    if text.startswith("/-", at):
        return _comment_end(text, at)
    if comment := _LINE_COMMENT.match(text, at):
        return comment.end()
    return at


def _comment_end(text: str, at: int) -> int:
    depth, place = 0, at
    while edge := _COMMENT_EDGE.search(text, place):
        depth += 1 if edge.group() == "/-" else -1
        place = edge.end()
        if depth == 0:
            return place
    raise UnfinishedError(f"the comment that begins at character {at} has no end")


def _next(text: str, at: int) -> tuple[str, int]:
    first = text[at]
    if first == '"':
        if string := _STRING.match(text, at):
            return "string", string.end()
        raise UnfinishedError(f"the string that begins at character {at} has no end")
    if first == "r" and (raw := _RAW_STRING.match(text, at)):
        end = text.find('"' + raw.group(1), raw.end())
        if end < 0:
            raise UnfinishedError(f"the raw string that begins at character {at} has no end")
        return "string", end + 1 + len(raw.group(1))
    if first == "'" and (char := _CHAR.match(text, at)):
        return "string", char.end()
    for kind, pattern in (("name", _NAME), ("number", _NUMBER)):
        if match := pattern.match(text, at):
            return kind, match.end()
    return "symbol", at + 1


def nesting_of(tokens: list[Token]) -> int:
    """The deepest nesting of brackets. Lean's parser uses its stack for each level."""
    deepest = depth = 0
    for token in tokens:
        if token.kind == "symbol" and token.text in "([{⟨⟦":
            depth += 1
            deepest = max(deepest, depth)
        elif token.kind == "symbol" and token.text in ")]}⟩⟧":
            depth = max(0, depth - 1)
    return deepest
