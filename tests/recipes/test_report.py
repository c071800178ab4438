"""The report on synthetic run folders whose figures are known in advance."""

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

import pytest

from recipes.report import write_report
from recipes.report.reader import RunFolder, parse_line
from recipes.report.render import cell, fenced

FAMILIES = [f"family{i}" for i in range(10)]
PROBLEMS = 200  # 20 a family, of which 5 of new structure
BASE = {f"p{i:03d}": i % 5 < 2 for i in range(PROBLEMS)}  # 40 %
HOSTILE = "</pre><script>alert(1)</script> $\\frac{1}{2}$ ```\n# x | y \u202e\x00\x1b[31m"


def family(uid: str) -> str:
    return FAMILIES[int(uid[1:]) % 10]


def structure(uid: str) -> str:
    return "new" if int(uid[1:]) >= 150 else "seen"


def arm(name: str, **changes: Any) -> dict[str, Any]:
    entry = {
        "name": name,
        "algorithm": "opsd",
        "sampling": "online",
        "teacher": "frozen",
        "pi": "skeleton",
        "seeds": [0],
        "steps": 20,
        "description": f"arm {name}",
    }
    return entry | changes


class RunWriter:
    """Writes a run folder as the trainer does."""

    def __init__(self, path: Path, arms: list[dict[str, Any]], **plan: Any) -> None:
        self.path = path
        path.mkdir(parents=True)
        whole = {
            "recipe": "opsd_skeleton",
            "arms": arms,
            "warmup": {"enabled": True, "steps": 86, "rows": 200, "why": "it cannot answer at all"},
            "heldout": {"n": PROBLEMS, "new_structure": 50},
            "tactic_policy": "Core tactics count; sorry and native_decide do not.",
        }
        (path / "plan.json").write_text(json.dumps(whole | plan))
        (path / "config.yaml").write_text("seed: 0\nverifier:\n  banned_words: [sorry, axiom]\n")
        (path / "versions.json").write_text('{"verl": "0.9.1", "python": "3.11", "machine": {}}')

    def line(self, name: str, row: dict[str, Any]) -> None:
        with (self.path / f"{name}.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")

    def evaluate(
        self,
        arm: str,
        passed: dict[str, bool],
        *,
        step: int = 0,
        seed: int = 0,
        view: str = "student",
        sample: int = 0,
        response: str | None = None,
        **extra: Any,
    ) -> None:
        rows = [
            {
                "arm": arm,
                "seed": seed,
                "step": step,
                "view": view,
                "uid": uid,
                "family": family(uid),
                "structure": structure(uid),
                "sample": sample,
                "response": f"by omega {arm} {uid}" if response is None else response,
                "passed": ok,
                "score": float(ok),
                "reason": "" if ok else "error",
                "feedback": "" if ok else "error: linarith failed",
            }
            | extra
            for uid, ok in passed.items()
        ]
        with (self.path / "evaluations.jsonl").open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)

    def train(self, arm: str, steps: int, *, seed: int = 0, kl: float = 1.0) -> None:
        for step in range(1, steps + 1):
            metrics = {
                "distill/kl": kl / step,
                "entropy": 1.0 - 0.02 * step,
                "health/distinct_outputs": 16 - step // 4,
                "timing/sample": 3.0,
                "timing/update": 2.0,
            }
            row = {"arm": arm, "seed": seed, "phase": "train", "step": step, "metrics": metrics}
            self.line("metrics", row | {"time": 1000.0 + 5 * step, "seconds": 5.0})


def raised(uids: int, start: dict[str, bool] = BASE) -> dict[str, bool]:
    """The baseline's answers with that many more right, from the first wrong one on."""
    wrong = [u for u, ok in start.items() if not ok][:uids]
    return start | dict.fromkeys(wrong, True)


def lowered(uids: int) -> dict[str, bool]:
    right = [u for u, ok in BASE.items() if ok][:uids]
    return BASE | dict.fromkeys(right, False)


