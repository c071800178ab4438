"""Leak guard: no evaluation item may be in the training data, in other words or other names.

`check_disjoint(train, held_out)` stands before every run. Lean statements are compared up to
renaming (`data_prep.canonical`); other rows by their normalised text and by shared n-grams.

Rows may be a list or a `data_prep.schema.RowFile`: they are read row by row, training rows twice.
Of the held-out rows hashes are kept (12 bytes an n-gram), of the training rows nothing.
"""

from __future__ import annotations

import functools
import re
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from data_prep.canonical import canonical
from data_prep.schema import short_hash

NGRAM = 8
OVERLAP = 0.8
COMMON = 0.05  # n-grams in more than this share of the training rows are the prompt's template
FEW = 20  # ... judged only where there are that many rows
SHOWN = 200  # characters
_WORD = re.compile(r"\w+")
_BASE = np.uint64(0x9E3779B97F4A7C15)

Rows = Iterable[Mapping[str, Any]]


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


@dataclass(frozen=True)
class Match:
    """A training row (by its place) that equals a held-out row, or covers its n-grams."""

    train: int
    train_uid: str
    held_out: int
    reason: str
    overlap: float


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
    index = HeldOut(held_out, ngram)
    best: dict[int, Match] = {}
    for match in index.matches(train, overlap):
        if match.held_out not in best or match.overlap > best[match.held_out].overlap:
            best[match.held_out] = match
    found = [
        Leak(row["uid"], best[i].train_uid, best[i].reason, best[i].overlap, _shown(row))
        for i, row in enumerate(held_out if best else ())
        if i in best
    ]
    return sorted(found, key=lambda leak: leak.reason != SAME)


def normalise(text: str) -> str:
    """Words in lower case, one space between them; punctuation and Unicode variants dropped."""
    return " ".join(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def statement_key(row: Mapping[str, Any]) -> str:
    """What makes two rows the same task: the canonical statement, or the normalised question.

    Symbols count in a question (`3 + 4` is not `3 * 4`), spaces and case do not. Games of GEM may
    begin with the same words from every seed: there environment and seed make the task.
    """
    if _is_lean(row) or _is_game(row):
        truth = row["reward_model"]["ground_truth"]
        return canonical(truth) if _is_lean(row) else truth
    return "".join(unicodedata.normalize("NFKC", question(row)).casefold().split())


SAME = "the same statement"


class HeldOut:
    """The held-out rows as hashes: of each statement, and of its n-grams."""

    def __init__(self, rows: Rows, ngram: int = NGRAM) -> None:
        self.ngram = ngram
        self._keys: dict[int, list[int]] = {}
        grams: list[np.ndarray] = []
        for i, row in enumerate(rows):
            self._keys.setdefault(short_hash(statement_key(row)), []).append(i)
            grams.append(_ngrams(row, ngram))
        sizes = [len(row_grams) for row_grams in grams]
        every = np.concatenate([*grams, np.empty(0, np.uint64)])
        order = np.argsort(every, kind="stable")
        self._owners = np.repeat(np.arange(len(grams), dtype=np.int32), sizes)[order]
        self._grams, self._starts = np.unique(every[order], return_index=True)
        self._ends = np.append(self._starts[1:], len(every))
        self._rows = len(grams)

    def matches(self, train: Rows, overlap: float = OVERLAP) -> Iterator[Match]:
        """Every pair of a training and a held-out row that are the same; `train` is read twice."""
        count, frequency, same = 0, np.zeros(len(self._grams), np.int64), set[int]()
        for count, row in enumerate(train, start=1):
            frequency[self._known(row)] += 1
            for held_out in self._keys.get(short_hash(statement_key(row)), ()):
                same.add(held_out)
                yield Match(count - 1, row["uid"], held_out, SAME, 1.0)
        common = frequency > (COMMON * count if count >= FEW else count)
        if not np.any((frequency > 0) & ~common):
            return
        rare = np.repeat(~common, self._ends - self._starts)
        own = np.bincount(self._owners[rare], minlength=self._rows)
        for place, row in enumerate(train):
            known = self._known(row)
            for held_out, share in self._covered(known[~common[known]], own, overlap):
                if held_out not in same:
                    yield Match(place, row["uid"], held_out, f"shared {self.ngram}-grams", share)

    def _known(self, row: Mapping[str, Any]) -> np.ndarray:
        """The places of the row's n-grams among those of the held-out rows."""
        if len(self._grams) == 0:
            return np.empty(0, np.int64)
        grams = _ngrams(row, self.ngram)
        places = np.minimum(np.searchsorted(self._grams, grams), len(self._grams) - 1)
        return places[self._grams[places] == grams]

    def _covered(
        self, known: np.ndarray, own: np.ndarray, overlap: float
    ) -> Iterator[tuple[int, float]]:
        if len(known) == 0:
            return
        spans = [self._owners[self._starts[i] : self._ends[i]] for i in known]
        owners, shared = np.unique(np.concatenate(spans), return_counts=True)
        enough = shared >= overlap * own[owners]
        for owner, number in zip(owners[enough], shared[enough], strict=True):
            yield int(owner), float(number / own[owner])


def question(row: Mapping[str, Any]) -> str:
    """What the row asks: its user messages; of a row whose user is simulated, the instruction."""
    said = [m["content"] for m in row["prompt"] if m["role"] == "user"]
    return "\n".join(said) if said else str(row["extra_info"].get("instruction", ""))


def _ngrams(row: Mapping[str, Any], n: int) -> np.ndarray:
    """The hashes of the distinct n-grams of words, sorted; none of a Lean row, or of a game."""
    words = [] if _is_lean(row) or _is_game(row) else normalise(question(row)).split(" ")
    if len(words) < n:
        return np.empty(0, np.uint64)
    codes = np.fromiter((_word(word) for word in words), np.uint64, len(words))
    hashes = np.zeros(len(words) - n + 1, np.uint64)
    for i in range(n):  # a polynomial in the words, modulo 2^64
        hashes = hashes * _BASE + codes[i : i + len(hashes)]
    return np.unique(hashes)


@functools.lru_cache(1 << 16)
def _word(word: str) -> int:
    return zlib.crc32(word.encode())


def _is_lean(row: Mapping[str, Any]) -> bool:
    return row["reward_model"]["style"] == "lean"


def _is_game(row: Mapping[str, Any]) -> bool:
    return row["reward_model"]["style"] == "gem" and row["ability"] == "game"


def _shown(row: Mapping[str, Any]) -> str:
    return (row["reward_model"]["ground_truth"] if _is_lean(row) else question(row))[:SHOWN]
