"""Kinds of privileged information around the gold answer, and the controls that withhold it."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterable

from data_prep.pi.answer_forms import answer_form, same_answers
from data_prep.pi.builder import Row, ground_truth, stored
from data_prep.pi.derangement import Pair, scatter

GIBBERISH = "XYZZY"
ANSWER_STYLES = frozenset(
    {"math", "exact", "verl_math", "verl_gsm8k", "verl_math_dapo", "verl_prime_math",
     "verl_math_verify", "judge"}
)  # fmt: skip
SYLLABLES = [c + v for c in "bdfgjklmnprstvz" for v in "aeiou"]


def gold_answer(row: Row, seed: int = 0) -> str | None:
    """The right answer: the row's own entry, or the ground truth where that is an answer."""
    own = stored(row, "gold_answer")
    if own is not None:
        return own
    style, truth = ground_truth(row)
    return truth or None if style in ANSWER_STYLES else None


def gold_solution(row: Row, seed: int = 0) -> str | None:
    """The row's own proof or worked solution."""
    return stored(row, "gold_solution")


def wrong_answers(rows: Iterable[Row], seed: int = 0) -> dict[int, str]:
    r"""By row number another row's answer, by a seeded derangement.

    Never the row's own, not even as an equal expression (`\frac{1}{2}` for `0.5`): what
    `same_answers` calls the same, or cannot tell apart, is drawn again.
    """
    answers = {n: a for n, row in enumerate(rows) if (a := gold_answer(row)) is not None}
    numbers, texts = list(answers), list(answers.values())

    def same(pairs: list[Pair]) -> list[bool]:
        return same_answers([(texts[i], texts[j]) for i, j in pairs])

    target = scatter([answer_form(text) for text in texts], seed, same)
    return {number: texts[j] for number, j in zip(numbers, target, strict=True)}


def gibberish(row: Row, seed: int = 0) -> str | None:
    """The same meaningless word for every row."""
    return GIBBERISH


def matched_gibberish(row: Row, seed: int = 0) -> str | None:
    """Invented words, as many and each as long as those of the gold solution (or answer).

    A control for length: seeded by the row's content, with not a word of what it stands for.
    """
    text = gold_solution(row) or gold_answer(row)
    if text is None:
        return None
    # Of the length of each word and of nothing else in it.
    digest = hashlib.sha256(f"{seed}/{row.get('uid') or row['prompt']}".encode()).hexdigest()
    rng = random.Random(digest)
    known = set(re.findall(r"[a-z]+", text.lower()))
    return re.sub(r"\S+", lambda word: _invented(len(word[0]), known, rng), text)


def _invented(length: int, known: set[str], rng: random.Random) -> str:
    """A pronounceable word of that length, none of the `known` ones."""
    for _ in range(100):
        word = "".join(rng.choice(SYLLABLES) for _ in range(length // 2 + 1))[:length]
        if word not in known:
            return word
    return "-" * length  # one or two letters in a text that has them all
