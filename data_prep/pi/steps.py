"""The first step of a gold solution: a sentence, a tactic of Lean, a statement of code.

Never the whole solution: where nothing follows the step there is none.
"""

from __future__ import annotations

import ast
import re
from itertools import pairwise

from data_prep.errors import DataError
from data_prep.lean_text import CLOSING, OPENING, Token, drop_comments, tokens
from data_prep.pi.builder import Row, ground_truth, ground_truth_object, stored

FENCED = re.compile(r"```\w*\n(.*?)\n?```", re.S)
_MATHS = re.compile(r"\$\$.*?\$\$|\$[^$]*\$|\\\[.*?\\\]|\\\(.*?\\\)", re.S)
_DISPLAY = re.compile(
    r"\n\s*(?:\\\[.*?\\\]|\$\$.*?\$\$|\\begin\{(\w+\*?)\}.*?\\end\{\1\})[.,]?", re.S
)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z$\\])")
_ABBREVIATION = re.compile(r"(?:\b[A-Za-z]|\b(?:Mr|Mrs|Ms|Dr|St|vs|etc|cf|Eq|Fig|No))\.$")


def first_step(row: Row, seed: int = 0) -> str | None:
    """The first step of the gold solution: a sentence, a tactic with its block, or a statement.

    In mathematics the first line's first sentence; in Lean the first tactic; of a program the
    function's head and first statement, of a loop or a condition its head. None where nothing
    follows it: there, the first step would be the whole solution.
    """
    own = stored(row, "first_step")
    solution = stored(row, "gold_solution") or ""
    if own is not None or not solution.strip():
        return own
    style = ground_truth(row)[0]
    if style in ("lean", "heuristic_lean"):
        return first_tactic(solution)
    if style == "code":
        return first_statement(solution, str(ground_truth_object(row).get("entry_point") or ""))
    return _first_sentence(solution.strip())


def first_tactic(proof: str) -> str | None:
    """The first tactic of a tactic block, with what is indented below it; None where it is all."""
    try:
        source = drop_comments(proof)
        stream = [token for token in tokens(source) if token.kind not in ("space", "comment")]
    except DataError:  # a comment that never ends
        return None
    if not stream:
        return None
    after = _next_tactic(source, stream)
    if after is None:
        return None
    start = source.rfind("\n", 0, stream[0].start) + 1
    return source[start : after.start].rstrip().removesuffix(";").rstrip()


def first_statement(program: str, entry_point: str = "") -> str | None:
    """The head of the function called `entry_point` (else of the last one) with its first
    statement, in a code block; None where that is the whole body, or the program is no Python."""
    fenced = FENCED.search(program)
    source = fenced.group(1) if fenced else program
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    functions = [node for node in body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    called = [node for node in functions if node.name == entry_point]
    function = (called or functions or [None])[-1]
    inside = _without_docstring(function.body if function else body)
    if not inside:
        return None
    last = _last_line(inside[0])
    if last >= (inside[-1].end_lineno or last):
        return None
    lines = source.splitlines()
    head = lines[function.lineno - 1 : function.body[0].lineno - 1] if function else []
    step = "\n".join([*head, *lines[inside[0].lineno - 1 : last]])
    return f"```python\n{step}\n```"


def _first_sentence(solution: str) -> str | None:
    """Up to the first full stop outside mathematics that ends a sentence of the first line; with
    the formula below it where the line has none."""
    line, newline, rest = solution.partition("\n")
    step = line = line.strip()
    inside = [match.span() for match in _MATHS.finditer(line)]
    for end in _SENTENCE_END.finditer(line):
        in_maths = any(start < end.start() < stop for start, stop in inside)
        if not in_maths and not _ABBREVIATION.search(line[: end.start()]):
            step = line[: end.start()]
            break
    display = _DISPLAY.match(newline + rest) if step == line else None
    step += display.group() if display else ""
    return step if "\\boxed" not in step and len(step) < len(solution) else None


def _next_tactic(source: str, stream: list[Token]) -> Token | None:
    """The first token after the first tactic, by Lean's layout: no deeper than its column, or
    behind a `;` that separates tactics of this block."""
    column, depth, inner = _column(source, stream[0]), 0, False
    for token, following in pairwise(stream):
        depth += (token.text in OPENING) - (token.text in CLOSING)
        inner = inner or token.text in ("by", "fun", "=>")
        line_start = source.rfind("\n", 0, following.start) + 1
        begins = not source[line_start : following.start].strip()
        if depth == 0 and begins and following.text not in ("|", "<;>"):
            if following.start - line_start <= column:
                return following
        elif depth == 0 and token.text == ";" and not inner:
            return following
    return None


def _column(source: str, token: Token) -> int:
    return token.start - (source.rfind("\n", 0, token.start) + 1)


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0] if body else None
    told = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return body[1:] if told else body


def _last_line(statement: ast.stmt) -> int:
    """The number of a plain statement's last line; where it has a block, of the line before it."""
    block: list[ast.stmt] = getattr(statement, "body", [])
    last = block[0].lineno - 1 if block else statement.end_lineno
    return max(last or 0, statement.lineno)
