"""The report's charts: matplotlib figures as SVG text to be set inline in the page.

Colours are drawn as stand-in values and replaced by CSS variables of the page, so that one picture
serves light and dark; text stays text and takes the page's font.
"""

from __future__ import annotations

import html
import io
import math
import re
from collections.abc import Sequence
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

# stand-in colour -> CSS variable; nothing else in a figure has these values
INK, MUTED, GRID, BAD = "#010101", "#020202", "#030303", "#040404"
SERIES = [f"#0a0b{i:02x}" for i in range(8)]
VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--grid", BAD: "--bad"} | {
    colour: f"--s{i}" for i, colour in enumerate(SERIES)
}
# Colours repeat after eight arms: the marker tells them apart
MARKERS = {"o": "●", "s": "■", "^": "▲", "D": "◆"}
DASHES = {"method": "-", "sft": (0, (6, 2)), "control": (0, (2, 2))}
LEGEND_WIDTH = 150  # points, of a chart that is a file of its own
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "verl-pi",
    "font.size": 10,
    "text.parse_math": False,  # an arm's name is no formula
}


def charts(report: dict[str, Any]) -> list[dict[str, str]]:
    """The charts that the run has data for: [{"title", "note", "svg"}]."""
    baseline = report["baseline"]["pass_rate"]
    specs = [
        (
            "heldout_pass_rate",
            "Held-out pass rate",
            "Bars: 95 % interval. Hollow: fewer rows than the whole set. Dotted: baseline. "
            "A collapsed arm has only its end marked, on the axis.",
            "percent",
        ),
        (
            "kl",
            "KL to the teacher",
            "Mean per generated token, nats. Near zero is no success. Bands: range over seeds.",
            "",
        ),
        ("entropy", "Entropy of the student", "Mean per generated token, nats.", ""),
        ("distinct", "Distinct outputs while sampling", "A fall to a few is a collapse.", ""),
        ("train_pass_rate", "Pass rate while sampling", "On training problems.", "percent"),
    ]
    found = []
    for curve, title, note, unit in specs:
        svg = _chart(report, curve, unit, baseline if curve == "heldout_pass_rate" else None)
        if svg:
            found.append({"title": title, "note": note, "svg": labelled(svg, title, curve)})
    return found


def series_styles(report: dict[str, Any]) -> list[dict[str, str]]:
    """The legend shared by all charts: name, CSS variable and line kind of each arm."""
    return [
        {
            "name": arm["name"],
            "variable": "--muted"
            if arm["status"] in ("collapsed", "suspect")
            else VARIABLES[SERIES[i % len(SERIES)]],
            "dash": {"method": "solid", "sft": "dashed"}.get(arm["role"], "dotted"),
            "status": arm["status"],
            "marker": MARKERS[marker_of(i)] if len(report["arms"]) > len(SERIES) else "",
        }
        for i, arm in enumerate(report["arms"])
    ]


