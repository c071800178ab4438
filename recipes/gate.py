"""The competence gate: from a measured pass rate to the mode of training that fits it.

Pure functions. The band and the expected gains are claims of others (`PUBLISHED`), named with their
source wherever they are shown, and no measurement of this package.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from recipes.report.words import listed, percent, percent_range, signed

NOTES = "practitioner notes"
BASE_SETTING = "Qwen3-1.7B on MATH-500"
Z = 1.959964  # of a 95 % interval
MOST_ROWS = 100_000  # beyond that many, nobody is told to measure more
FRONTIER = (
    "python -m data_prep frontier ROWS.parquet model=MODEL out=FRONTIER.parquet band=[0.3,0.55]"
)


@dataclass(frozen=True)
class Measured:
    """A pass rate with its 95 % interval, as fractions.

    ``within`` is the mean variance of single answers to one row, p(1−p), where several samples a
    row show it; it tells how much more samples could narrow the interval.
    """

    value: float
    low: float
    high: float
    rows: int
    samples: int = 1
    within: float | None = None


@dataclass(frozen=True)
class Published:
    """A gain that others reported, in points over the same model's baseline (a fraction)."""

    arm: str
    gain: float
    where: str = BASE_SETTING
    seeds: int = 1
    spread: float | None = None
    baseline: float | None = None
    note: str = ""

    @property
    def source(self) -> str:
        seeds = "one seed" if self.seeds == 1 else f"{self.seeds} seeds"
        start = "" if self.baseline is None else f", from {percent(self.baseline)}"
        return f"{NOTES}, {seeds}, {self.where}{start}{'; ' + self.note if self.note else ''}"

    @property
    def sentence(self) -> str:
        spread = "" if self.spread is None else f" ± {self.spread:.1f}"
        return f"{self.arm}: {signed(self.gain)}{spread} points ({self.source})"


@dataclass(frozen=True)
class Zone:
    """A stretch of the curve of pass rates; its ends belong to it where ``closed``."""

    name: str
    low: float
    high: float
    mode: str
    warns: bool
    position: str
    closed: bool = False
    published: tuple[Published, ...] = ()

    def holds(self, rate: float) -> bool:
        return self.low <= rate <= self.high if self.closed else self.low <= rate < self.high


