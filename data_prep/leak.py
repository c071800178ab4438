"""Leak guard: no evaluation item may be in the training data, in other words or other names.

`check_disjoint(train, held_out)` stands before every run. Lean statements are compared up to
renaming (`data_prep.canonical`); other rows by their normalised text and by shared n-grams.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data_prep.canonical import canonical

NGRAM = 8
OVERLAP = 0.8
COMMON = 0.05  # n-grams in more than this share of the training rows are the prompt's template
FEW = 20  # ... judged only where there are that many rows
_WORD = re.compile(r"\w+")

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Leak:
    """An evaluation row found in the training rows. `overlap` is 1.0 for equal statements."""

    held_out_uid: str
    train_uid: str
    reason: str
    overlap: float
    text: str

    def __str__(self) -> str:
        return (
            f"held-out {self.held_out_uid} ~ training {self.train_uid} "
            f"({self.reason}, {self.overlap:.2f}): {self.text[:100]!r}"
        )


class LeakError(ValueError):
    """Evaluation rows are in the training data. `leaks` lists every one of them."""

    def __init__(self, leaks: list[Leak]) -> None:
        super().__init__(leaks)
        self.leaks = leaks

    def __str__(self) -> str:
        shown = "\n  ".join(str(leak) for leak in self.leaks[:20])
        more = len(self.leaks) - 20
        return (
            f"{len(self.leaks)} held-out rows are in the training data:\n  {shown}"
            + (f"\n  and {more} more" if more > 0 else "")
            + "\nTo mend it: take these rows out of one of the two sets."
        )


def check_disjoint(
    train: Rows, held_out: Rows, *, ngram: int = NGRAM, overlap: float = OVERLAP
) -> None:
    """Raise LeakError unless `find_leaks` finds nothing."""
    leaks = find_leaks(train, held_out, ngram=ngram, overlap=overlap)
    if leaks:
        raise LeakError(leaks)


def find_leaks(
    train: Rows, held_out: Rows, *, ngram: int = NGRAM, overlap: float = OVERLAP
) -> list[Leak]:
    """The held-out rows that a training row equals, or covers by `overlap` of their n-grams.

    Lean rows are compared by statement alone: statements of one template share nearly all their
    n-grams and are different theorems still. Text of fewer than `ngram` words is compared whole.
    """
    equal = _equal(train, held_out)
    found = {leak.held_out_uid for leak in equal}
    left = [row for row in held_out if not _is_lean(row) and row["uid"] not in found]
    return equal + _overlapping([r for r in train if not _is_lean(r)], left, ngram, overlap)


def normalise(text: str) -> str:
    """Words in lower case, one space between them; punctuation and Unicode variants dropped."""
    return " ".join(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def statement_key(row: Mapping[str, Any]) -> str:
    """What makes two rows the same task: the canonical statement, or the normalised question.

    Symbols count in a question (`3 + 4` is not `3 * 4`), spaces and case do not.
    """
    if _is_lean(row):
        return canonical(row["reward_model"]["ground_truth"])
    return "".join(unicodedata.normalize("NFKC", _question(row)).casefold().split())


def _equal(train: Rows, held_out: Rows) -> list[Leak]:
    known = {statement_key(row): row["uid"] for row in train}
    matches = ((row, known.get(statement_key(row))) for row in held_out)
    return [
        Leak(row["uid"], uid, "the same statement", 1.0, _shown(row))
        for row, uid in matches
        if uid is not None
    ]


def _overlapping(train: Rows, held_out: Rows, n: int, threshold: float) -> list[Leak]:
    grams = [_ngrams(_question(row), n) for row in train]
    frequency = Counter(gram for row_grams in grams for gram in row_grams)
    limit = COMMON * len(grams) if len(grams) >= FEW else len(grams)
    holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for i, row_grams in enumerate(grams):
        for gram in row_grams:
            if frequency[gram] <= limit:
                holders[gram].append(i)
    leaks = []
    for row in held_out:
        own = {g for g in _ngrams(_question(row), n) if frequency[g] <= limit}
        best = Counter(i for gram in own for i in holders.get(gram, ())).most_common(1)
        if best and best[0][1] >= threshold * len(own):
            share = best[0][1] / len(own)
            leaks.append(
                Leak(row["uid"], train[best[0][0]]["uid"], f"shared {n}-grams", share, _shown(row))
            )
    return leaks


def _ngrams(text: str, n: int) -> set[tuple[str, ...]]:
    words = normalise(text).split(" ")
    return set(_windows(words, n)) if len(words) >= n else set()


def _windows(words: list[str], n: int) -> Iterable[tuple[str, ...]]:
    return zip(*(words[i:] for i in range(n)), strict=False)


def _question(row: Mapping[str, Any]) -> str:
    return "\n".join(m["content"] for m in row["prompt"] if m["role"] == "user")


def _is_lean(row: Mapping[str, Any]) -> bool:
    return row["reward_model"]["style"] == "lean"


def _shown(row: Mapping[str, Any]) -> str:
    return row["reward_model"]["ground_truth"] if _is_lean(row) else _question(row)
