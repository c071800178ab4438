"""The competence gate: zones and their edges, certainty, and sources that are never ours."""

from __future__ import annotations

import pytest

from recipes.gate import PUBLISHED, ZONES, Measured, recommend, zone_of
from recipes.stats import wilson_interval


def rate(passed: int, rows: int) -> Measured:
    found = wilson_interval(passed, rows)
    return Measured(found.value, found.low, found.high, rows)


def exactly(value: float) -> Measured:
    return Measured(value, value - 0.001, value + 0.001, 10_000)


@pytest.mark.parametrize(
    ("value", "zone"),
    [
        (0.0, "below 20 %"), (0.1999, "below 20 %"), (0.2, "20 to 30 %"), (0.2999, "20 to 30 %"),
        (0.3, "30 to 55 %"), (0.55, "30 to 55 %"), (0.5501, "55 to 60 %"), (0.6, "55 to 60 %"),
        (0.6001, "above 60 %"), (1.0, "above 60 %"),
    ],
)  # fmt: skip
def test_the_edges_belong_to_the_side_of_the_band(value, zone):
    assert zone_of(value).name == zone


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan")])
def test_what_is_no_rate_is_refused(value):
    with pytest.raises(ValueError, match="is a fraction"):
        zone_of(value)


@pytest.mark.parametrize(
    ("value", "mode", "warns", "words"),
    [
        (0.1, "another set", True, "an easier set"),
        (0.25, "retry, in doubt", False, "no figure for such a baseline"),
        (0.4, "retry", False, "double sampling at equal budget"),
        (0.57, "retry, in doubt", False, "no figure for such a baseline"),
        (0.8, "another set", True, "a harder set"),
    ],
)
def test_each_zone_has_its_mode(value, mode, warns, words):
    found = recommend(exactly(value))
    assert (found.mode, found.warns, found.decided) == (mode, warns, True)
    assert words in " ".join(found.advice)
    assert ("python -m data_prep frontier" in " ".join(found.advice)) is (value != 0.4)
    assert "The whole interval lies" in found.certainty


def test_every_published_figure_is_named_as_somebody_elses():
    assert len(PUBLISHED) > 8
    for figure in PUBLISHED:
        assert figure.source.startswith("practitioner notes, ")
        assert "seed" in figure.source and ("Qwen" in figure.source or "Kimina" in figure.source)
    told = recommend(exactly(0.4)).expected
    assert {e["gain_pp"] for e in told} >= {8.8, 12.0, 1.4}
    assert told[0]["sentence"] == (
        'retry, bare "try again": +8.8 ± 1.4 points '
        "(practitioner notes, 3 seeds, Qwen3-1.7B on MATH-500)"
    )
    assert "same 164 problems" in " ".join(e["source"] for e in told)
    assert recommend(exactly(0.25)).expected == []


def test_lean_has_figures_of_its_own():
    found = recommend(exactly(0.4), lean=True)
    assert [e["gain_pp"] for e in found.expected] == [3.3, -2.4, -2.0]
    assert "recipes.opsd_skeleton" in " ".join(found.advice)
    assert "recipes.opsd_skeleton" not in " ".join(recommend(exactly(0.4)).advice)


def test_an_interval_over_an_edge_decides_nothing_and_says_what_would():
    found = recommend(rate(35, 100))  # Wilson [26.4, 44.7]
    assert found.touched == ("20 to 30 %", "30 to 55 %") and not found.decided
    assert found.certainty.startswith("Undecided: the interval reaches 20 to 30 % and 30 to 55 %.")
    assert found.more_rows is not None and found.more_samples is None
    more = 100 + found.more_rows
    assert recommend(rate(round(0.35 * more), more)).decided
    fewer = 100 + found.more_rows // 2
    assert not recommend(rate(round(0.35 * fewer), fewer)).decided


def test_a_rate_on_an_edge_is_not_sent_measuring():
    found = recommend(rate(300, 1000))
    assert found.more_rows is None and "no affordable number" in found.certainty


def test_samples_decide_only_what_lies_within_the_rows():
    # 100 rows of p = 0.35 each, 2 samples: all variance lies within, W = 0.2275
    half = 1.96 * (0.2275 / 2 / 100) ** 0.5
    alike = Measured(0.35, 0.35 - half, 0.35 + half, 100, samples=2, within=0.2275)
    found = recommend(alike)
    # (half / 0.05)^2 = 1.748: 75 more rows, or 3.5 samples in place of 2
    assert (found.more_rows, found.more_samples) == (80, 2)
    assert "about 2 more samples of each of the 100 rows" in found.certainty
    # all variance between the rows: no number of samples helps
    fixed = Measured(0.35, 0.35 - half, 0.35 + half, 100, samples=2, within=0.001)
    assert recommend(fixed).more_samples is None
    assert "more samples of these rows would not" in recommend(fixed).certainty


def test_levels_in_the_band_are_named():
    levels = {"1": exactly(0.9), "3": exactly(0.46), "4": exactly(0.36)}
    told = " ".join(recommend(exactly(0.7), levels).advice)
    assert "level 3 (46.0 %) and 4 (36.0 %)" in told and "by=level" in told
    assert "by=level" not in " ".join(recommend(exactly(0.4), levels).advice)


def test_the_zones_cover_every_rate_once():
    assert [z.low for z in ZONES][1:] == [z.high for z in ZONES][:-1]
    assert (ZONES[0].low, ZONES[-1].high) == (0.0, 1.0)
