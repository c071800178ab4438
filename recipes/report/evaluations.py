"""Held-out evaluations of all arms, reduced while streaming to what the report counts."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import numpy as np

from recipes.report.reader import Row, int_of, text_of
from recipes.stats import (
    Estimate,
    FloatArray,
    hierarchical_interval,
    paired_difference,
    per_problem_means,
    rate_interval,
    seed_interval,
)

BASELINE = "baseline"
TEACHER = "teacher"


@dataclass(frozen=True)
class Problem:
    """What is known of a held-out row. `has_gold` is None where the rows do not say."""

    uid: str
    family: str
    structure: str
    has_gold: bool | None
    level: str = ""


@dataclass(frozen=True)
class Key:
    """One evaluation: an arm's weights at a step, asked through one view."""

    arm: str
    seed: int
    step: int
    view: str


@dataclass(frozen=True)
class Difference:
    """A paired difference; `over_seeds` is the t-interval where there are several seeds."""

    estimate: Estimate
    over_seeds: Estimate | None
    n: int
    seeds: int

    @property
    def holds(self) -> bool | None:
        """Whether zero is excluded by every interval at hand; None where one seed cannot tell."""
        if self.over_seeds is None:
            return None
        return self.estimate.excludes_zero and self.over_seeds.excludes_zero


@dataclass(frozen=True)
class Scores:
    """Per-problem pass rates [S, N] of one arm at its final step.

    `reference`: the weights were not trained by an arm, so seeds are only more samples of them.
    """

    uids: tuple[str, ...]
    seeds: tuple[int, ...]
    values_SN: FloatArray
    reference: bool = False

    def subset(self, uids: Collection[str]) -> Scores | None:
        """The same scores on those problems alone; None where none of them was evaluated."""
        keep = [i for i, uid in enumerate(self.uids) if uid in uids]
        if not keep:
            return None
        uids = tuple(self.uids[i] for i in keep)
        return Scores(uids, self.seeds, self.values_SN[:, keep], self.reference)

    def pooled(self) -> Scores:
        """The mean over seeds as one vector, as for a model that was not trained."""
        return Scores(self.uids, self.seeds[:1], self.values_SN.mean(axis=0, keepdims=True), True)

    def rate(self) -> Estimate:
        """Mean pass rate; its interval is over problems, over seeds too if there are several."""
        constant = np.ptp(self.values_SN) == 0
        if len(self.seeds) == 1 or constant:
            return rate_interval(self.values_SN.mean(axis=0))
        return hierarchical_interval(self.values_SN)

    def rate_over_seeds(self) -> Estimate | None:
        """Student-t interval over seed means; None for one seed."""
        return seed_interval(self.values_SN.mean(axis=1))

    def minus(self, other: Scores) -> Difference | None:
        """Paired difference on the problems that both answered; None where there is none.

        Seeds that both trained are paired. A reference is subtracted from every seed. Where one
        side has a single trained seed, the other's are averaged and nothing is said over seeds.
        """
        shared = set(self.uids) & set(other.uids)
        left, right = self.subset(shared), other.subset(shared)
        if left is None or right is None:
            return None
        if not right.reference:
            common = [s for s in left.seeds if s in right.seeds]
            if len(common) > 1:
                left, right = left._at(common), right._at(common)
            else:
                left, right = left.pooled(), right.pooled()
        if len(left.seeds) == 1:
            estimate = paired_difference(left.values_SN[0], right.values_SN[0])
            return Difference(estimate, None, len(left.uids), 1)
        difference_SN = left.values_SN - right.values_SN
        over_seeds = seed_interval(difference_SN.mean(axis=1))
        estimate = hierarchical_interval(difference_SN)
        return Difference(estimate, over_seeds, len(left.uids), len(left.seeds))

    def _at(self, seeds: list[int]) -> Scores:
        rows = [self.seeds.index(s) for s in seeds]
        return Scores(self.uids, tuple(seeds), self.values_SN[rows])


