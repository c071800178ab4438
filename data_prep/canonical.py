"""Lean statements up to renaming: two statements that differ in names alone read the same.

`canonical` renames every bound variable and hypothesis by the order of its binder, forgets the
theorem's name and all white space, and spells ASCII notation as Unicode. `unordered` is coarser:
it also forgets the order of hypotheses and operands; with `numerals=False` it forgets the
constants too, which leaves the statement's structure.
"""

from __future__ import annotations

from data_prep.errors import DataError
from data_prep.lean_text import CLOSING, OPENING, code_tokens

_SPELLING = {
    "->": "→", "<=": "≤", ">=": "≥", "/\\": "∧", "\\/": "∨", "fun": "λ", "=>": "↦",
    "forall": "∀", "exists": "∃", "Not": "¬", "Nat": "ℕ", "Int": "ℤ", "Rat": "ℚ", "Real": "ℝ",
}  # fmt: skip
_QUANTIFIERS = {"∀", "∃", "λ", "Σ", "Π", "∑", "∏", "⋃", "⋂"}
_BINDER_END = {",", "↦", ":", "in", "∈", "≤", "<", "≥", ">", "≠", "∉", "⊆"}
_KEYWORDS = {"theorem", "lemma", "example"}

Scope = dict[str, str]


def canonical(statement: str) -> str:
    """The statement up to renaming, from `theorem NAME` to the `:=` (what follows is dropped).

    Accepts a header with or without `:= by ...`. Raises DataError where it is no statement.
    """
    return " ".join(_Renamer(_statement_tokens(statement)).run())


def fragment_pattern(text: str) -> str:
    """The pattern of a piece of Lean (a tactic block): words by first occurrence, no white space.

    Coarser than equality up to renaming, so unequal patterns are different contents.
    """
    seen: dict[str, str] = {}
    pattern = []
    for token in code_tokens(text):
        head, dot, rest = token.text.partition(".") if token.kind == "word" else ("", "", "")
        pattern.append(seen.setdefault(head, f"$v{len(seen)}") + dot + rest if head else token.text)
    return " ".join(pattern)


def unordered(statement: str, *, numerals: bool = True) -> tuple[str, ...]:
    """The sorted tokens of the canonical statement, all variables alike (`v`).

    Equal for statements that differ in names and in the order of hypotheses or operands;
    unequal proves the statements different in more than that. With `numerals=False` all numbers
    are alike too (`#`), so that unequal means another structure.
    """
    marked = (_unmark(text, numerals) for text in canonical(statement).split(" "))
    return tuple(sorted(marked))


def _unmark(text: str, numerals: bool) -> str:
    if text.startswith("$"):
        return "$v" + text[len(text.split(".")[0]) :]
    return "#" if text[:1].isdigit() and not numerals else text


def _spell(text: str) -> str:
    head, dot, rest = text.partition(".")
    return _SPELLING.get(head, head) + dot + rest


def _statement_tokens(statement: str) -> list[str]:
    """The spelled tokens between the theorem's name and its `:=` outside brackets."""
    words = [_spell(token.text) for token in code_tokens(statement)]
    start = next((i for i, word in enumerate(words) if word in _KEYWORDS), None)
    if start is None or set(words[:start]) & {":=", "by"}:
        raise DataError(
            repr(statement[:60]),
            "Lean statement",
            "no `theorem` in it",
            "give `theorem t ... := by`",
        )
    words = words[start + (1 if words[start] == "example" else 2) :]
    depth = 0
    for i, word in enumerate(words):
        depth += (word in OPENING) - (word in CLOSING)
        if word == ":=" and depth == 0:
            return words[:i]
    return words


class _Renamer:
    """One walk over the tokens: binders open a name, brackets close the names opened inside."""

    def __init__(self, words: list[str]) -> None:
        self._words = words
        self._at = 0
        self._count = 0
        self._out: list[str] = []

    def run(self) -> list[str]:
        scope: Scope = {}
        while self._at < len(self._words) and self._words[self._at] != ":":
            self._binder(scope)
        self._term(scope)
        return self._out

    def _binder(self, scope: Scope) -> None:
        """One `(x y : T)`, `{x}` or `[inst]` before the colon; each name gets its own binder."""
        word = self._next()
        if word not in OPENING:
            self._out.append(self._bind(word, scope))
            return
        names, type_ = _split_binder(self._until_close(word))
        for name in names or [""]:
            if type_:
                inner = _Renamer(type_)
                inner._count = self._count
                inner._term(dict(scope))
                self._count, rendered = inner._count, inner._out
            else:
                rendered = []
            bound = [self._bind(name, scope)] if name else []
            self._out += [word, *bound, *([":", *rendered] if type_ else []), OPENING[word]]

    def _until_close(self, opening: str) -> list[str]:
        """The words up to the bracket that closes `opening`, which is consumed."""
        start, depth = self._at, 1
        while self._at < len(self._words):
            word = self._next()
            depth += (word in OPENING) - (word in CLOSING)
            if depth == 0:
                return self._words[start : self._at - 1]
        raise DataError(
            repr(" ".join(self._words)[:60]),
            "Lean statement",
            f"a bracket `{opening}` is never closed",
            f"close it with `{OPENING[opening]}`",
        )

    def _term(self, scope: Scope) -> None:
        """A term, up to the end or to a bracket that closes; quantified names last as long."""
        scope = dict(scope)
        while self._at < len(self._words):
            word = self._next()
            if word in CLOSING:
                self._at -= 1
                return
            if word in OPENING:
                self._out.append(word)
                self._bracket(word, scope)
            elif word in _QUANTIFIERS:
                self._out.append(word)
                self._quantified(scope)
            else:
                self._out.append(self._rename(word, scope))

    def _bracket(self, word: str, scope: Scope) -> None:
        """The inside of a bracket. A set `{x | p}` or `{x : T | p}` binds x."""
        inside = self._words[self._at :]
        if word == "{" and len(inside) > 1 and inside[1] in ("|", ":", "∈"):
            scope = dict(scope)
            self._out.append(self._bind(self._next(), scope))
        self._term(scope)
        if self._at < len(self._words):
            self._out.append(self._next())

    def _quantified(self, scope: Scope) -> None:
        """The names after ∀, ∃, λ, ∑ ..., up to the colon, comma, arrow or relation."""
        patterns = 0  # inside ⟨x, y⟩ a comma does not end the binder
        while self._at < len(self._words):
            word = self._words[self._at]
            patterns += (word == "⟨") - (word == "⟩")
            if (word in _BINDER_END and not patterns) or (word in CLOSING and word != "⟩"):
                return
            self._at += 1
            if word in OPENING and word != "⟨":
                self._at -= 1
                self._binder(scope)
            else:
                is_name = word[0].isalpha() or word[0] in "_«"
                self._out.append(self._bind(word, scope) if is_name else word)

    def _bind(self, name: str, scope: Scope) -> str:
        if name == "_":
            return name
        scope[name] = f"$v{self._count}"
        self._count += 1
        return scope[name]

    def _rename(self, word: str, scope: Scope) -> str:
        head, dot, rest = word.partition(".")
        return scope.get(head, head) + dot + rest

    def _next(self) -> str:
        self._at += 1
        return self._words[self._at - 1]


def _split_binder(words: list[str]) -> tuple[list[str], list[str]]:
    """`x y : T` -> names and type; a bare instance type (`Fintype a`) has no names."""
    depth = 0
    for i, word in enumerate(words):
        depth += (word in OPENING) - (word in CLOSING)
        if word == ":" and depth == 0:
            return words[:i], words[i + 1 :]
    return [], words
