"""Lean 4 source as tokens: comments and strings recognised, positions kept."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from data_prep.errors import DataError

OPENING = {"(": ")", "[": "]", "{": "}", "⟨": "⟩", "⦃": "⦄", "⟦": "⟧"}
CLOSING = {close: open_ for open_, close in OPENING.items()}

_TOKEN = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<string>r?"(?:\\.|[^"\\])*")
  | (?P<char>'(?:\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)|[^'\\\n])')
  | (?P<number>0[xX][0-9a-fA-F]+|0[bB][01]+|\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)
  | (?P<word>(?:«[^»\n]*»|(?!λ)[^\W\d][\w'!?]*)(?:\.(?:«[^»\n]*»|(?!λ)[^\W\d][\w'!?]*|\d+))*)
  | (?P<symbol>:=|\|>\.|<;>|<\|>|\|>|<\||>>=|->|<-|=>|<=|>=|!=|==|&&|\|\||\+\+|::|\.\.|/\\|\\/|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_MARK = re.compile(r"/-|-/")


@dataclass(frozen=True)
class Token:
    """One token. `kind` is space, comment, string, char, number, word or symbol."""

    kind: str
    text: str
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.text)


def tokens(source: str) -> Iterator[Token]:
    """Every token of `source`, in order; joined, their texts give `source` again.

    Raises DataError for a block comment that is never closed.
    """
    position = 0
    while position < len(source):
        if source.startswith("--", position):
            end = source.find("\n", position)
            token = Token("comment", source[position : end if end >= 0 else None], position)
        elif source.startswith("/-", position):
            token = Token("comment", source[position : _comment_end(source, position)], position)
        else:
            match = _TOKEN.match(source, position)
            assert match is not None and match.lastgroup is not None  # the last branch takes all
            token = Token(match.lastgroup, match.group(), position)
        yield token
        position = token.end


def code_tokens(source: str) -> list[Token]:
    """The tokens without white space and comments."""
    return [token for token in tokens(source) if token.kind not in ("space", "comment")]


def drop_comments(source: str) -> str:
    """`source` without comments, and without the lines that held nothing else."""
    kept = "".join("\0" if t.kind == "comment" else t.text for t in tokens(source))
    lines = [
        line for line in kept.split("\n") if line.replace("\0", "").strip() or "\0" not in line
    ]
    return "\n".join(line.replace("\0", "").rstrip() for line in lines)


def _comment_end(source: str, start: int) -> int:
    depth = 0
    for mark in _COMMENT_MARK.finditer(source, start):
        depth += 1 if mark.group() == "/-" else -1
        if depth == 0:
            return mark.end()
    line = source.count("\n", 0, start) + 1
    raise DataError(f"line {line}", "Lean source", "a `/-` comment is never closed", "add `-/`")