def whole_run(path: Path) -> RunWriter:
    arms = [
        arm("online"),
        arm("offline", sampling="offline"),
        arm("wrong", pi="wrong"),
        arm("gibberish", pi="gibberish"),
        arm("sft", algorithm="sft", sampling="none", teacher="none", pi=None),
    ]
    run = RunWriter(path, arms)
    run.evaluate("baseline", BASE)
    run.evaluate("teacher", dict.fromkeys(BASE, True), view="teacher")
    results = [
        ("online", raised(80)),  # 80 %
        ("offline", raised(50)),  # 65 %
        ("wrong", lowered(60)),  # 10 %
        ("gibberish", lowered(40)),  # 20 %
        ("sft", raised(68)),  # 74 %
    ]
    for name, passed in results:
        run.train(name, 20)
        run.evaluate(name, passed, step=20)
    run.evaluate("online", raised(40), step=10)
    run.evaluate("online", dict.fromkeys(BASE, True), step=20, view="teacher")
    return run


def report_of(run: RunWriter) -> dict[str, Any]:
    assert write_report(run.path) == run.path / "report.html"
    return json.loads((run.path / "report.json").read_text(), parse_constant=pytest.fail)


def by_name(report: dict[str, Any], name: str) -> dict[str, Any]:
    return next(a for a in report["arms"] if a["name"] == name)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunWriter, dict[str, Any]]:
    run = whole_run(tmp_path_factory.mktemp("o") / "opsd_skeleton" / "run1")
    return run, report_of(run)


def test_known_effect(whole: tuple[RunWriter, dict[str, Any]]) -> None:
    report = whole[1]
    assert report["status"] == "complete" and report["missing"] == []
    assert report["baseline"]["pass_rate"] == 0.4 and report["baseline"]["n"] == 200
    # Wilson, 80 of 200: (80 + z²/2 ± z·sqrt(80·120/200 + z²/4)) / (200 + z²), z = 1.95996
    assert report["baseline"]["ci95"] == pytest.approx([0.334606, 0.469163], abs=1e-6)
    assert report["teacher"]["pass_rate"] == 1.0
    online = by_name(report, "online")
    assert online["pass_rate"] == pytest.approx(0.8)
    assert online["delta_pp"] == pytest.approx(40.0)
    # 80 differences of one and 120 of zero: the same spread as a proportion of 0.4
    assert online["delta_ci95"] == pytest.approx([33.5, 47.0], abs=1.0)
    assert (online["n"], online["seeds"], online["steps"]) == (200, [0], 20)
    assert online["seconds"] == pytest.approx(100.0)
    assert report["best_arm"] == "online"
    assert "80.0 %" in report["verdict"][0] and "+40.0 points" in report["verdict"][0]


def test_structure_families_and_health(whole: tuple[RunWriter, dict[str, Any]]) -> None:
    report = whole[1]
    online = by_name(report, "online")
    # the first 80 wrong rows are p002..p134: none of the new ones (p150 on) rises
    assert online["structure"]["new"]["delta_pp"] == 0.0
    assert online["structure"]["new"]["delta_ci95"] == [0.0, 0.0]
    assert online["structure"]["seen"]["n"] == 150
    health = next(h for h in report["health"] if h["name"] == "online")
    # rows 2, 3 and 4 modulo 5 are wrong at first: families 2, 3, 4, 7, 8, 9 can rise
    assert health["families"]["rose"] == [f"family{i}" for i in (2, 3, 4, 7, 8, 9)]
    assert health["families"]["most_rise"] is True
    assert health["teacher_before"]["pass_rate"] == health["teacher_after"]["pass_rate"] == 1.0
    wrong = next(h for h in report["health"] if h["name"] == "wrong")
    assert wrong["families"]["fell"] == ["family0", "family1", "family5", "family6"]


