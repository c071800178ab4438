"""The report as a reader of files: torn and hostile ones, large ones, none; and as a page."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from run_writer import BASE, RunWriter, arm, by_name, raised, report_of, whole_run

from recipes.report import write_report
from recipes.report.reader import RunFolder, parse_line
from recipes.report.render import cell, fenced

HOSTILE = "</pre><script>alert(1)</script> $\\frac{1}{2}$ ```\n# x | y \u202e\x00\x1b[31m"


def test_empty_folder_and_command_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "recipes.report"]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(tmp_path / "report.html")
    report = json.loads((tmp_path / "report.json").read_text())
    assert "plan.json is absent" in report["missing"]
    gone = subprocess.run([*command, str(tmp_path / "no")], capture_output=True, text=True)
    assert gone.returncode == 2 and "is no run folder" in gone.stderr


class Elements(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [v or "" for k, v in attrs if k == "id"]
        self.links += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href")]


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>"
    run = RunWriter(tmp_path / "run", [arm(name, description=HOSTILE)], tactic_policy=HOSTILE)
    run.evaluate("baseline", BASE, response=HOSTILE + "\ud800", statement=HOSTILE)
    run.evaluate(name, raised(50), step=20, response=HOSTILE, reason=HOSTILE, feedback=HOSTILE)
    run.train(name, 3)
    run.line("events", {"kind": "warning", "arm": name, "step": 1, "message": HOSTILE})
    run.line("dropped", {"arm": name, "uid": "x", "reason": HOSTILE, "detail": HOSTILE})
    write_report(run.path)
    page = (run.path / "report.html").read_bytes().decode("utf-8")
    elements = Elements(page)
    assert "script" not in elements.tags and "img" not in elements.tags
    assert "\x00" not in page and "\x1b" not in page
    text = (run.path / "report.md").read_text()
    outside = re.sub(r"(?ms)^(`{3,})text$.*?^\1$", "", text)
    assert not re.search(r"(?<!\\)<script", outside)


def test_page_is_self_contained(whole: tuple[RunWriter, dict[str, Any]]) -> None:
    page = (whole[0].path / "report.html").read_text()
    elements = Elements(page)
    assert elements.tags.count("svg") >= 4
    assert all(link.startswith("#") for link in elements.links)
    assert "@import" not in page and "url(http" not in page
    assert len(elements.ids) == len(set(elements.ids))
    assert "var(--s0)" in page and "#0a0b00" not in page


def test_every_chart_is_a_file_of_its_own_as_well(whole: tuple[RunWriter, dict[str, Any]]) -> None:
    run, report = whole
    files = sorted((run.path / "figures").glob("*.svg"))
    assert {"held_out_pass_rate", "kl_to_the_teacher"} <= {file.stem for file in files}
    for file in files:
        svg = ElementTree.fromstring(file.read_text())
        assert svg.get("width") and "var(--" not in file.read_text()
    for file in files:
        words = "".join(ElementTree.parse(file).getroot().itertext())
        assert all(arm["name"] in words for arm in report["arms"]), file


def test_no_matplotlib_means_no_charts_but_a_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "recipes.report.plots", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    run = whole_run(tmp_path / "run")
    assert by_name(report_of(run), "online")["delta_pp"] == pytest.approx(40.0)
    assert "verl-pi[report]" in (run.path / "report.html").read_text()


def test_streams_a_hundred_thousand_lines(tmp_path: Path) -> None:
    run = whole_run(tmp_path / "run")
    rng = random.Random(0)
    with (run.path / "trajectories.jsonl").open("w") as file:
        for i in range(100_000):
            row = {
                "arm": "online",
                "seed": 0,
                "step": i // 5000,
                "uid": f"t{i % 5000}",
                "sample": 0,
                "view": "student",
                "prompt": "p" * 300,
                "response": f"answer {rng.randrange(1000)}",
                "verdict": {"passed": i % 2 == 0, "score": 0.0, "reason": "", "feedback": ""},
            }
            file.write(json.dumps(row) + "\n")
    start = time.monotonic()
    report = report_of(run)
    assert time.monotonic() - start < 30
    sampled = next(h for h in report["health"] if h["name"] == "online")["sampled"]
    assert sampled == {
        "trajectories": 100_000,
        "judged": 100_000,
        "passed": 50_000,
        "distinct": 1000,
    }


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"arm": "a"}\n', ({"arm": "a"}, 0)),
        (b'{"arm": "a", "metr', (None, 1)),
        (
            b'{"arm": "a", "metrics": {"kl": 1{"arm": "b", "step": 2}\n',
            ({"arm": "b", "step": 2}, 1),
        ),
        (b'{"arm": "\xe2\x88', (None, 1)),
        (b"[1, 2]\n", (None, 1)),
        (b'{"arm": "x{"arm": "b", "metrics": {"k": 1}}', ({"arm": "b", "metrics": {"k": 1}}, 1)),
    ],
)
def test_torn_lines(line: bytes, expected: tuple[Any, int]) -> None:
    assert parse_line(line) == expected


def test_odd_rows_do_not_stop_the_report(tmp_path: Path) -> None:
    run = whole_run(tmp_path / "run")
    for row in (
        {},
        {"arm": None, "uid": None},
        {"arm": "online", "uid": 3, "step": "x", "seed": None},
    ):
        run.line("evaluations", row)
    run.line(
        "metrics", {"arm": "online", "phase": "train", "step": 3, "metrics": None, "seconds": "x"}
    )
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write(
            '{"arm": "online", "phase": "train", "step": 4, "metrics": {"distill/kl": NaN}}\n'
        )
    report = report_of(run)
    steps = [p["step"] for p in report["curves"]["online"]["kl"]]
    assert 3 not in steps and 4 not in steps and 5 in steps


def test_markdown_helpers() -> None:
    assert fenced("a ```` b").startswith("`````text\n")
    assert cell("a|b\n<c>") == r"a\|b \<c\>"


def test_run_folder_must_exist(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError, match="is no run folder"):
        RunFolder(tmp_path / "nothing")
