"""Whether two texts of answers say the same, by math-verify's rules at a lower cost.

What costs time in math-verify is the search for LaTeX in a long response, the ANTLR parser, and
sympy's `simplify` on answers that differ. So only the answer itself is parsed, a ground truth is
parsed once, two numbers written plainly are compared as they stand, and two expressions that
differ in value at a point are not simplified. None of this changes a verdict of math-verify's;
what we do change is in `_word`, `_other_base`, `_parse`, `_differ_at` and `rewards.math.units`,
and in docs/verifiers/math.md.
"""

from __future__ import annotations

import logging
import re
from fractions import Fraction
from functools import lru_cache
from typing import Any

from rewards.math.units import number_of, units_differ

_INTEGER = r"-?(?:0|[1-9]\d{0,29}|[1-9]\d{0,2}(?:,\d{3}){1,9})"
_PLAIN = re.compile(_INTEGER, re.ASCII)
_FRACTION = re.compile(rf"(-?)\\[dt]?frac\{{({_INTEGER})\}}\{{({_INTEGER})\}}", re.ASCII)
_BASED = re.compile(r"([0-9A-Za-z]+)_\{?(\d+)\}?", re.ASCII)
_WORD = re.compile(r"[A-Za-z]{2,}")
_WORDS = re.compile(r"[A-Za-z]+(?:[ -][A-Za-z]+)*")
_AS_TEXT = re.compile(r"\\(?:text|mathrm|operatorname|textbf|textit|mbox)\s*\{\s*([^{}]*?)\s*\}")
_PERCENT = re.compile(r"([^%$]+?)(?:\\?%|\s*(?:\\text\{\s*)?\bpercent\b\s*\}?)")
# The free symbols of two expressions are set to these in turn, and in turn from the second on.
_POINTS = ((137, 59), (271, 83), (313, 67), (419, 71), (523, 97), (631, 89))
_NOISE = 1e-60
# Forms that answers take, each with rules of the grammar that the others lack.
_WARM = (
    "7", "-3.25", r"\frac{3\sqrt{2}}{4}", r"\frac12", "2^{10}", "x^2 - 3x + 1", "(1, 2)", "[0, 3)",
    r"(-\infty, 2) \cup [5, \infty)", "x = 4", r"x \le 5", r"1 < x < 2", "1, 2, 3", r"\{1, 2\}",
    r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", r"\text{(A)}", r"3\pi + 2i", "f(x) = 2x",
    r"90^\circ", r"\sin x + \log_2 8", "5!", r"\binom{5}{2}", "1{,}000", "101_2", r"|x - 1|",
    r"\sqrt[3]{4} \cdot 5", r"\left(\frac{1}{2}, -3, 4\right)", "0.5", r"12\%", "y = 2x + 3",
    r"\text{Monday}", r"2 \times 3", "a b c", r"e^{2x}", "x_1 + x_2", r"\frac{x+1}{x^2-1}",
)  # fmt: skip


@lru_cache(maxsize=8192)
def answers_equal(
    gold: str, answer: str, decimals: int = 6, relations_as_sets: bool = False
) -> bool:
    """Whether `answer` says what `gold` says; both are texts of answers, in LaTeX or plain.

    decimals: to how many a decimal fraction is compared. relations_as_sets: whether a relation
    may stand for the interval that the gold answer is.
    """
    if gold == answer:
        return True
    numbers = _number(gold), _number(answer)
    if numbers[0] is not None and numbers[1] is not None:
        return numbers[0] == numbers[1]
    word = _word(gold)
    if word is not None:
        return word == _as_text(answer, word)
    if _other_base(gold, answer) or units_differ(gold, answer):
        return False
    gold, answer = number_of(gold), number_of(answer)
    wanted, found = _parsed_gold(gold), _parse(answer)
    if not found or _refuted(wanted, found, decimals):
        return False
    from math_verify import verify

    return verify(
        wanted,
        found,
        float_rounding=decimals,
        allow_set_relation_comp=relations_as_sets,
        timeout_seconds=None,  # pyright: ignore[reportArgumentType]
    )


def warm_up() -> None:
    """Fill the ANTLR parser's tables and import sympy's simplifier: about two seconds, once.

    The pool does it before its workers are forked, so none of them pays.
    """
    from math_verify import verify

    for text in _WARM:
        verify(_parse(text), _parse("x + 1"), timeout_seconds=None)  # pyright: ignore


