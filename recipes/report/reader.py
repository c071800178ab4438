"""Reading a run folder: streamed, tolerant of a run that was killed while it wrote.

Files are append-only with one JSON object a line. A resumed run writes some steps twice; the last
line of a key wins, which the callers get for free by filling dictionaries in file order.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class RunFolder:
    """A run folder. `unreadable` counts skipped lines by file, `missing` names absent files."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise NotADirectoryError(
                f"{self.path} is no run folder; give outputs/<recipe>/<run>, the folder that holds "
                "metrics.jsonl"
            )
        self.unreadable: dict[str, int] = {}
        self.missing: list[str] = []

    def rows(self, name: str) -> Iterator[Row]:
        """Stream the objects of a JSON-lines file; nothing if it is absent."""
        path = self.path / name
        if not path.is_file():
            self._note_missing(name)
            return
        skipped = 0
        with path.open("rb") as file:
            for line in file:
                if not line.strip():
                    continue
                row, torn = parse_line(line)
                skipped += torn
                if row is not None:
                    yield row
        if skipped:
            self.unreadable[name] = skipped

    def document(self, name: str) -> Row:
        """A whole JSON file as a dictionary; empty if it is absent or cut short."""
        path = self.path / name
        if not path.is_file():
            self._note_missing(name)
            return {}
        value = _object(path.read_bytes())
        if value is None:
            self.unreadable[name] = 1
        return value or {}

    def text(self, name: str) -> str:
        """A text file, with bytes that are no UTF-8 replaced; empty if it is absent."""
        path = self.path / name
        if not path.is_file():
            self._note_missing(name)
            return ""
        return path.read_text(encoding="utf-8", errors="replace")

    def _note_missing(self, name: str) -> None:
        if name not in self.missing:
            self.missing.append(name)


def parse_line(line: bytes) -> tuple[Row | None, int]:
    """(object or None, number of torn pieces) of one line.

    A process killed in the middle of a line leaves a stump without a newline, onto which the
    resumed run may write its first line: the whole object behind the stump is recovered.
    """
    row = _object(line)
    if row is not None:
        return row, 0
    start = line.find(b'{"', 1)
    while start != -1:
        row = _object(line[start:])
        # every kind of line has `arm` or `time`: no nested object of the stump is taken for one
        if row is not None and ("arm" in row or "time" in row):
            return row, 1
        start = line.find(b'{"', start + 1)
    return None, 1


def _object(text: bytes) -> Row | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):  # cut short, no UTF-8, or nested without end
        return None
    return value if isinstance(value, dict) else None


def text_of(row: Row, key: str, default: str = "") -> str:
    """A field as text; the default where it is absent or null."""
    value = row.get(key)
    return default if value is None else str(value)


def int_of(row: Row, key: str, default: int = 0) -> int:
    """A field as an integer; the default where it is no finite number."""
    value = number_of(row, key)
    return default if value is None else int(value)


def number_of(row: Row, key: str) -> float | None:
    """A field as a finite float, or None."""
    return finite(row.get(key))


def finite(value: object) -> float | None:
    """A finite float, or None for anything else (NaN, text, null, booleans)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer beyond the floats
        return None
    return number if math.isfinite(number) else None
