"""Intervals for pass rates and for differences between arms.

Conventions: a *problem* is one held-out row (uid); its value is the mean of `passed` over the
samples drawn for it, so several samples never count as several problems. Suffixes: `_N` problems,
`_S` seeds, `_R` bootstrap resamples. Rates and differences are fractions; the report turns them
into points.

Which interval answers which question:

* `wilson_interval`: one model, one sample a problem (Wilson 1927, score interval);
* `paired_difference`: two arms on the same problems, one seed (BCa bootstrap, Efron 1987);
* `hierarchical_interval`: several seeds, seeds and problems both resampled. With two or three seeds
  it is too narrow, since three seeds resampled show little of the spread between seeds;
* `seed_interval`: Student's t over seed means, honest but wide for three seeds.

A difference *holds up* over seeds when the last two both exclude zero.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

LEVEL = 0.95
RESAMPLES = 10_000

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A value with its two-sided interval, all fractions."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """True when the whole interval lies on one side of zero."""
        return self.low > 0 or self.high < 0


def per_problem_means(rows: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Mean value per uid over its samples, in order of first appearance."""
    totals: dict[str, list[float]] = {}
    for uid, value in rows:
        entry = totals.setdefault(uid, [0.0, 0.0])
        entry[0] += float(value)
        entry[1] += 1.0
    return {uid: total / count for uid, (total, count) in totals.items()}


def align(
    first: Mapping[str, float], second: Mapping[str, float]
) -> tuple[list[str], FloatArray, FloatArray]:
    """Uids that both hold (sorted), and both value vectors [N] in that order."""
    uids = sorted(first.keys() & second.keys())
    return uids, np.array([first[u] for u in uids]), np.array([second[u] for u in uids])


def wilson_interval(passed: int, n: int, *, level: float = LEVEL) -> Estimate:
    """Wilson score interval of a proportion.

    Raises:
        ValueError: n is not positive, or passed lies outside 0..n.
    """
    if n <= 0 or not 0 <= passed <= n:
        raise ValueError(
            f"wilson_interval needs 0 <= passed <= n and n >= 1, got {passed} of {n}; "
            "leave out groups without a problem before asking for their interval"
        )
    interval = stats.binomtest(passed, n).proportion_ci(level, method="wilson")
    return Estimate(passed / n, float(interval.low), float(interval.high))


def rate_interval(values_N: ArrayLike, *, level: float = LEVEL, seed: int = 0) -> Estimate:
    """Interval of a mean pass rate over problems.

    Wilson where every value is 0 or 1 (one sample a problem); a bootstrap over problems where
    values are means over several samples. Where those are all the same, Wilson again.
    """
    values_N = _vector(values_N, "values_N")
    if np.isin(values_N, (0.0, 1.0)).all():
        return wilson_interval(int(values_N.sum()), values_N.size, level=level)
    if values_N.size == 1:
        return Estimate(float(values_N[0]), 0.0, 1.0)
    if np.ptp(values_N) < 1e-12:  # nothing to resample, which is no certainty
        return _as_single_samples(float(values_N[0]), values_N.size, level)
    return _bootstrap_mean(values_N, level=level, seed=seed)


def _as_single_samples(rate: float, n: int, level: float) -> Estimate:
    """Wilson's interval, as if each of n problems had been answered once: too wide, if anything."""
    around = [
        wilson_interval(k, n, level=level) for k in (math.floor(rate * n), math.ceil(rate * n))
    ]
    return Estimate(rate, min(w.low for w in around), max(w.high for w in around))


