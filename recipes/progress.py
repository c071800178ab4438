"""Live progress of a run, read from `progress.jsonl` while the job runs in other processes.

The trainer appends `{"time", "phase", "arm", "seed", "done", "total", "text", "pass_rate", "kl"}`,
and may add `overall_done` and `overall_total`; phase `stage` counts the run's stages. The driver
follows the file: on a terminal one line a phase, updated in place; elsewhere (a log file, CI) one
plain line every few seconds.

    with ProgressView(run_dir):
        run_the_job()
"""

from __future__ import annotations

import json
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.errors import LiveError
from rich.live import Live
from rich.table import Table
from rich.text import Text

from recipes.report.reader import finite, number_of, text_of
from recipes.report.words import duration

Key = tuple[str, str, str]
STAGE = "stage"  # its records count the stages of the whole run
WITHIN_STAGE = ("evaluate", "eval")  # these do not tell how far a stage has come


class Tail:
    """New whole lines of a growing file that may not exist yet, or may start anew."""

    def __init__(self, path: Path, *, from_start: bool = False) -> None:
        self.path = path
        self._rest = b""
        # a resumed run appends: what is there already belongs to an earlier life of the run
        self._offset = 0 if from_start else _size(path)

    def read(self) -> list[dict[str, Any]]:
        """Objects appended since the last call; lines that are no object are skipped."""
        size = _size(self.path)
        if size < self._offset:
            self._offset, self._rest = 0, b""
        if size == self._offset:
            return []
        with self.path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [row for row in map(_parse, lines) if row is not None]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) and "phase" in row else None


@dataclass
class Clock:
    """Time left, from the pace since the first record (a resumed count does not start at zero)."""

    first_time: float | None = None
    first_done: float = 0.0
    time: float = 0.0
    done: float = 0.0
    total: float | None = None

    def update(self, now: float, done: float, total: float | None) -> None:
        """Take a new count; a count that went back starts the clock again."""
        if self.first_time is None or done < self.done:
            self.first_time, self.first_done = now, done
        self.time, self.done, self.total = now, done, total

    @property
    def finished(self) -> bool:
        """Whether the count has reached its total."""
        return self.total is not None and self.done >= self.total

    def seconds_left(self, now: float) -> float | None:
        """Seconds until the total is reached, None while that cannot be told."""
        if self.first_time is None or self.total is None:
            return None
        gained, took = self.done - self.first_done, self.time - self.first_time
        if gained <= 0 or took <= 0:
            return None
        left = (self.total - self.done) * took / gained
        return max(0.0, left - max(0.0, now - self.time))


class State:
    """What is known of each phase, in order of appearance."""

    def __init__(self) -> None:
        self.phases: dict[Key, dict[str, Any]] = {}
        self.clocks: dict[Key, Clock] = {}
        self.overall = Clock()
        self.stages_done: float | None = None
        self.latest: Key | None = None

    def update(self, row: dict[str, Any], now: float) -> Key | None:
        """Take one record; returns its phase's key, None for a count of stages."""
        key = (text_of(row, "phase"), text_of(row, "arm"), text_of(row, "seed"))
        at = number_of(row, "time")
        at = now if at is None else at
        done, total = number_of(row, "done") or 0.0, number_of(row, "total")
        if key[0] == STAGE:
            self.stages_done = done
            self.overall.update(at, done, total)
            return None
        self.clocks.setdefault(key, Clock()).update(at, done, total)
        overall = number_of(row, "overall_done")
        if overall is not None:
            self.overall.update(at, overall, number_of(row, "overall_total"))
        elif self.stages_done is not None and key[0] not in WITHIN_STAGE and total:
            part = self.stages_done + min(1.0, done / total)
            self.overall.update(at, max(self.overall.done, part), self.overall.total)
        self.phases.pop(key, None)  # a phase that goes on is the last in order again
        self.phases[key] = row
        self.latest = key
        return key

    def cells(self, key: Key, now: float) -> list[str]:
        """Phase, count, figures and time left, as text."""
        row, clock = self.phases[key], self.clocks[key]
        phase, arm, seed = key
        where = [arm] if arm not in ("", phase) else []
        where += [f"seed {seed}"] if where and seed else []
        name = " ".join([phase, *where])
        count = f"{clock.done:g}" + ("" if clock.total is None else f"/{clock.total:g}")
        left = clock.seconds_left(now)
        state = (
            "done" if clock.finished else "" if left is None else f"{duration(round(left))} left"
        )
        return [name, count, _figures(row), state]

    def overall_text(self, now: float) -> str:
        """The whole run's count and time left; empty where the trainer does not tell."""
        clock = self.overall
        if not clock.total:
            return ""
        left = clock.seconds_left(now)
        text = f"whole run {100 * clock.done / clock.total:.0f} %"
        return text if left is None else f"{text}, {duration(round(left))} left"