@dataclass
class Evaluations:
    """All evaluation rows: verdict and a digest of the response by (uid, sample)."""

    answers: dict[Key, dict[tuple[str, int], tuple[bool, bytes]]] = field(default_factory=dict)
    problems: dict[str, Problem] = field(default_factory=dict)
    unjudged: int = 0

    @classmethod
    def read(cls, rows: Iterable[Row]) -> Evaluations:
        """Fill from evaluations.jsonl; later lines of the same key replace earlier ones."""
        table = cls()
        for row in rows:
            if "arm" in row and "uid" in row:
                table._add(row)
        return table

    def _add(self, row: Row) -> None:
        uid = text_of(row, "uid")
        gold = row.get("has_gold")
        self.problems[uid] = Problem(
            uid,
            text_of(row, "family", "unknown"),
            text_of(row, "structure", "seen"),
            gold if isinstance(gold, bool) else None,
            text_of(row, "level"),
        )
        if not isinstance(row.get("passed"), bool):
            self.unjudged += 1  # counts as not passed: leaving it out would raise the rate
        answer = (row.get("passed") is True, digest(text_of(row, "response")))
        self.answers.setdefault(key_of(row), {})[uid, int_of(row, "sample")] = answer

    def arms(self) -> list[str]:
        """Arms in order of first appearance, without baseline and teacher."""
        names = dict.fromkeys(key.arm for key in self.answers)
        return [name for name in names if name not in (BASELINE, TEACHER)]

    def keys(self, arm: str, view: str) -> list[Key]:
        """Evaluations of an arm through a view, by seed and step."""
        found = [k for k in self.answers if k.arm == arm and k.view == view]
        return sorted(found, key=lambda k: (k.seed, k.step))

    def means(self, key: Key) -> dict[str, float]:
        """Pass rate by uid, over samples."""
        return per_problem_means((uid, p) for (uid, _), (p, _) in self.answers[key].items())

    def scores(self, keys: Iterable[Key]) -> Scores | None:
        """Scores of several seeds on the problems that all of them answered."""
        by_seed = {key.seed: self.means(key) for key in keys}
        if not by_seed:
            return None
        uids = sorted(set.intersection(*(set(m) for m in by_seed.values())))
        if not uids:
            return None
        values_SN = np.array([[means[u] for u in uids] for means in by_seed.values()])
        return Scores(tuple(uids), tuple(by_seed), values_SN)

    def distinct(self, keys: Iterable[Key]) -> tuple[int, int]:
        """(distinct responses, responses), summed over evaluations."""
        distinct = total = 0
        for key in keys:
            digests = [d for _, d in self.answers[key].values()]
            distinct, total = distinct + len(set(digests)), total + len(digests)
        return distinct, total


def by_level(table: Evaluations) -> dict[str, set[str]]:
    """Uids by difficulty level, in the levels' order; empty where rows have no level."""
    found: dict[str, set[str]] = {}
    for problem in table.problems.values():
        if problem.level:
            found.setdefault(problem.level, set()).add(problem.uid)
    return {name: found[name] for name in sorted(found, key=_level_order)}


def _level_order(name: str) -> list[tuple[bool, int, str]]:
    """Level 10 behind level 9: runs of digits count as numbers."""
    parts = [part for part in re.split(r"(\d+)", name) if part]
    return [(not p.isdecimal(), int(p) if p.isdecimal() else 0, p) for p in parts]


def key_of(row: Row) -> Key:
    """The evaluation that a row belongs to."""
    return Key(
        text_of(row, "arm"),
        int_of(row, "seed"),
        int_of(row, "step"),
        text_of(row, "view", "student"),
    )


def digest(response: str) -> bytes:
    """Eight bytes that tell responses apart, runs of white space counted as one blank."""
    text = " ".join(response.split()).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=8).digest()
