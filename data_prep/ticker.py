"""Progress of long commands on standard error: one line that is written over and over."""

from __future__ import annotations

import sys
import time


class Ticker:
    """`tick(done, note)` shows how far a command is, at most every `every` seconds.

    On a terminal the line is replaced; in a log file lines come thirty times as rarely.
    """

    def __init__(self, name: str, total: int | None = None, every: float = 1.0) -> None:
        self.name, self.total = name, total
        self._terminal = sys.stderr.isatty()
        self._every = every if self._terminal else 30 * every
        self._start = self._shown = time.monotonic()

    def tick(self, done: int, note: str = "") -> None:
        now = time.monotonic()
        if now - self._shown < self._every:
            return
        self._shown = now
        line = f"{self.name}: {done:,}{f' of {self.total:,}' if self.total else ''} rows"
        line += f", {now - self._start:.0f} s" + (f", {note}" if note else "")
        end = "" if self._terminal else "\n"
        print(f"\r\033[K{line}" if self._terminal else line, end=end, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the terminal's line clean."""
        if self._terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
