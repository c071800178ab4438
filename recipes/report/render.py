"""Write report.json, report.md and report.html into a run folder."""

from __future__ import annotations

import json
import math
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from recipes.report import words
from recipes.report.collect import collect

TEMPLATES = Path(__file__).parent / "templates"
# shown as U+FFFD: control characters break HTML, lone surrogates break UTF-8
HIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def write_report(run_dir: Path | str) -> Path:
    """Write the three reports of a run, finished or cut short, and return report.html's path.

    The page's charts are written once more as files of their own, to ``figures/``. Files are
    replaced whole, so a reader never sees half a report. report.json and report.md are
    written first and need no matplotlib.

    Raises:
        NotADirectoryError: run_dir is no folder.
    """
    run_dir = Path(run_dir)
    report = collect(run_dir)
    text = json.dumps(finite_json(report), indent=1, ensure_ascii=True, allow_nan=False)
    _replace(run_dir / "report.json", text + "\n")
    shown = clean(report)
    _replace(run_dir / "report.md", markdown(shown))
    drawn = draw(shown)
    (run_dir / "figures").mkdir(exist_ok=True)
    for name, svg in drawn.files.items():
        _replace(run_dir / "figures" / f"{name}.svg", svg)
    _replace(run_dir / "report.html", html(shown, drawn))
    return run_dir / "report.html"


@dataclass
class Drawn:
    """The page's charts, and what it says where there are none."""

    charts: list[dict[str, str]] = field(default_factory=list)
    legend: list[dict[str, str]] = field(default_factory=list)
    wide: dict[str, dict[str, str] | None] = field(
        default_factory=lambda: {"forest": None, "attempts": None}
    )
    files: dict[str, str] = field(default_factory=dict)
    note: str = ""


def draw(report: dict[str, Any]) -> Drawn:
    """Every chart that the run has data for; none without matplotlib."""
    try:
        from recipes.report.comparing_plots import forest, success_by_attempt
        from recipes.report.plots import charts, series_styles, standalone
    except ModuleNotFoundError as error:
        return Drawn(
            note=f"No charts: {error}. Install verl-pi[report] and run python -m recipes.report."
        )
    drawn = Drawn(charts(report), series_styles(report))
    drawn.wide = {"forest": forest(report), "attempts": success_by_attempt(report)}
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    for name, chart, legend in (
        ("difference_to_baseline", drawn.wide["forest"], ()),
        ("success_by_attempt", drawn.wide["attempts"], drawn.legend),
    ):
        if chart is not None:
            drawn.files[name] = standalone(chart["svg"], style, legend)
    for chart in drawn.charts:
        name = re.sub(r"\W+", "_", chart["title"].lower())
        drawn.files[name] = standalone(chart["svg"], style, drawn.legend)
    return drawn


def html(report: dict[str, Any], drawn: Drawn) -> str:
    """The page: one file, styles and charts inline. All text goes through autoescape."""
    environment = _environment(autoescape=True)
    for chart in (*drawn.charts, *filter(None, drawn.wide.values())):
        chart["svg"] = Markup(chart["svg"])
    style = Markup((TEMPLATES / "report.css").read_text(encoding="utf-8"))
    template = environment.get_template("report.html.j2")
    return template.render(
        r=report,
        charts=drawn.charts,
        **drawn.wide,
        legend=drawn.legend,
        plot_note=drawn.note,
        style=style,
        versions=json.dumps(report["versions"], indent=1, ensure_ascii=False),
    )


def markdown(report: dict[str, Any]) -> str:
    """The same figures as Markdown."""
    environment = _environment(autoescape=False)
    text = environment.get_template("report.md.j2").render(r=report)
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _environment(autoescape: bool) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=autoescape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=words.percent,
        percent_range=words.percent_range,
        signed=words.signed,
        signed_range=words.signed_range,
        duration=words.duration,
        listed=words.listed,
        fenced=fenced,
        cell=cell,
        figure=figure,
        count=count,
        weights=weights,
    )
    return environment


def fenced(text: str) -> str:
    """A Markdown code block whose fence no line of the text can close."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def cell(value: object) -> str:
    """Text for a Markdown table or sentence: one line, no markup and no HTML of its own."""
    text = " ".join(str(value).split())
    return re.sub(r"([\\`*_\[\]<>#|&~])", r"\\\1", text)


def figure(value: float | None, digits: int = 3) -> str:
    """A plain number with that many significant digits, or a dash."""
    return "–" if value is None else f"{value:.{digits}g}"


def count(value: float | None) -> str:
    """12 345, with a narrow blank between thousands, or a dash."""
    return "–" if value is None else f"{value:,.0f}".replace(",", "\u202f")


def weights(figures: dict[str, float | None]) -> str:
    """What is known of a term's importance weights, in words."""
    shown = [
        f"{label} {words.percent(value) if share else figure(value)}"
        for label, name, share in (
            ("mean", "ratio", False),
            ("clipped", "clip_fraction", True),
            ("effective size", "effective_sample_size", True),
        )
        if (value := figures.get(name)) is not None
    ]
    return ", ".join(shown)


def clean(value: Any) -> Any:
    """The same structure with characters that cannot be shown replaced."""
    if isinstance(value, str):
        return HIDDEN.sub("\ufffd", value)
    if isinstance(value, dict):
        return {clean(k): clean(v) for k, v in value.items()}
    if isinstance(value, list):
        return [clean(v) for v in value]
    return value


def finite_json(value: Any) -> Any:
    """The same structure with NaN and infinities as null, which JSON has no words for."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {k: finite_json(v) for k, v in value.items()}
    if isinstance(value, list):
        return [finite_json(v) for v in value]
    return value


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
