"""From a Lean 4 proof to its have-skeleton: the steps' statements without their proofs.

Each outermost `have NAME : STATEMENT := PROOF` becomes `have NAME : STATEMENT := by sorry`;
everything else, the closing tactic too, stays. Steps inside a proof that is dropped go with it.
The extent of a proof follows Lean's layout: it lasts while lines are indented deeper than the
`have`, and ends at a closing bracket, or at a `;` where it is no tactic block.
"""

from __future__ import annotations

from dataclasses import dataclass

from data_prep.errors import DataError
from data_prep.lean_text import CLOSING, OPENING, Token, drop_comments, tokens

STEP_WORDS = frozenset({"have", "haveI"})
SORRY = "by sorry"


@dataclass(frozen=True)
class Skeleton:
    """`text` is the skeleton. `replaced` counts its steps with the proof taken out, `untyped`
    those kept whole because they state nothing (`have h := term`): their term is all there is."""

    text: str
    replaced: int
    untyped: int


def skeleton(proof: str, *, comments: bool = True) -> Skeleton:
    """The have-skeleton of a tactic block, or of a whole theorem with its proof.

    `comments=False` drops comments too: in some data sets they tell the proof in words. Comments
    inside a proof that is dropped go in any case. Raises DataError for a step without `:=`.
    """
    source = proof if comments else drop_comments(proof)
    stream = [token for token in tokens(source) if token.kind != "space"]
    pieces: list[str] = []
    position = i = replaced = untyped = 0
    while i < len(stream):
        if not _is_step(stream[i]):
            i += 1
            continue
        step = _read_step(source, stream, i)
        if step.typed:
            pieces += [source[position : step.body_start], SORRY]
            position, i = step.body_end, step.next
            replaced += 1
        else:
            untyped += 1
            i += 1  # steps inside its term are outermost now
    return Skeleton("".join(pieces) + source[position:], replaced, untyped)


@dataclass(frozen=True)
class _Step:
    """Offsets of one step's proof in the source, and the index of the token after it."""

    body_start: int
    body_end: int
    next: int
    typed: bool


def _is_step(token: Token) -> bool:
    return token.kind == "word" and token.text in STEP_WORDS


def _read_step(source: str, stream: list[Token], start: int) -> _Step:
    column = _column(source, stream[start])
    assign, typed = _find_assign(source, stream, start, column)
    first = assign + 1
    while first < len(stream) and stream[first].kind == "comment":
        first += 1
    if first >= len(stream) or _leaves_block(source, stream[first], column, body=True):
        raise _error(source, stream[start], "nothing follows its `:=`", "write the step's proof")
    end = _find_end(source, stream, first, column)
    return _Step(stream[first].start, stream[end - 1].end, end, typed)


def _find_assign(source: str, stream: list[Token], start: int, column: int) -> tuple[int, bool]:
    """The index of the step's `:=` outside brackets, and whether a type stands before it."""
    depth, typed = 0, False
    for i in range(start + 1, len(stream)):
        word = stream[i].text
        if stream[i].kind == "comment":
            continue
        if depth == 0 and word == ":=":
            return i, typed
        if depth == 0 and (word in CLOSING or _leaves_block(source, stream[i], column)):
            break
        depth += (word in OPENING) - (word in CLOSING)
        typed = typed or (depth == 0 and word == ":")
    raise _error(
        source,
        stream[start],
        "no `:=` follows its statement",
        "write the step as `have NAME : STATEMENT := PROOF`",
    )


def _find_end(source: str, stream: list[Token], first: int, column: int) -> int:
    """The index after the last token of the proof that begins at `first`."""
    depth, tactics = 0, False  # after `by`, a `;` separates tactics of the proof itself
    end = len(stream)
    for i in range(first, len(stream)):
        word = stream[i].text
        if stream[i].kind == "comment":
            continue
        closes = word in CLOSING or (word in (";", "<;>") and not tactics)
        if (depth == 0 and closes) or (i > first and _leaves_block(source, stream[i], column)):
            end = i
            break
        tactics = tactics or (depth == 0 and word == "by")
        depth += (word in OPENING) - (word in CLOSING)
    # The last comments belong to what follows where they stand out of the block.
    while stream[end - 1].kind == "comment" and _leaves_block(source, stream[end - 1], column):
        end -= 1
    return end


def _leaves_block(source: str, token: Token, column: int, *, body: bool = False) -> bool:
    """Whether `token` begins a line at or before `column`. A proof's own first token (`body`)
    may stand at the column itself where it is `by` or `fun`: it can be no new tactic."""
    line_start = source.rfind("\n", 0, token.start) + 1
    if source[line_start : token.start].strip():
        return False
    if body and token.text in ("by", "fun", "λ"):
        return token.start - line_start < column
    return token.start - line_start <= column


def _column(source: str, token: Token) -> int:
    return token.start - (source.rfind("\n", 0, token.start) + 1)


def _error(source: str, token: Token, problem: str, mend: str) -> DataError:
    line = source.count("\n", 0, token.start) + 1
    return DataError(f"line {line}", f"`{token.text}` step", problem, mend)
