"""What a run leaves on disk, before any tracker: one JSON object a line, appended and flushed.

A resumed run may write a step twice; readers keep the last line of a key.
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

FILES = ("metrics", "trajectories", "evaluations", "dropped", "events", "progress")


class RunRecords:
    """Append-only JSON lines under a run folder."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def write(self, file: str, *lines: dict[str, Any]) -> None:
        """Append ``lines`` to ``file`` (a name of ``FILES``)."""
        if file not in FILES:
            raise ValueError(f"no record file {file!r}; known: {', '.join(FILES)}")
        text = "".join(json.dumps(_plain(line), ensure_ascii=False) + "\n" for line in lines)
        with (self.folder / f"{file}.jsonl").open("a+b") as handle:
            if handle.tell() and not self._ends_in_newline(handle):
                text = "\n" + text  # a killed run left half a line
            handle.write(text.encode())

    @staticmethod
    def _ends_in_newline(handle: Any) -> bool:
        handle.seek(-1, 2)
        return handle.read(1) == b"\n"

    def event(self, kind: str, message: str, **where: Any) -> None:
        """A line of ``events.jsonl``: collapse, resume, warning or info."""
        self.write("events", {"time": time.time(), "kind": kind, "message": message, **where})

    def progress(self, phase: str, done: int, total: int, **more: Any) -> None:
        """A line of ``progress.jsonl``, which the driver's live view follows."""
        line = {"time": time.time(), "phase": phase, "done": done, "total": total}
        self.write("progress", {**line, **{k: v for k, v in more.items() if v is not None}})


def _plain(value: Any) -> Any:
    """numpy and torch values to Python's, non-finite numbers to None (JSON has none)."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    return str(value)