def test_controls_and_sft(whole: tuple[RunWriter, dict[str, Any]]) -> None:
    report = whole[1]
    controls = report["controls"]
    assert (controls["arm"], controls["best_control"]) == ("online", "gibberish")
    assert controls["rows"][0]["delta_pp"] == pytest.approx(60.0)
    assert controls["rows"][0]["step"] == 20
    assert "The skeleton itself contributed +60.0 points" in report["sentences"]["contribution"]
    scopes = {row["scope"]: row for row in report["sft"]["rows"]}
    assert scopes["all rows"]["delta_pp"] == pytest.approx(6.0)
    assert "without gold proofs" not in scopes
    assert "is not measured" in report["sentences"]["against_sft"]
    pair = report["comparisons"][0]
    assert (pair["a"], pair["b"], pair["differs"]) == ("online", "offline", "sampling")
    assert pair["delta_pp"] == pytest.approx(15.0) and pair["holds"] is None


def test_samples_show_each_kind(whole: tuple[RunWriter, dict[str, Any]]) -> None:
    samples = {s["title"]: s for s in whole[1]["samples"]}
    assert set(samples) == {"Fixed by online", "Wrong before and after", "New structure"}
    answers = {a["name"]: a for a in samples["Fixed by online"]["answers"]}
    assert not answers["baseline"]["passed"] and answers["online"]["passed"]
    assert answers["baseline"]["feedback"] == "error: linarith failed"
    assert list(answers)[:2] == ["baseline", "teacher"]


def test_collapsed_arm_is_never_a_gain(tmp_path: Path) -> None:
    run = RunWriter(tmp_path / "run", [arm("online"), arm("live", teacher="live")])
    run.evaluate("baseline", BASE)
    run.evaluate("teacher", dict.fromkeys(BASE, True), view="teacher")
    run.evaluate("online", raised(20), step=20)
    run.evaluate("live", raised(100), step=12)
    run.train("live", 12)
    message = "3 distinct outputs in 64. Lower the rate."
    run.line(
        "events", {"kind": "collapse", "arm": "live", "seed": 0, "step": 12, "message": message}
    )
    report = report_of(run)
    live = by_name(report, "live")
    assert live["status"] == "collapsed"
    assert live["delta_pp"] is live["delta_ci95"] is live["pass_rate"] is None
    assert live["collapse"]["step"] == 12 and live["collapse"]["pass_rate_then"] > 0.8
    assert report["best_arm"] == "online"
    assert report["comparisons"] == []
    assert "90.0 %" not in (run.path / "report.md").read_text()
    page = (run.path / "report.html").read_text()
    assert "collapsed at step 12" in page and message in page and "90.0 %" not in page


def test_uniform_answers_are_not_a_result(tmp_path: Path) -> None:
    run = RunWriter(tmp_path / "run", [arm("live", teacher="live")])
    run.evaluate("baseline", BASE)
    run.evaluate("teacher", BASE, view="teacher")
    run.evaluate("live", raised(20), step=20, response="exact")
    report = report_of(run)
    live = by_name(report, "live")
    assert live["status"] == "suspect" and live["delta_pp"] is None
    assert report["best_arm"] is None
    assert "only 1 distinct answers among 200" in " ".join(report["verdict"])


def test_seeds_samples_and_last_line_wins(tmp_path: Path) -> None:
    run = RunWriter(tmp_path / "run", [arm("online", seeds=[0, 1, 2]), arm("live", teacher="live")])
    run.evaluate("baseline", dict.fromkeys(BASE, False))
    run.evaluate("baseline", BASE)  # written again after a resume
    run.evaluate("baseline", BASE, sample=1)
    for seed, gain in enumerate((60, 70, 80)):
        run.evaluate("online", raised(gain), step=20, seed=seed)
    half = {uid: ok for uid, ok in raised(40).items() if uid < "p100"}
    run.evaluate("live", half, step=20)
    report = report_of(run)
    assert report["baseline"]["pass_rate"] == pytest.approx(0.4)
    online = by_name(report, "online")
    assert online["seeds"] == [0, 1, 2]
    assert online["delta_pp"] == pytest.approx(35.0)
    # seed differences 30, 35, 40: t(0.975, 2) = 4.30265, 5/√3 = 2.88675
    assert online["delta_seed_ci95"] == pytest.approx([22.579, 47.421], abs=1e-3)
    assert online["holds"] is True
    live = by_name(report, "live")
    assert live["status"] == "unfinished" and report["status"] == "partial"
    assert live["n"] == 100