def paired_difference(
    treated_N: ArrayLike,
    control_N: ArrayLike,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Estimate:
    """Mean of treated − control over the same problems, with a seeded BCa bootstrap over problems.

    Resampling pairs and taking the difference of means equals resampling the differences, so it is
    the differences that are resampled. Equal differences everywhere give an interval of no width
    ([0, 0] for identical vectors). A single pair bounds nothing: [−1, 1].

    Raises:
        ValueError: the vectors are empty, differ in length, or hold a value that is not finite.
    """
    treated_N, control_N = _vector(treated_N, "treated_N"), _vector(control_N, "control_N")
    if treated_N.shape != control_N.shape:
        raise ValueError(
            f"paired_difference needs the same problems on both sides, got {treated_N.size} and "
            f"{control_N.size}; use align() first"
        )
    difference_N = treated_N - control_N
    if difference_N.size == 1:
        return Estimate(float(difference_N[0]), -1.0, 1.0)
    return _bootstrap_mean(difference_N, level=level, resamples=resamples, seed=seed)


def seed_interval(values_S: ArrayLike, *, level: float = LEVEL) -> Estimate | None:
    """Student-t interval of the mean over seeds; None for a single seed."""
    values_S = _vector(values_S, "values_S")
    if values_S.size < 2:
        return None
    mean, error = float(values_S.mean()), float(stats.sem(values_S))
    reach = float(stats.t.ppf((1 + level) / 2, values_S.size - 1)) * error
    return Estimate(mean, mean - reach, mean + reach)


def hierarchical_interval(
    values_SN: ArrayLike, *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """Percentile bootstrap over seeds and problems of the mean of values [S, N].

    The design is crossed: every seed answers the same problems, so a resample draws one set of
    seeds and one set of problems and takes the mean over their product.

    Raises:
        ValueError: the array is not two-dimensional, is empty or holds a value that is not finite.
    """
    values_SN = np.asarray(values_SN, dtype=np.float64)
    if values_SN.ndim != 2 or values_SN.size == 0 or not np.isfinite(values_SN).all():
        raise ValueError(
            f"hierarchical_interval needs finite values of shape [seeds, problems], got shape "
            f"{values_SN.shape}; keep only the problems that every seed answered"
        )
    n_seeds, n_problems = values_SN.shape
    seeds_RS, problems_RN = _crossed(n_seeds, n_problems, resamples, seed)
    means_R = ((problems_RN @ values_SN.T) * seeds_RS).sum(axis=1) / (n_seeds * n_problems)
    tail = (1 - level) / 2
    low, high = np.quantile(means_R, [tail, 1 - tail])
    return Estimate(float(values_SN.mean()), float(low), float(high))


@lru_cache(maxsize=16)
def _crossed(
    n_seeds: int, n_problems: int, resamples: int, seed: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """How often each resample draws each seed [R, S] and each problem [R, N].

    The draws depend on the shape alone, and a report asks for many intervals of few shapes: drawing
    is most of their time.
    """
    rng = np.random.default_rng(seed)
    counts = (rng.multinomial(n, np.full(n, 1 / n), size=resamples) for n in (n_seeds, n_problems))
    seeds_RS, problems_RN = (drawn.astype(np.int32) for drawn in counts)
    return seeds_RS, problems_RN


def _vector(values: ArrayLike, name: str) -> FloatArray:
    vector = np.asarray(values, dtype=np.float64)
    if vector.ndim != 1 or vector.size == 0 or not np.isfinite(vector).all():
        raise ValueError(
            f"{name} must be a non-empty vector of finite numbers, got shape {vector.shape}; "
            "leave out problems without a verdict"
        )
    return vector


def _bootstrap_mean(
    values_N: FloatArray, *, level: float, seed: int, resamples: int = RESAMPLES
) -> Estimate:
    mean = float(values_N.mean())
    if np.ptp(values_N) < 1e-12:  # BCa divides by a spread of zero here and answers NaN
        return Estimate(mean, mean, mean)
    low, high = _scipy_interval(values_N, "BCa", level, resamples, seed)
    if not (math.isfinite(low) and math.isfinite(high)):
        low, high = _scipy_interval(values_N, "percentile", level, resamples, seed)
    return Estimate(mean, low, high)


def _scipy_interval(
    values_N: FloatArray, method: str, level: float, resamples: int, seed: int
) -> tuple[float, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        result = stats.bootstrap(
            (values_N,),
            np.mean,
            n_resamples=resamples,
            batch=1000,  # bounds memory at 1000 × N
            vectorized=True,
            confidence_level=level,
            method=method,
            rng=np.random.default_rng(seed),
        )
    interval = result.confidence_interval
    return float(interval.low), float(interval.high)
