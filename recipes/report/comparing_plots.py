"""Two wide charts that set arms side by side: differences to the baseline, success by attempt."""

from __future__ import annotations

from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from recipes.report.plots import (
    DASHES,
    GRID,
    INK,
    MUTED,
    SERIES,
    STYLE,
    bare,
    labelled,
    marker_of,
    new_figure,
    svg_of,
)
from recipes.report.words import signed

ROLES = {"method": "methods", "sft": "supervised", "control": "controls"}
ROW_INCHES = 0.33
NAME_CHARS = 34
PANEL_CHARS = 26
FEW = 20  # attempts; a rate of fewer is drawn hollow
MOST_ATTEMPTS = 8
ONE_PANEL = 5  # arms
COLUMNS = 4
Chart = dict[str, str]
Lines = list[tuple[int, dict[str, Any], list[dict[str, Any]]]]  # arm's number, arm, attempts


def forest(report: dict[str, Any]) -> Chart | None:
    """Each arm's difference to the baseline, a line an arm; None where fewer than two have one.

    An interval over seeds that reaches far beyond all others is cut at the edge, with an arrow.
    """
    shown = [
        (role, [(i, a) for i, a in enumerate(report["arms"]) if a["role"] == role and _has(a)])
        for role in ROLES
    ]
    shown = [(role, arms) for role, arms in shown if arms]
    entries = [arm for _, arms in shown for _, arm in arms]
    if len(entries) < 2:
        return None
    titled = len(shown) > 1
    rows = len(entries) + len(shown) * titled
    with matplotlib.rc_context(STYLE):
        figure, axes = new_figure(9.0, 0.75 + ROW_INCHES * rows)
        limits = _limits(entries)
        labels: list[tuple[str, str]] = []
        for role, arms in shown:
            if titled:
                labels.append((ROLES[role], MUTED))
            for i, arm in arms:
                _line(axes, len(labels), arm, SERIES[i % len(SERIES)], limits)
                labels.append((_short(arm["name"]), INK))
        axes.axvline(0, color=MUTED, linewidth=1, zorder=1)
        _name_rows(axes, labels)
        axes.set_xlim(*limits)
        axes.set_xlabel("points over the baseline", color=MUTED)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: _tick(v)))
        svg = svg_of(figure)
    return {"note": _forest_note(entries), "svg": labelled(svg, "Difference to baseline", "forest")}


def _tick(points: float) -> str:
    return signed(points).removesuffix(".0") if points else "0"


def _has(arm: dict[str, Any]) -> bool:
    return arm["delta_pp"] is not None


def _forest_note(entries: list[dict[str, Any]]) -> str:
    note = "Thick bar: 95 % interval over problems"
    if any(arm["delta_seed_ci95"] for arm in entries):
        note += " and seeds. Thin bar: Student's t over seeds; an arrow where it goes on"
        note += ". Dots: single seeds"
    hollow = any(arm["role"] == "control" for arm in entries)
    return note + (". Hollow: controls." if hollow else ".")


def _limits(entries: list[dict[str, Any]]) -> tuple[float, float]:
    """Room for every bar over problems and every seed, and for half as much again over seeds."""
    core = [0.0]
    for arm in entries:
        core += [*arm["delta_ci95"], *arm["delta_by_seed"]]
    low, high = min(core), max(core)
    reach = 0.5 * (high - low)
    far = [end for arm in entries for end in arm["delta_seed_ci95"] or ()]
    low = min([low, *(max(end, low - reach) for end in far)])
    high = max([high, *(min(end, high + reach) for end in far)])
    margin = 0.03 * (high - low) or 1.0
    return low - margin, high + margin


def _line(
    axes: Axes, y: int, arm: dict[str, Any], colour: str, limits: tuple[float, float]
) -> None:
    control = arm["role"] == "control"
    if arm["delta_seed_ci95"]:
        _seed_interval(axes, y, arm["delta_seed_ci95"], colour, limits)
    low, high = arm["delta_ci95"]
    axes.plot(
        [low, high], [y, y], color=colour, linewidth=4.5, alpha=0.42, zorder=3,
        solid_capstyle="butt",
    )  # fmt: skip
    seeds = arm["delta_by_seed"]
    if len(seeds) > 1:
        below = [y + 0.27] * len(seeds)
        axes.plot(seeds, below, "o", markersize=3.2, color=colour, markeredgewidth=0, zorder=4)
    face = "none" if control else colour
    axes.plot(
        arm["delta_pp"], y, "o", markersize=7, markeredgecolor=colour, markerfacecolor=face,
        markeredgewidth=1.6, zorder=5,
    )  # fmt: skip


