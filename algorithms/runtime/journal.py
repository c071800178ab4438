"""What was generated and judged so far, on disk: a collection that was stopped in the middle goes
on where it ended, and arms that ask the same weights for the same answer share it.

Entries are named by their content, one JSON object a line. Every process appends to a file of its
own and looks through those of all others once, when it opens the folder. In memory is only where
each entry lies.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any


def key_of(*parts: Any) -> str:
    """A name for what ``parts`` (plain data) ask for."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class Journal:
    """Entries of ``folder`` by key. A line that a killed process left unfinished is skipped."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.found = self.added = 0
        self._lock = threading.Lock()
        self._places: dict[str, tuple[Path, int]] = {}
        for file in sorted(self.folder.glob("*.jsonl")):
            self._read(file)
        self._file = self.folder / f"{socket.gethostname()}-{os.getpid()}.jsonl"

    def _read(self, file: Path) -> None:
        place = 0
        with file.open("rb") as lines:
            for line in lines:
                with suppress(ValueError, KeyError, TypeError):  # half a line
                    self._places[json.loads(line)["key"]] = (file, place)
                place += len(line)

    def __len__(self) -> int:
        return len(self._places)

    def get(self, key: str) -> Any:
        """The entry, or None."""
        with self._lock:
            found = self._places.get(key)
        if found is None:
            return None
        self.found += 1
        file, place = found
        with file.open("rb") as lines:
            lines.seek(place)
            return json.loads(lines.readline())["value"]

    def put(self, key: str, value: Any) -> None:
        """Add an entry; it is in the file when this returns."""
        line = json.dumps({"key": key, "value": value}, ensure_ascii=True)
        with self._lock, self._file.open("ab") as file:
            # A process of the same number, killed earlier, may have left half a line.
            separator = b"\n" if file.tell() and not _ends_in_newline(self._file) else b""
            place = file.tell() + len(separator)
            file.write(separator + line.encode() + b"\n")
            self._places[key] = (self._file, place)
            self.added += 1


def _ends_in_newline(file: Path) -> bool:
    with file.open("rb") as handle:
        handle.seek(-1, os.SEEK_END)
        return handle.read(1) == b"\n"


_open: dict[tuple[str, str], Journal] = {}


def opened(folder: str, stage: str) -> Journal:
    """The process's journal of ``folder``, read anew for every stage that asks for it."""
    name = (folder, stage)
    if name not in _open:
        _open.clear()  # one stage runs at a time, and entries hold memory
        _open[name] = Journal(folder)
    return _open[name]
