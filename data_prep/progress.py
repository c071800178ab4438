"""How far a long command has come: a line that moves on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

EVERY = 10.0  # seconds between plain lines
STEP = 256  # rows between two looks at the clock
T = TypeVar("T")


@dataclass(frozen=True)
class Counted(Generic[T]):
    """The same rows, as often as they can be read; their number is shown on standard error."""

    rows: Iterable[T]
    what: str
    total: int | None = None

    def __iter__(self) -> Iterator[T]:
        show = _on_terminal if sys.stderr.isatty() else _in_lines
        return show(self.rows, self.what, self.total)


def _in_lines(rows: Iterable[T], what: str, total: int | None) -> Iterator[T]:
    begin = shown = time.monotonic()
    for number, row in enumerate(rows, start=1):
        yield row
        if number % STEP == 0 and (now := time.monotonic()) - shown >= EVERY:
            shown = now
            of = f" of {total:,}" if total else ""
            line = f"{what}: {number:,}{of} rows, {number / (now - begin):,.0f} a second"
            print(line, file=sys.stderr, flush=True)


def _on_terminal(rows: Iterable[T], what: str, total: int | None) -> Iterator[T]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bar:
        task = bar.add_task(what, total=total)
        for number, row in enumerate(rows, start=1):
            yield row
            if number % STEP == 0:
                bar.update(task, completed=number)