def _figures(row: dict[str, Any]) -> str:
    rate, kl = finite(row.get("pass_rate")), finite(row.get("kl"))
    parts = [] if rate is None else [f"pass {100 * rate:.1f} %"]
    parts += [] if kl is None else [f"KL {kl:.3g}"]
    text = " ".join("".join(c if c.isprintable() else " " for c in text_of(row, "text")).split())
    return "  ".join([*parts, text[:80]] if text else parts)


class ProgressConsole(Console):
    """A console that reports a broken pipe instead of ending the process, as rich's own does."""

    def on_broken_pipe(self) -> None:
        """Hand the error on to the view, which stops showing and lets the run go on."""
        raise BrokenPipeError("the terminal or pipe is gone")


class ProgressView:
    """Shows a run's progress from a thread of its own. Trouble with showing never stops the run.

    Args:
        run_dir: the run folder; `progress.jsonl` need not exist yet.
        console: where to write, a ProgressConsole at best; standard error by default.
        interval: seconds between plain lines where the console is no terminal.
        from_start: also show what the file holds already.
    """

    def __init__(
        self,
        run_dir: Path | str,
        *,
        console: Console | None = None,
        interval: float = 15.0,
        poll: float = 0.25,
        from_start: bool = False,
    ) -> None:
        self.console = console or ProgressConsole(stderr=True)
        self.interval, self.poll = interval, poll
        self.state = State()
        self._tail = Tail(Path(run_dir) / "progress.jsonl", from_start=from_start)
        self._done = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> ProgressView:
        self._thread = threading.Thread(target=self.run_until, args=(self._done,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    def run_until(self, done: threading.Event) -> None:
        """Follow the file until the event is set; then show the last state and return.

        It never returns before the event, also where nothing can be shown any more.
        """
        try:
            if self.console.is_terminal:
                self._run_live(done)
            else:
                self._run_plain(done)
        except LiveError:  # another live display has the terminal
            self._quietly(self._run_plain, done)
        except (OSError, ValueError) as error:  # terminal gone, closed stream, unreadable file
            self._complain(error)
        done.wait()

    def _quietly(self, show: Any, done: threading.Event) -> None:
        try:
            show(done)
        except (OSError, ValueError) as error:
            self._complain(error)

    def _complain(self, error: Exception) -> None:
        try:
            print(f"progress is no longer shown: {error}; the run goes on", file=sys.__stderr__)
        except (OSError, ValueError):
            self.console.quiet = True  # nobody is listening

    def _run_live(self, done: threading.Event) -> None:
        # standard output is left alone: what the driver prints there is its result
        with Live(console=self.console, auto_refresh=False, redirect_stdout=False) as live:
            while True:
                last = done.is_set()  # read once more after the event, so that no line is lost
                self._take(time.time())
                live.update(self._table(time.time()), refresh=True)
                if last:
                    return
                done.wait(self.poll)

    def _table(self, now: float) -> Group:
        table = Table.grid(padding=(0, 2))
        rows = max(1, min(12, self.console.height - 3))
        for key in list(self.state.phases)[-rows:]:
            name, count, figures, left = self.state.cells(key, now)
            style = "dim" if self.state.clocks[key].finished else ""
            table.add_row(
                Text(name, style=style), self._bar(key), Text(count, justify="right"),
                Text(figures, style=style), Text(left, style="dim"),
            )  # fmt: skip
        overall = self.state.overall_text(now)
        return Group(table, Text(overall, style="bold")) if overall else Group(table)

    def _bar(self, key: Key, width: int = 20) -> Text:
        clock = self.state.clocks[key]
        share = min(1.0, max(0.0, clock.done / clock.total)) if clock.total else 0.0
        full, blank = ("#", "-") if self.console.options.ascii_only else ("━", "─")
        filled = round(share * width)
        return Text(full * filled, style="green") + Text(blank * (width - filled), style="dim")

    def _run_plain(self, done: threading.Event) -> None:
        shown = time.monotonic()
        news: dict[Key, None] = {}
        while True:
            last = done.is_set()
            news |= dict.fromkeys(self._take(time.time()))
            if last or time.monotonic() - shown >= self.interval:
                self._print(list(news))
                news, shown = {}, time.monotonic()
            if last:
                return
            done.wait(self.poll)

    def _print(self, news: list[Key]) -> None:
        """One line for the running phase, and one for each that ended since the last time."""
        now = time.time()
        overall = self.state.overall_text(now)
        ended = [k for k in news if self.state.clocks[k].finished and k != self.state.latest]
        for key in [*ended, *(k for k in news if k == self.state.latest)]:
            cells = [c for c in self.state.cells(key, now) if c]
            if overall and key == self.state.latest:
                cells.append(overall)
            line = Text("  ".join(cells))
            self.console.print(line, soft_wrap=True)

    def _take(self, now: float) -> list[Key]:
        keys = [self.state.update(row, now) for row in self._tail.read()]
        return [key for key in keys if key is not None]