LEAN = (
    Published("have-skeleton OPSD", 3.3, "Kimina-1.5B on miniF2F", baseline=0.393),
    Published("retry, bare", -2.4, "Kimina-1.5B on miniF2F", baseline=0.393),
    Published("skeleton + retry", -2.0, "Kimina-1.5B on miniF2F", baseline=0.393),
)
FRONTIER_OPSD = Published("OPSD on the frontier", 3.6)
IN_BAND = (
    Published('retry, bare "try again"', 8.8, seeds=3, spread=1.4),
    Published("retry, gold answer in the retry prompt", 12.0, seeds=3, spread=0.7),
    Published("double sampling at the same budget, no failure shown", 1.4),
    Published("retry, full fine-tuning", 9.6, "Qwen3-8B", baseline=0.368),
    Published("retry, LoRA at 1e-6", 2.8, "Qwen3-8B", baseline=0.355),
    Published(
        "retry", 23.2, "Qwen2.5-Coder-1.5B on HumanEval", baseline=0.542,
        note="trained and evaluated on the same 164 problems",
    ),
)  # fmt: skip
TOO_HARD = (
    Published("retry", 1.9, "Qwen2.5-Coder-1.5B on MBPP", baseline=0.058),
    FRONTIER_OPSD,
)
TOO_EASY = (
    Published("retry", -0.4, "Qwen2.5-Coder-7B on MBPP", baseline=0.665),
    Published("retry, LoRA", 0.6, "Qwen3-32B", baseline=0.683),
    FRONTIER_OPSD,
)
PUBLISHED = (*LEAN, *IN_BAND, *TOO_HARD, *TOO_EASY)
ZONES = (
    Zone(
        "below 20 %", 0.0, 0.2, "another set", True,
        "too hard: hardly anything passes, so there is little to train on", published=TOO_HARD,
    ),
    Zone("20 to 30 %", 0.2, 0.3, "retry, in doubt", False, "between too hard and the band"),
    Zone(
        "30 to 55 %", 0.3, 0.55, "retry", False, "inside the band in which retry is recommended",
        closed=True, published=IN_BAND,
    ),
    Zone("55 to 60 %", 0.55, 0.6, "retry, in doubt", False, "between the band and too easy",
         closed=True),
    Zone(
        "above 60 %", 0.6, 1.0, "another set", True,
        "too easy: few tasks are failed first and then solved", closed=True, published=TOO_EASY,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Recommendation:
    """Where a model stands and what follows. ``touched``: every zone that the interval reaches."""

    zone: str
    touched: tuple[str, ...]
    mode: str
    warns: bool
    position: str
    advice: list[str]
    certainty: str
    expected: list[dict[str, Any]] = field(default_factory=list)
    more_rows: int | None = None
    more_samples: int | None = None

    @property
    def decided(self) -> bool:
        return len(self.touched) == 1

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "touched": list(self.touched), "decided": self.decided}


def zone_of(rate: float) -> Zone:
    """The zone of a pass rate; a rate on an edge belongs to the band's side of it.

    Raises:
        ValueError: the rate is no fraction.
    """
    inside_out = (ZONES[2], ZONES[1], ZONES[3], ZONES[0], ZONES[4])
    for zone in inside_out:
        if zone.holds(rate):
            return zone
    raise ValueError(f"a pass rate is a fraction in [0, 1], got {rate!r}")


def recommend(
    overall: Measured, levels: Mapping[str, Measured] | None = None, *, lean: bool = False
) -> Recommendation:
    """What to do with a model of that pass rate on that set.

    Args:
        overall: the pass rate over all rows.
        levels: the same by difficulty level, where rows have levels.
        lean: the answers are Lean proofs, for which the notes' figures are others.
    """
    zone = zone_of(overall.value)
    touched = tuple(z.name for z in ZONES if _overlaps(z, overall, zone))
    rows, samples = (None, None) if len(touched) == 1 else _to_decide(overall, zone)
    return Recommendation(
        zone=zone.name,
        touched=touched,
        mode=zone.mode,
        warns=zone.warns,
        position=f"{_rate(overall)} is {zone.position}.",
        advice=_advice(zone, levels or {}, lean),
        certainty=_certainty(touched, overall, rows, samples),
        expected=[
            {"arm": p.arm, "gain_pp": p.gain, "source": p.source, "sentence": p.sentence}
            for p in (LEAN if lean else zone.published)
        ],
        more_rows=rows,
        more_samples=samples,
    )


def under_a_limit(told: dict[str, Any], rate: float, cut_failed: float) -> dict[str, Any]:
    """The recommendation (``Recommendation.as_dict``) for a rate that the limit on tokens may have
    lowered: the share ``cut_failed`` of all answers was cut by it and failed."""
    most = min(rate + cut_failed, 1.0)
    if zone_of(most) is zone_of(rate):
        return told
    why = (
        f"{percent(cut_failed)} of the answers were cut by max_response_tokens and failed. Had "
        f"they passed, the rate would be {percent(most)} ({zone_of(most).name}): give more tokens, "
        "then measure again."
    )
    return {
        **told, "mode": "none yet: answers were cut", "warns": True, "decided": False,
        "certainty": why, "advice": [], "expected": [],
    }  # fmt: skip


def _overlaps(zone: Zone, measured: Measured, own: Zone) -> bool:
    """Touching an edge alone is no overlap."""
    return zone is own or (measured.low < zone.high and measured.high > zone.low)


def _rate(measured: Measured) -> str:
    return f"{percent(measured.value)} {percent_range([measured.low, measured.high])}"


def _advice(zone: Zone, levels: Mapping[str, Measured], lean: bool) -> list[str]:
    lines = []
    if zone.warns:
        kind = "an easier" if zone is ZONES[0] else "a harder"
        lines.append(
            f"Retry is not recommended here. Take {kind} set, or keep the rows that this model "
            f"passes sometimes: {FRONTIER}"
        )
    elif zone is ZONES[2]:
        lines.append("Retry, filter and fine-tune; keep double sampling at equal budget beside it.")
    else:
        lines.append(
            "Neither recommended nor refused: the notes have no figure for such a baseline. "
            f"Selecting rows moves the set into the band: {FRONTIER}"
        )
    lines += _of_levels(zone, levels)
    if lean:
        lines.append(
            "For Lean the notes' retry lost points at a baseline of 39.3 %, inside the band, and "
            "OPSD with have-skeletons gained: python -m recipes.opsd_skeleton"
        )
    return lines


def _of_levels(zone: Zone, levels: Mapping[str, Measured]) -> list[str]:
    inside = [name for name, rate in levels.items() if zone_of(rate.value) is ZONES[2]]
    if not inside or len(inside) == len(levels):
        return []
    shown = listed([f"{name} ({percent(levels[name].value)})" for name in inside])
    more = "" if zone is ZONES[2] else f" Their rows alone: {FRONTIER} by=level"
    return [f"Inside the band, by point estimate: level {shown}.{more}"]


def _certainty(
    touched: Sequence[str], measured: Measured, rows: int | None, samples: int | None
) -> str:
    if len(touched) == 1:
        return "The whole interval lies in this zone."
    text = f"Undecided: the interval reaches {listed(list(touched))}. "
    if rows is None:
        return text + "The rate lies so close to an edge that no affordable number of rows decides."
    text += f"About {rows:,} more rows would decide it if the rate stays"
    if samples is not None:
        return f"{text}, or about {samples} more samples of each of the {measured.rows} rows."
    if measured.within is None:
        return text + "."
    return text + "; more samples of these rows would not."


def _to_decide(measured: Measured, zone: Zone) -> tuple[int | None, int | None]:
    """How many more rows, or samples of each row, would bring the interval into the zone.

    The variance of a row's mean over m samples is B + W/m: B between rows, W within. An interval's
    half-width is z·sqrt((B + W/m) / rows).
    """
    ratio = _too_wide(measured, zone)
    rows = measured.rows * ratio**2 - measured.rows
    if rows > MOST_ROWS:
        return None, None
    return 10 * math.ceil(rows / 10), _samples(measured, ratio)


def _too_wide(measured: Measured, zone: Zone) -> float:
    """By which factor the interval has to shrink.

    A skewed interval becomes symmetric as rows are added: at least half of its width counts.
    """
    half = (measured.high - measured.low) / 2
    sides = (
        (measured.value - measured.low, measured.value - zone.low, zone.low > 0),
        (measured.high - measured.value, zone.high - measured.value, zone.high < 1),
    )
    return max(
        max(reach, half) / room if room > 0 else math.inf for reach, room, inner in sides if inner
    )


def _samples(measured: Measured, ratio: float) -> int | None:
    if not measured.within:
        return None
    half = (measured.high - measured.low) / 2
    whole = measured.rows * (half / Z) ** 2
    between = max(whole - measured.within / measured.samples, 0.0)
    left = whole / ratio**2 - between
    return math.ceil(measured.within / left) - measured.samples if left > 0 else None
