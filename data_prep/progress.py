"""How far a long command has come, on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

TERMINAL_SECONDS = 1.0  # between two lines, each in the place of the one before
LOG_SECONDS = 30.0  # between two lines of a log file
STEP = 256  # rows between two looks at the clock
T = TypeVar("T")


class Ticker:
    """`tick(done, note)` shows the number of rows, from time to time."""

    def __init__(self, name: str, total: int | None = None) -> None:
        self.name, self.total = name, total
        self._terminal = sys.stderr.isatty()
        self._every = TERMINAL_SECONDS if self._terminal else LOG_SECONDS
        self._start = self._shown = time.monotonic()

    def tick(self, done: int, note: str = "") -> None:
        now = time.monotonic()
        if now - self._shown < self._every:
            return
        self._shown = now
        of = f" of {self.total:,}" if self.total else ""
        line = f"{self.name}: {done:,}{of} rows, {done / (now - self._start):,.0f} a second"
        line += f", {note}" if note else ""
        end = "" if self._terminal else "\n"
        print(f"\r\033[K{line}" if self._terminal else line, end=end, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the terminal's line clean."""
        if self._terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Counted(Generic[T]):
    """The same rows, as often as they can be read, with a ticker."""

    rows: Iterable[T]
    what: str
    total: int | None = None

    def __iter__(self) -> Iterator[T]:
        ticker = Ticker(self.what, self.total)
        try:
            for number, row in enumerate(self.rows, start=1):
                yield row
                if number % STEP == 0:
                    ticker.tick(number)
        finally:
            ticker.close()
