"""From a model's response to the one theorem that Lean is asked to check.

The statement is taken from the ground truth and the proof from the response, so a response cannot
change what is proved: one that repeats the statement has to repeat it as it is.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

from rewards.lean.lexer import Token, UnfinishedError, nesting_of, tokens_of

_FENCE = re.compile(r"```([^\n`]*)\n(.*?)(?:```|\Z)", re.DOTALL)
_LEAN_TAGS = ("lean", "lean4", "tactics", "lean 4")
#: A thousand would overrun the stack of the embedded Lean, and it would have to start again.
_MAX_NESTING = 200
_PREAMBLE_LINE = re.compile(
    r"\s*(?:import\s+[\w.]+|open\s+(?:scoped\s+)?[\w.\s]+|set_option\s+maxHeartbeats\s+\d+)?\s*\Z"
)


class ResponseError(ValueError):
    """A response that Lean need not see. `reason` is a verdict's reason."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class Statement:
    """A theorem without its proof.

    preamble: what the data set puts before it (imports, `open` lines), trusted; often empty.
    header: from `theorem` to the end of the type, without `:=`.
    """

    preamble: str
    header: str
    name: str

    def with_proof(self, proof: str) -> str:
        """The theorem with `proof`, which starts right after `:=`."""
        return f"{self.header} :={proof}\n"


def parse_statement(ground_truth: str) -> Statement:
    """Read a ground truth: a theorem up to its type, `:=`, `:= by` or `:= by sorry`.

    Raises ValueError if there is no theorem in it or it has more than one.
    """
    tokens = tokens_of(ground_truth)
    starts = [i for i, token in enumerate(tokens) if token.text in ("theorem", "lemma")]
    if len(starts) != 1 or starts[0] + 1 >= len(tokens):
        raise ValueError(f"one theorem is expected, this has {len(starts)}: {ground_truth[:200]!r}")
    first = starts[0]
    last = len(tokens)
    for ending in (["sorry"], ["by"], [":", "="]):
        if [t.text for t in tokens[last - len(ending) : last]] == ending:
            last -= len(ending)
    if last <= first + 2:
        raise ValueError(f"the theorem has no type: {ground_truth[:200]!r}")
    return Statement(
        preamble=ground_truth[: tokens[first].start].strip(),
        header=ground_truth[tokens[first].start : tokens[last - 1].end],
        name=tokens[first + 1].text,
    )


def proof_of(response: str, statement: Statement, max_chars: int = 100_000) -> str:
    """The proof in `response`, as the text that follows `:=`.

    Understood are a block of tactics, `by` and a block, `:=` and a proof, the whole theorem, each
    alone or in a fence; of several fences the last one marked as Lean. Raises ResponseError.
    """
    if len(response) > max_chars:
        raise ResponseError("malformed", f"the response is longer than {max_chars} characters")
    if "\0" in response:
        raise ResponseError("malformed", "the response has a NUL character")
    code = _code_in(response)
    try:
        tokens = tokens_of(code)
    except UnfinishedError as err:
        raise ResponseError("malformed", str(err)) from err
    if nesting_of(tokens) > _MAX_NESTING:
        raise ResponseError("malformed", f"brackets are nested more than {_MAX_NESTING} deep")
    if not tokens:
        raise ResponseError("no_answer", "the response has no proof")
    if any(token.text in ("theorem", "lemma") for token in tokens):
        return _proof_in_theorem(code, tokens, statement)
    if [t.text for t in tokens[:2]] == [":", "="]:
        return _after(code, tokens, 2)
    if tokens[0].text == "by":
        return " " + code[tokens[0].start :].rstrip()
    return " by\n" + textwrap.indent(textwrap.dedent(code.expandtabs(2)).strip("\n"), "  ")


def _code_in(response: str) -> str:
    text = response.rpartition("</think>")[2]
    fences = [(m.group(1).strip().lower(), m.group(2)) for m in _FENCE.finditer(text)]
    marked = [code for tag, code in fences if tag in _LEAN_TAGS]
    if marked:
        return marked[-1]
    return fences[-1][1] if fences else text


def _proof_in_theorem(code: str, tokens: list[Token], statement: Statement) -> str:
    first = next(i for i, token in enumerate(tokens) if token.text in ("theorem", "lemma"))
    before = _without_comments(code[: tokens[first].start], tokens[:first])
    if not all(_PREAMBLE_LINE.match(line) for line in before.splitlines()):
        raise ResponseError("malformed", "before the theorem only imports and open lines may stand")
    wanted = [token.text for token in tokens_of(statement.header)]
    end = first + len(wanted)
    if [token.text for token in tokens[first:end]] != wanted:
        raise ResponseError("wrong_answer", "the statement is not the one that was asked for")
    if [token.text for token in tokens[end : end + 2]] != [":", "="]:
        raise ResponseError("wrong_answer", "the statement does not end where it should")
    return _after(code, tokens, end + 2)


def _after(code: str, tokens: list[Token], count: int) -> str:
    if len(tokens) <= count or [t.text for t in tokens[count:]] == ["by"]:
        raise ResponseError("no_answer", "there is no proof after :=")
    return code[tokens[count - 1].end :].rstrip()


def _without_comments(text: str, tokens: list[Token]) -> str:
    kept = [" "] * len(text)
    for token in tokens:
        kept[token.start : token.end] = token.text
    return "".join("\n" if text[i] == "\n" else char for i, char in enumerate(kept))
