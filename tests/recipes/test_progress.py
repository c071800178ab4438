"""The progress view against a file that another thread writes."""

from __future__ import annotations

import io
import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from recipes.progress import Clock, ProgressConsole, ProgressView, State, Tail


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def record(done: int, **changes: Any) -> str:
    row = {"time": 100.0 + done, "phase": "train", "arm": "online", "seed": 0, "done": done}
    row |= {"total": 20, "text": "", "pass_rate": 0.5, "kl": 0.25}
    return json.dumps(row | changes) + "\n"


def plain() -> Console:
    return Console(file=io.StringIO(), force_terminal=False, width=200)


def text_of(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def wait_for(condition: Any) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_tail_takes_whole_lines_only(tmp_path: Path) -> None:
    path = tmp_path / "progress.jsonl"
    tail = Tail(path)
    assert tail.read() == []
    line = record(1)
    append(path, line[:20])
    assert tail.read() == []
    append(path, line[20:] + "no json\n[1]\n\xff\n" + record(2))
    assert [row["done"] for row in tail.read()] == [1, 2]
    path.write_text(record(3))  # started anew
    assert [row["done"] for row in tail.read()] == [3]


def test_tail_passes_over_an_earlier_life(tmp_path: Path) -> None:
    path = tmp_path / "progress.jsonl"
    append(path, record(1))
    late, early = Tail(path), Tail(path, from_start=True)
    append(path, record(2))
    assert [row["done"] for row in late.read()] == [2]
    assert [row["done"] for row in early.read()] == [1, 2]


def test_time_left_by_hand() -> None:
    clock = Clock()
    clock.update(100.0, 10, 20)  # resumed at 10: the pace counts from here
    assert clock.seconds_left(100.0) is None
    clock.update(106.0, 12, 20)
    # 2 in 6 s, 8 to go: 24 s, of which 4 have passed since
    assert clock.seconds_left(106.0) == pytest.approx(24.0)
    assert clock.seconds_left(110.0) == pytest.approx(20.0)
    clock.update(130.0, 20, 20)
    assert clock.finished and clock.seconds_left(130.0) == 0.0
    clock.update(140.0, 0, 20)  # the phase begins again
    assert clock.seconds_left(140.0) is None


def test_cells_and_overall() -> None:
    state = State()
    key = ("train", "online", "0")
    state.update(json.loads(record(0, overall_done=0, overall_total=100)), 100.0)
    state.update(json.loads(record(5, overall_done=10, overall_total=100)), 105.0)
    name, count, figures, left = state.cells(key, 105.0)
    assert (name, count, left) == ("train online seed 0", "5/20", "15 s left")
    assert figures == "pass 50.0 %  KL 0.25"
    assert state.overall_text(105.0) == "whole run 10 %, 45 s left"


def test_odd_records_are_shown_as_far_as_they_go() -> None:
    state = State()
    odd = {
        "phase": "eval",
        "done": None,
        "total": "x",
        "kl": float("nan"),
        "text": "[red]\x1b[2J\n",
    }
    key = state.update(odd, 5.0)
    assert key is not None
    assert state.cells(key, 5.0) == ["eval", "0", "[red] [2J", ""]


def test_plain_lines(tmp_path: Path) -> None:
    console, path = plain(), tmp_path / "progress.jsonl"
    with ProgressView(tmp_path, console=console, interval=0.05, poll=0.01) as view:
        append(path, record(1))
        wait_for(lambda: "1/20" in text_of(console))
        append(path, record(20) + record(3, phase="eval", total=200, kl=None))
        wait_for(lambda: "3/200" in text_of(console))
        append(path, record(200, phase="eval", total=200))
    lines = text_of(console).splitlines()
    assert lines[0].startswith("train online seed 0  1/20  pass 50.0 %  KL 0.25")
    assert any("20/20" in line and line.endswith("done") for line in lines)
    assert "200/200" in lines[-1]  # what came last before the end is shown
    assert view._thread is not None and not view._thread.is_alive()


def test_plain_lines_are_rare(tmp_path: Path) -> None:
    console, path = plain(), tmp_path / "progress.jsonl"
    with ProgressView(tmp_path, console=console, interval=60, poll=0.001):
        for done in range(50):
            append(path, record(done, total=100))
            time.sleep(0.002)
    assert len(text_of(console).splitlines()) == 1


def test_terminal_shows_a_line_per_phase(tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120, height=30)
    done = threading.Event()
    view = ProgressView(tmp_path, console=console, poll=0.01)
    thread = threading.Thread(target=view.run_until, args=(done,))
    thread.start()
    path = tmp_path / "progress.jsonl"
    append(path, record(20) + record(7, phase="eval", text="[bold]x[/nonsense]"))
    wait_for(lambda: "7/20" in text_of(console))
    done.set()
    thread.join(5)
    assert not thread.is_alive()
    last = text_of(console)
    assert "train online seed 0" in last and "eval online seed 0" in last
    assert "[bold]x[/nonsense]" in last  # text is no markup


def test_a_broken_stream_does_not_stop_the_run(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError("gone")

    done = threading.Event()
    console = ProgressConsole(file=Broken(), force_terminal=False)
    view = ProgressView(tmp_path, console=console, interval=0.0, poll=0.01, from_start=True)
    append(tmp_path / "progress.jsonl", record(1))
    done.set()
    view.run_until(done)  # neither an error nor the end of the process
    out = capfd.readouterr()
    print("still there")
    assert "the run goes on" in out.err and capfd.readouterr().out == "still there\n"


def test_it_waits_for_the_end_even_with_nothing_to_show(tmp_path: Path) -> None:
    (tmp_path / "progress.jsonl").mkdir()  # cannot be read as a file
    done = threading.Event()
    view = ProgressView(tmp_path, console=plain(), poll=0.01, from_start=True)
    thread = threading.Thread(target=view.run_until, args=(done,))
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()
    done.set()
    thread.join(5)
    assert not thread.is_alive()


def test_stages_give_the_time_left_of_the_run() -> None:
    state = State()
    stage = {"phase": "stage", "time": 100.0, "done": 0, "total": 4, "arm": "warmup", "seed": 0}
    assert state.update(stage, 100.0) is None and not state.phases
    state.update(json.loads(record(20, time=130.0)), 130.0)
    assert state.overall_text(130.0) == "whole run 25 %, 90 s left"
    state.update(stage | {"time": 132.0, "done": 1}, 132.0)
    # half of the second stage: 1.5 of 4 in 45 s leave 2.5, 75 s
    state.update(json.loads(record(10, time=145.0)), 145.0)
    assert state.overall_text(145.0) == "whole run 38 %, 75 s left"


def test_no_file_at_all(tmp_path: Path) -> None:
    console = plain()
    with ProgressView(tmp_path / "nothing", console=console):
        pass
    assert text_of(console) == ""
