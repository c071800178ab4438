"""Words that no proof may use, looked for outside comments and strings.

This is the first of two nets: what it lets through, Lean itself is asked about, by the axioms that
the finished proof rests on.
"""

from __future__ import annotations

from collections.abc import Iterable

from rewards.lean.lexer import Token, tokens_of

INCOMPLETE = frozenset({"sorry", "admit", "sorryAx"})

#: Code that runs while Lean checks, changes of the language or of the checker, new assumptions.
_POWERS = frozenset(
    """
axiom opaque unsafe implemented_by extern csimp initialize builtin_initialize
native_decide ofReduceBool ofReduceNat trustCompiler lcProof lcUnreachable
elab elab_rules macro macro_rules syntax declare_syntax_cat notation infix infixl infixr prefix
postfix run_tac run_cmd run_elab run_meta by_elab eval_expr include_str set_option attribute
dbg_trace dbgTrace simproc dsimproc simproc_decl dsimproc_decl builtin_simproc builtin_dsimproc
alias
""".split()  # noqa: SIM905
)

#: Commands: a response is one proof and declares nothing.
_COMMANDS = frozenset(
    """
theorem lemma def abbrev instance example structure inductive coinductive class mutual namespace
section end variable universe import export deriving private protected noncomputable partial
""".split()  # noqa: SIM905
)

FORBIDDEN = _POWERS | _COMMANDS


def forbidden_word(proof: str, extra: Iterable[str] = (), allow_sorry: bool = False) -> str | None:
    """The first word of `proof` that is not allowed, or None.

    `extra`: further names that the caller forbids, such as tactics. A dotted name counts by itself
    and by its last part, so `Lean.ofReduceBool` is found. Raises lexer.UnfinishedError.
    """
    banned = FORBIDDEN | frozenset(extra) | (frozenset() if allow_sorry else INCOMPLETE)
    tokens = tokens_of(proof)
    for place, token in enumerate(tokens):
        if token.kind == "name":
            word = token.text.replace("«", "").replace("»", "")
            whole = word in banned or word.startswith("#")
            if whole or _powerful(word.rpartition(".")[2], banned):
                return token.text
            if word.endswith("!") and _code_in_string(tokens, place):
                return f'{token.text}"'
        elif token.text == "@" and place + 1 < len(tokens) and tokens[place + 1].text == "[":
            return "@["
        elif token.text == "+" and place + 1 < len(tokens) and tokens[place + 1].text == "native":
            return "+native"
    return None


def _code_in_string(tokens: list[Token], place: int) -> bool:
    """Whether an interpolated string follows at once: what is in its braces is code."""
    if place + 1 == len(tokens):
        return False
    string = tokens[place + 1]
    return string.kind == "string" and string.start == tokens[place].end and "{" in string.text


def _powerful(last: str, banned: frozenset[str]) -> bool:
    """Whether the last part of a dotted name is banned; `h.end` and the like are allowed."""
    return last in banned and last not in _COMMANDS