def readable(gold: str) -> bool:
    """Whether a ground truth can be compared with anything."""
    if not re.search(r"[^\W_]|[∞∅]", gold):
        return False
    return _number(gold) is not None or _word(gold) is not None or bool(_parsed_gold(gold))


def _number(text: str) -> Fraction | None:
    r"""The value of an integer or of ``\frac{a}{b}``, where math-verify would read the same."""
    if _PLAIN.fullmatch(text):
        return Fraction(int(text.replace(",", "")))
    match = _FRACTION.fullmatch(text)
    if not match:
        return None
    top, bottom = (int(part.replace(",", "")) for part in match.group(2, 3))
    if bottom == 0:
        return None
    return Fraction(-top if match.group(1) else top, bottom)


def _word(gold: str) -> str | None:
    r"""The word that a ground truth is, which math-verify would read as a product of letters.

    Without case, except where it is in capitals throughout: ``ABCD``, ``HHT``. None if it is no
    word: words with blanks between them are one only within ``\text{}``.
    """
    text = _AS_TEXT.fullmatch(gold)
    word = text.group(1) if text else gold
    if not (_WORD.fullmatch(word) or (text and len(word) > 1 and _WORDS.fullmatch(word))):
        return None
    return word if word.isupper() else word.casefold()


def _as_text(answer: str, word: str) -> str:
    """The words of `answer`, or of its last side, with their case where that of `word` counts."""
    text = _AS_TEXT.sub(r"\1", answer).rpartition("=")[2]
    text = " ".join(text.replace("*", "").split()).strip(" .,!\"'()$")
    return text if word.isupper() else text.casefold()


def _other_base(gold: str, answer: str) -> bool:
    """Both name a base, and not the same: math-verify reads 101_2 and 101_3 as 101."""
    bases = _BASED.fullmatch(gold), _BASED.fullmatch(answer)
    return bool(bases[0] and bases[1] and bases[0].group(2) != bases[1].group(2))


@lru_cache(maxsize=4096)
def _parsed_gold(text: str) -> list[Any]:
    return _parse(text)


def _parse(text: str) -> list[Any]:
    r"""math-verify's reading: an expression, then the text that it read. Empty if it read none.

    It reads ``50%`` only with the sign outside of the LaTeX, hence the other frame.
    """
    from math_verify import LatexExtractionConfig, parse

    _quiet()
    percent = _PERCENT.fullmatch(text)
    latex = f"${percent.group(1)}$%" if percent else f"\\boxed{{{text}}}"
    config = (LatexExtractionConfig(),)
    return parse(latex, config, parsing_timeout=None)  # pyright: ignore[reportArgumentType]


@lru_cache(maxsize=1)
def _quiet() -> None:
    """Once a process: math-verify warns that its timeouts are off. Ours is the pool's."""
    for name in ("math_verify.parser", "math_verify.grader"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _refuted(wanted: list[Any], found: list[Any], decimals: int) -> bool:
    """Whether the two certainly differ: their values do, by more than rounding, at two points.

    Only for what math-verify compares by value. A symbol may be a word in letters, and a
    percentage equals its number too: those are left to it.
    """
    from sympy import Expr, Symbol, UnevaluatedExpr

    if wanted[-1] == found[-1]:
        return False
    gold, answer = wanted[0], found[0]
    for one in (gold, answer):
        if not isinstance(one, Expr) or isinstance(one, Symbol) or one.has(UnevaluatedExpr):
            return False
    try:
        symbols = sorted(gold.free_symbols | answer.free_symbols, key=str)
        shifts = (0, 1) if symbols else (0,)
        return all(_differ_at(gold, answer, symbols, shift, decimals) for shift in shifts)
    except (ArithmeticError, AttributeError, RecursionError, TypeError, ValueError):
        return False


def _differ_at(gold: Any, answer: Any, symbols: list[Any], shift: int, decimals: int) -> bool:
    from sympy import Rational

    point = {
        symbol: Rational(*_POINTS[(place + shift) % len(_POINTS)]) + place
        for place, symbol in enumerate(symbols)
    }
    values = [complex(one.evalf(15, subs=point)) for one in (gold, answer)]
    distance, size = abs(values[0] - values[1]), max(map(abs, values))
    # Small numbers have to agree in half as many leading digits: all below 1e-6 are 0.000000. What
    # is below _NOISE is a zero that was not simplified.
    small = 10.0 ** (-decimals / 2) * size if size > _NOISE else 1.0
    # Not a number compares as False: then nothing is refuted.
    return distance > min(2 * 10.0**-decimals + 1e-9 * abs(values[0]), small)