def marker_of(i: int) -> str:
    """The marker of the arm number ``i``."""
    return list(MARKERS)[i // len(SERIES) % len(MARKERS)]


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure, inches, and its axes; to be made and drawn within ``STYLE``."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.add_subplot()


def svg_of(figure: Figure) -> str:
    """The figure as SVG text, the same for the same content."""
    buffer = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    return buffer.getvalue()


def _chart(report: dict[str, Any], curve: str, unit: str, baseline: float | None) -> str | None:
    with matplotlib.rc_context(STYLE):
        wide = curve == "heldout_pass_rate"
        figure, axes = new_figure(*((9.0, 3.4) if wide else (6.2, 3.0)))
        drawn = 0
        for i, arm in enumerate(report["arms"]):
            points = report["curves"].get(arm["name"], {}).get(curve) or []
            if points:
                _draw(axes, arm, points, i, is_rate=unit == "percent")
                drawn += 1
        if not drawn:
            return None
        if baseline is not None:
            axes.axhline(baseline, color=MUTED, linewidth=1, linestyle=(0, (1, 2)))
        _dress(axes, unit)
        return svg_of(figure)


def _draw(
    axes: Axes, arm: dict[str, Any], points: list[dict[str, Any]], i: int, is_rate: bool
) -> None:
    steps, values = [p["step"] for p in points], [p["value"] for p in points]
    colour, dash = SERIES[i % len(SERIES)], DASHES[arm["role"]]
    if arm["status"] in ("collapsed", "suspect"):
        # a pass rate may rise while the policy collapses: such a rise is not drawn
        if not is_rate:
            axes.plot(steps, values, color=MUTED, linestyle=dash, linewidth=1.0, zorder=2)
        end = arm["collapse"]["step"] if arm["collapse"] else steps[-1]
        height = 0.0 if is_rate else values[-1]
        axes.plot(end, height, "X", color=BAD, markersize=9, zorder=5, clip_on=False)
        return
    if "n" in points[0]:
        # arms are set side by side, or their bars would hide one another
        shifted = [step + 0.004 * i * max(steps) for step in steps]
        axes.plot(shifted, values, color=colour, linestyle=dash, linewidth=1.6, zorder=3)
        _whiskers(axes, shifted, points, colour, marker_of(i))
        return
    axes.plot(steps, values, color=colour, linestyle=dash, linewidth=1.6, zorder=3)
    low, high = [p["low"] for p in points], [p["high"] for p in points]
    axes.fill_between(steps, low, high, color=colour, alpha=0.13, linewidth=0, zorder=1)


def _whiskers(
    axes: Axes, at: list[float], points: list[dict[str, Any]], colour: str, marker: str
) -> None:
    most = max(p["n"] for p in points)
    for x, point in zip(at, points, strict=True):
        axes.plot([x, x], [point["low"], point["high"]], color=colour, linewidth=1, zorder=2)
        face = colour if point["n"] == most else "none"
        style = {"markersize": 4.5, "markeredgecolor": colour, "markerfacecolor": face}
        axes.plot(x, point["value"], marker, zorder=4, **style)


def bare(axes: Axes, grid: Literal["x", "y"]) -> None:
    """No frame but the lower edge, and a grid along one direction."""
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(GRID)
    axes.tick_params(colors=MUTED, length=0)
    axes.grid(axis=grid, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def _dress(axes: Axes, unit: str) -> None:
    bare(axes, "y")
    axes.set_xlabel("step", color=MUTED)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    if unit == "percent":
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:.0f} %"))
    else:
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))


def standalone(svg: str, style: str, legend: Sequence[dict[str, str]] = ()) -> str:
    """A page's chart as a file of its own, in the light colours of the style sheet ``style``, with
    the legend that the page shows once for all charts."""
    light = dict(re.findall(r"(--[\w-]+):\s*([^;]+);", style[: style.index("@media")]))
    width, height = map(float, re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)[0])
    columns = max(int(width // LEGEND_WIDTH), 1)
    entries = [
        _legend_entry(style, 8 + LEGEND_WIDTH * (i % columns), height + 14 * (1 + i // columns))
        for i, style in enumerate(legend)
    ]
    height += 14 * math.ceil(len(legend) / columns) + 6 * bool(legend)
    size = f'width="{width:g}" height="{height:g}"'
    svg = re.sub(r'viewBox="[^"]*"', f'viewBox="0 0 {width:g} {height:g}" {size}', svg, count=1)
    svg = re.sub(r"(<svg[^>]*>)", rf'\1<rect {size} fill="var(--panel)"/>', svg, count=1)
    svg = svg.replace("</svg>", "".join(entries) + "</svg>")
    for name, value in light.items():
        svg = svg.replace(f"var({name})", value)
    svg = svg.replace("font-family: inherit", "font-family: system-ui, sans-serif")
    return '<?xml version="1.0" encoding="utf-8"?>\n' + svg


def _legend_entry(style: dict[str, str], x: float, y: float) -> str:
    dash = {"solid": "", "dashed": "6 2", "dotted": "2 2"}[style["dash"]]
    name = html.escape(f"{style['marker']} {style['name']}".strip())
    return (
        f'<line x1="{x:g}" y1="{y - 4:g}" x2="{x + 24:g}" y2="{y - 4:g}" stroke-width="2" '
        f'stroke="var({style["variable"]})" stroke-dasharray="{dash}"/>'
        f'<text x="{x + 30:g}" y="{y:g}" style="font-size: 10px; font-family: inherit" '
        f'fill="var(--ink)">{name}</text>'
    )


def labelled(svg: str, title: str, prefix: str) -> str:
    """The SVG made fit for a page: no prolog, its own ids, the page's colours, a name."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = svg.replace("url(#", f"url(#{prefix}-").replace('href="#', f'href="#{prefix}-')
    svg = re.sub(r"font: [^;\"]*?([\d.]+px)[^;\"]*", r"font-size: \1; font-family: inherit", svg)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    return svg.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