def _seed_interval(
    axes: Axes, y: int, interval: list[float], colour: str, limits: tuple[float, float]
) -> None:
    inside = 0.012 * (limits[1] - limits[0])  # where an arrow has room
    ends = [max(interval[0], limits[0] + inside), min(interval[1], limits[1] - inside)]
    axes.plot(ends, [y, y], color=colour, linewidth=1, zorder=2)
    for end, whole, arrow in zip(ends, interval, "<>", strict=True):
        marker = "|" if end == whole else arrow
        axes.plot(end, y, marker, color=colour, markersize=6, zorder=2, clip_on=False)


def _name_rows(axes: Axes, labels: list[tuple[str, str]]) -> None:
    bare(axes, "x")
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_yticks(range(len(labels)), [name for name, _ in labels])
    for tick, (_, colour) in zip(axes.get_yticklabels(), labels, strict=True):
        tick.set_color(colour)


def _short(name: str, limit: int = NAME_CHARS) -> str:
    return name if len(name) <= limit else name[: limit - 1] + "…"


def success_by_attempt(report: dict[str, Any]) -> Chart | None:
    """Share of attempts that passed by their number, in the first round.

    A line an arm; where there are many arms a panel an arm, with the others in grey behind it.
    """
    found = report["retry"]
    first = {row["arm"]: row for row in found["rows"] if row["round"] == 1} if found else {}
    lines: Lines = []
    for i, arm in enumerate(report["arms"]):
        attempts = first[arm["name"]]["attempts"] if arm["name"] in first else []
        points = [a for a in attempts if a["asked"] and a["number"] <= MOST_ATTEMPTS]
        if len(points) > 1:
            lines.append((i, arm, points))
    if not lines:
        return None
    with matplotlib.rc_context(STYLE):
        figure = _panels(lines) if len(lines) > ONE_PANEL else _one_panel(lines)
        svg = svg_of(figure)
    note = (
        "First round, all arms from the same weights: the share that passed of the attempts with "
        f"that number (up to {MOST_ATTEMPTS}). Hollow: fewer than {FEW}. Later attempts are made "
        "at the harder tasks."
    )
    return {"note": note, "svg": labelled(svg, "Success by attempt", "attempts")}


def _one_panel(lines: Lines) -> Figure:
    figure, axes = new_figure(9.0, 3.2)
    for i, arm, points in lines:
        _attempts(axes, points, i, arm["role"])
    _attempt_axes(axes, lines)
    axes.set_xlabel("attempt", color=MUTED)
    return figure


def _panels(lines: Lines) -> Figure:
    rows = -(-len(lines) // COLUMNS)
    figure = Figure(figsize=(9.0, 0.3 + 1.55 * rows), layout="constrained")
    FigureCanvasSVG(figure)
    grid = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False)
    for axes in grid.flat[len(lines) :]:
        axes.set_visible(False)
    for n, (i, arm, points) in enumerate(lines):
        axes = grid.flat[n]
        for _, other, theirs in lines:
            if other is not arm:
                numbers = [a["number"] for a in theirs]
                axes.plot(numbers, [a["rate"] for a in theirs], color=GRID, linewidth=1, zorder=2)
        _attempts(axes, points, i, arm["role"])
        _attempt_axes(axes, lines)
        axes.tick_params(labelbottom=n + COLUMNS >= len(lines))  # no panel below
        axes.set_title(_short(arm["name"], PANEL_CHARS), color=INK, fontsize=9, loc="left")
    figure.supxlabel("attempt", color=MUTED, fontsize=10)
    return figure


def _attempt_axes(axes: Axes, lines: Lines) -> None:
    most = max(points[-1]["number"] for _, _, points in lines)
    bare(axes, "y")
    axes.set_ylim(bottom=0)
    axes.set_xticks(range(1, most + 1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=4, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:.0f} %"))


def _attempts(axes: Axes, points: list[dict[str, Any]], i: int, role: str) -> None:
    colour, marker = SERIES[i % len(SERIES)], marker_of(i)
    numbers, rates = [a["number"] for a in points], [a["rate"] for a in points]
    axes.plot(numbers, rates, color=colour, linestyle=DASHES[role], linewidth=1.6, zorder=3)
    for number, rate, point in zip(numbers, rates, points, strict=True):
        face = colour if point["asked"] >= FEW else "none"
        axes.plot(
            number, rate, marker, markersize=5, markeredgecolor=colour, markerfacecolor=face,
            zorder=4,
        )  # fmt: skip
