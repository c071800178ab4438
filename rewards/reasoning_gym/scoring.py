"""The families' own scorers, and what they need besides.

They were written for honest answers. Here text is kept from running as code, and full marks from
wrong answers.
"""

from __future__ import annotations

import ast
import math
import re
import sys
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

#: Families whose scorer hands the answer to `eval`, in hope of a list.
EVALUATED = frozenset({"binary_matrix", "n_queens", "spiral_matrix", "string_insertion"})
#: Families whose scorer hands the answer to SymPy's parser, which evaluates it too.
SYMBOLIC = frozenset(
    {
        "countdown",
        "intermediate_integration",
        "polynomial_multiplication",
        "puzzle24",
        "simple_integration",
    }
)
_FUNCTIONS = {
    "Abs", "Rational", "abs", "acos", "acosh", "acot", "acsc", "asec", "asin", "asinh",
    "atan", "atanh", "cos", "cosh", "cot", "csc", "erf", "exp", "ln", "log", "pi", "sec",
    "sign", "sin", "sinh", "sqrt", "tan", "tanh",
}  # fmt: skip


def refusal(name: str, answer: str) -> str:
    """Why the answer must not come near the family's scorer; empty if it may.

    SymPy evaluates what it parses, so an expression may hold numbers, variables of one letter, the
    usual functions and operators, and nothing else.
    """
    if name not in SYMBOLIC:
        return ""
    names = set(re.findall(r"[^\W\d]\w*", answer))
    strange = {word for word in names if len(word) > 1 or not word.isascii()} - _FUNCTIONS
    if strange or re.search(r"[^\w\s.,()+*/^-]|_|\.\s*[^\W\d]", answer):
        return "the answer is to be an expression of numbers, variables, functions and operators"
    return ""


def score_of(dataset: Any, name: str, entry: Mapping[str, Any], answer: str) -> float:
    """In [0, 1]. Raises what the scorer raises at an answer that it cannot read."""
    if name in EVALUATED:  # a list can still be read, but nothing runs
        vars(sys.modules[type(dataset).__module__])["eval"] = ast.literal_eval
    score = float(dataset.score_answer(answer, entry))
    if not math.isfinite(score):
        raise ValueError("the score is no number")
    if score >= 1 and name in _TOO_KIND and not _TOO_KIND[name](answer, entry):
        return 0.0
    return min(1.0, max(0.0, score))


def _same_truth_value(answer: str, entry: Mapping[str, Any]) -> bool:
    """The library compares `bool(text)`, which is true of every text."""
    return answer.strip().lower() == str(entry["answer"]).lower()


def _same_number(answer: str, entry: Mapping[str, Any]) -> bool:
    """The library gives the share of equal leading characters, which is 1 for a prefix."""
    number, oracle = (Fraction(text.replace(",", "")) for text in (answer, entry["answer"]))
    return abs(number - oracle) <= Fraction(1, 10_000)


def _given_numbers(answer: str, entry: Mapping[str, Any]) -> bool:
    """The library asks for any four numbers that make 24."""
    used = [int(number) for number in re.findall(r"\d+", answer)]
    return sorted(used) == sorted(entry["metadata"]["numbers"])


def _same_word(answer: str, entry: Mapping[str, Any]) -> bool:
    """The library adds up the share of equal letters and does not look at those that follow."""
    return answer.lower() == entry["answer"].lower()


def _same_words(answer: str, entry: Mapping[str, Any]) -> bool:
    """The library does not look at words that follow the right ones."""
    return answer.lower().split() == entry["answer"].lower().split()


def _one_number(answer: str, entry: Mapping[str, Any]) -> bool:
    """The library takes the first number of a text, without its sign."""
    numbers = re.findall(r"-?\d[\d,]*(?:\.\d+)?", answer)
    return len(numbers) == 1 and _same_number(numbers[0], entry)


def _same_people(answer: str, entry: Mapping[str, Any]) -> bool:
    """The library passes over all words but names and roles, such as "it is false that"."""
    words = [set(re.findall(r"\w+", text.lower())) for text in (answer, entry["answer"])]
    return words[0] <= words[1] | {"and", "a", "an"}


def _made_of(pattern: str) -> Callable[[str, Mapping[str, Any]], bool]:
    """The library picks what it can read out of any text; here nothing else may be in it."""
    return lambda answer, _: re.fullmatch(pattern, answer.strip()) is not None


#: Families whose scorer gives full marks to wrong answers, and what else has to hold for these.
_TOO_KIND: dict[str, Callable[[str, Mapping[str, Any]], bool]] = {
    "game_of_life_halting": _same_truth_value,
    "coin_flip": _same_number,
    "fraction_simplification": _made_of(
        r"\$?\s*(?:-?\d+\s*/\s*-?\d+|-?\\[dt]?frac\{-?\d+\}\{-?\d+\}|-?\d+)\s*\$?"
    ),
    "gsm_symbolic": _one_number,
    "kakurasu": _made_of(r"[01\s]+"),
    "knights_knaves": _same_people,
    "letter_jumble": _same_words,
    "puzzle24": _given_numbers,
    "quantum_lock": _made_of(r"[A-Ca-c](?:\s*(?:→|->|,|\s)\s*[A-Ca-c])*"),
    "rush_hour": _made_of(r"(?:[A-Z][+-]\d+[\s,]*)+"),
    "sokoban": _made_of(r"[UDLR\s]+"),
    "spell_backward": _same_word,
    "survo": _made_of(r"[\d\s-]+"),
}
