r"""When two answers say the same: by form where that is certain, else by the `math` verifier.

`answer_form` writes an answer in one way: numbers as reduced fractions, LaTeX without what only
changes its looks. Equal forms are the same answer; of two plain numbers their values decide, where
rounding and percent count as the same. Of all other pairs (`2\sqrt{3}` and `\sqrt{12}`) the
verifier judges, both ways, and a pair at which it does not end counts as the same.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from fractions import Fraction

import rewards

# What a verifier may forgive: rounding, and percent against fraction.
ROUNDING = Fraction(1, 1000)
MAX_DIGITS = 400

_SPACING = re.compile(r"\\?%|\\[,;:!> ]|\\q?quad\b|~|\s+")
_LOOKS = re.compile(r"\\(?:left|right|displaystyle|limits|big+[lrm]?)\b|\\\(|\\\)|\\\[|\\\]|\$")
_WRAPPED = re.compile(r"\\(?:boxed|fbox|mathrm|mathbf|textbf|mbox|text|operatorname)\{([^{}]*)\}")
_ASSIGNED = re.compile(r"^[a-zA-Z](?:_\{?\w+\}?)?=(?=[^=])")
_THOUSANDS = re.compile(r"(?<=\d)(?:\{,\}|,)(?=\d{3}(?:\D|$))")
_SHORT_FRACTION = re.compile(r"\\frac(\d)(\d)")
_FRACTION = re.compile(r"^([+-]?)\\frac\{([+-]?\d+)\}\{([+-]?\d+)\}$")
_NUMBER = re.compile(r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:/\d+)?$")


def answer_form(answer: str) -> str:
    """The answer in one way of writing: equal for answers that differ in looks alone."""
    text = unicodedata.normalize("NFKC", answer).strip().rstrip(".").replace("−", "-")
    text = _LOOKS.sub("", text).replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac")
    text = _SPACING.sub("", _unwrapped(text)).replace("^{\\circ}", "").replace("^\\circ", "")
    text = _ASSIGNED.sub("", _SHORT_FRACTION.sub(r"\\frac{\1}{\2}", text))
    value = number(text)
    return text.casefold() if value is None else str(value)


def number(text: str) -> Fraction | None:
    r"""The value of a plain number: `12`, `-0.5`, `1,000`, `3/4`, `\frac{3}{4}`; else None."""
    text = _THOUSANDS.sub("", text.replace(" ", ""))
    fraction = _FRACTION.match(text)
    if fraction:
        text = f"{fraction[1]}{fraction[2]}/{fraction[3]}".replace("--", "").replace("+-", "-")
    if len(text) > MAX_DIGITS or not _NUMBER.match(text):
        return None
    top, _, below = text.partition("/")
    bottom = Fraction(below or 1)
    return Fraction(top) / bottom if bottom else None


def same_numbers(left: Fraction, right: Fraction) -> bool:
    """Whether two numbers are equal but for rounding, or for percent against fraction."""
    readings = ((left, right), (100 * left, right), (left, 100 * right))
    return any(abs(a - b) <= ROUNDING * max(abs(a), abs(b)) for a, b in readings)


def same_answers(pairs: Sequence[tuple[str, str]]) -> list[bool]:
    """For each pair of answers whether they are the same, or might be."""
    known = [_same_by_form(a, b) for a, b in pairs]
    unsure = [i for i, same in enumerate(known) if same is None]
    # Both ways round: it is not symmetric.
    asked = [pair for i in unsure for a, b in [pairs[i]] for pair in ((a, b), (b, a))]
    judged = _judge(asked) if asked else []
    for place, i in enumerate(unsure):
        known[i] = any(judged[2 * place : 2 * place + 2])
    return [bool(same) for same in known]


def _same_by_form(left: str, right: str) -> bool | None:
    forms = answer_form(left), answer_form(right)
    a, b = (number(form) for form in forms)
    if a is not None and b is not None:
        return same_numbers(a, b)
    return True if forms[0] == forms[1] else None


def _judge(pairs: Sequence[tuple[str, str]]) -> list[bool]:
    """Whether the verifier takes the second answer for the first, or does not end.

    An answer that it cannot read is no mathematics: there other words are another answer.
    """
    items = [("math", f"\\boxed{{{answer}}}", gold, {}) for gold, answer in pairs]
    verdicts = rewards.verify_batch(items)
    return [verdict.passed or verdict.reason in ("timeout", "memory") for verdict in verdicts]


def _unwrapped(text: str) -> str:
    while True:
        inner = _WRAPPED.sub(r"\1", text)
        if inner == text:
            return text
        text = inner
