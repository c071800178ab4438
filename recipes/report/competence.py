"""Where the baseline stands: pass rate by level, pass@k, repetition, and what the gate makes of it.

Everything is read from the evaluations of the arm ``baseline`` in the student's view.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import groupby
from math import comb
from typing import Any

import numpy as np

from recipes import gate
from recipes.report.arms import estimate_json, last_by_seed, rate_json
from recipes.report.evaluations import BASELINE, Evaluations, Scores, by_level, digest
from recipes.stats import rate_interval

EMPTY = digest("")

Answers = dict[tuple[str, int], tuple[bool, bytes]]


def competence(table: Evaluations, *, lean: bool) -> dict[str, Any] | None:
    """The figures and the gate's recommendation; None without an evaluation of the baseline.

    Rates, ``ci95`` and shares are fractions. ``pass_at``: unbiased, for every k up to the number of
    samples that all rows have. ``repeated``: the chance that two samples of a row are the same
    answer. ``levels`` is empty where rows have none.
    """
    keys = last_by_seed(table.keys(BASELINE, "student"))
    scores = table.scores(keys[:1])
    if scores is None:
        return None
    answers = table.answers[keys[0]]
    rows = _by_row(answers)
    samples = min(len(row) for row in rows)
    within = _within(rows)
    levels = {name: scores.subset(uids) for name, uids in by_level(table).items()}
    measured = {
        name: _measured(part, samples, None) for name, part in levels.items() if part is not None
    }
    found = gate.recommend(_measured(scores, samples, within), measured, lean=lean)
    return {
        **rate_json(scores),
        "samples": samples,
        "answers": len(answers),
        "levels": [
            {"level": name, "zone": gate.zone_of(rate.value).name, **rate_json(levels[name])}
            for name, rate in measured.items()
        ],
        "pass_at": pass_at(rows, samples),
        "distinct": len({what for _, what in answers.values()}),
        "repeated": _repeated(rows),
        "empty_share": sum(what == EMPTY for _, what in answers.values()) / len(answers),
        "cut_share": None,
        "cut_failed_share": None,
        "recommendation": found.as_dict(),
    }


def limited(found: dict[str, Any], cut: float | None, cut_failed: float | None) -> dict[str, Any]:
    """The figures where the share ``cut`` of all answers was ended by the limit on their length,
    and the share ``cut_failed`` was so and did not pass; None: nobody can tell.

    No mode is recommended where these, had they passed, would put the rate into another zone.
    """
    told = gate.under_a_limit(found["recommendation"], found["pass_rate"], cut_failed or 0.0)
    return {**found, "cut_share": cut, "cut_failed_share": cut_failed, "recommendation": told}


def pass_at(rows: Iterable[list[tuple[bool, bytes]]], samples: int) -> list[dict[str, Any]]:
    """[{"k", "value", "ci95"}] for k = 1, 2, 4, ... and the number of samples itself.

    Of n answers to a row c pass: 1 − C(n−c, k) / C(n, k) is the chance that a draw of k without
    replacement holds one that passes (Chen et al. 2021, arXiv 2107.03374).
    """
    rows = list(rows)
    found = []
    for k in sorted({*(2**i for i in range(samples.bit_length())), samples}):
        estimate = rate_interval(np.array([_one_of(row, k) for row in rows]))
        found.append({"k": k, "value": estimate.value, "ci95": estimate_json(estimate)})
    return found


def _one_of(row: list[tuple[bool, bytes]], k: int) -> float:
    failed = sum(not passed for passed, _ in row)
    return 1 - comb(failed, k) / comb(len(row), k)


def _by_row(answers: Answers) -> list[list[tuple[bool, bytes]]]:
    def uid(item: tuple[tuple[str, int], Any]) -> str:
        return item[0][0]

    ordered = sorted(answers.items(), key=lambda item: item[0])
    return [[answer for _, answer in group] for _, group in groupby(ordered, key=uid)]


def _within(rows: list[list[tuple[bool, bytes]]]) -> float | None:
    """Mean over rows of the unbiased p(1−p) of its answers; None where rows have one answer."""
    found = []
    for row in rows:
        n, passed = len(row), sum(ok for ok, _ in row)
        if n > 1:
            found.append(passed * (n - passed) / (n * (n - 1)))
    return sum(found) / len(found) if found else None


def _repeated(rows: list[list[tuple[bool, bytes]]]) -> float | None:
    """Mean over rows of the share of equal pairs among its answers; None for one answer a row."""
    found = []
    for row in rows:
        if len(row) > 1:
            same = sum(comb(n, 2) for n in Counter(what for _, what in row).values())
            found.append(same / comb(len(row), 2))
    return sum(found) / len(found) if found else None


def _measured(scores: Scores, samples: int, within: float | None) -> gate.Measured:
    rate = scores.rate()
    return gate.Measured(rate.value, rate.low, rate.high, len(scores.uids), samples, within)