def test_killed_run_gives_a_partial_report(tmp_path: Path) -> None:
    run = RunWriter(tmp_path / "run", [arm("online", seeds=[0, 1]), arm("offline")])
    run.evaluate("baseline", BASE)
    run.train("online", 7)
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"arm": "online", "seed": 0, "phase": "train", "step": 8, "metr')
    report = report_of(run)
    assert report["status"] == "partial"
    reached = "online: no held-out evaluation after training (trained 7 of 20 steps)"
    assert reached in report["missing"]
    assert "offline: no held-out evaluation after training (not started)" in report["missing"]
    assert "the teacher (with PI) has no held-out evaluation" in report["missing"]
    assert report["unreadable_lines"] == {"metrics.jsonl": 1}
    assert by_name(report, "online")["delta_pp"] is None
    assert "partial" in (run.path / "report.md").read_text().splitlines()[0]


def test_collapsed_controls_and_one_collapsed_seed(tmp_path: Path) -> None:
    arms = [arm("online", seeds=[0, 1]), arm("no_pi", pi="none"), arm("gibberish", pi="gibberish")]
    run = RunWriter(tmp_path / "run", arms)
    run.evaluate("baseline", BASE)
    run.evaluate("baseline", dict.fromkeys(BASE, True), view="teacher")
    for seed in (0, 1):
        run.evaluate("online", raised(60), step=20, seed=seed)
    run.evaluate("no_pi", BASE, step=20)
    where = {"arm": "gibberish", "seed": 0, "step": 5}
    run.line("events", {"kind": "collapse", "message": "Entropy fell.", **where})
    report = report_of(run)
    assert report["teacher"]["pass_rate"] == 1.0  # the baseline's teacher view
    assert report["controls"]["best_control"] == "no_pi"
    assert report["controls"]["collapsed"] == ["gibberish"]
    assert "gibberish" in report["sentences"]["contribution"]
    run.line("events", {"kind": "collapse", "arm": "online", "seed": 1, "step": 19, "message": "x"})
    report = report_of(run)
    assert by_name(report, "online")["delta_pp"] is None
    assert by_name(report, "online")["collapse"]["seed"] == 1
    assert report["best_arm"] == "no_pi" and "No method arm" in report["verdict"][0]


def test_layout_of_the_trainer(tmp_path: Path) -> None:
    """Both views of the baseline, a teacher asked on part of the rows, a shared collection."""
    run = RunWriter(tmp_path / "run", [arm("offline", sampling="offline")])
    run.evaluate("baseline", BASE, prompt="student's prompt")
    run.evaluate("baseline", raised(110), view="teacher", prompt="with PI")  # 190 of 200
    run.evaluate("offline", raised(60), step=20, prompt="student's prompt")
    some = {uid: uid != "p000" for uid in BASE if uid < "p064"}
    run.evaluate("offline", some, step=20, view="teacher", prompt="with PI")
    run.train("collection", 2)
    run.train("offline", 20)
    report = report_of(run)
    assert by_name(report, "offline")["seconds"] == pytest.approx(110.0)
    assert by_name(report, "offline")["n"] == 200
    health = report["health"][-1]
    assert (health["teacher_before"]["n"], health["teacher_before"]["pass_rate"]) == (64, 1.0)
    assert health["teacher_after"]["pass_rate"] == 63 / 64
    assert {s["statement"] for s in report["samples"]} == {"student's prompt"}


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
