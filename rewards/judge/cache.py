"""Verdicts of the judge on disk, by content, so that a resumed run does not pay twice."""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from rewards.judge.prompt import Ruling

log = logging.getLogger(__name__)
_WAIT_SECONDS = 30.0


def key_of(parts: Sequence[str]) -> str:
    """A hash of everything on which a verdict rests; JSON keeps the parts apart."""
    return hashlib.sha256(json.dumps(list(parts)).encode()).hexdigest()


class Cache:
    """A table of rulings. Several threads and processes may use one file at once.

    Each call opens the file for itself: a connection must survive neither a fork nor a change of
    thread. A file that cannot be used is reported once and done without, since it saves money but
    decides nothing.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._usable = True

    def get(self, key: str) -> Ruling | None:
        rows = self._run("SELECT correct, reason FROM ruling WHERE key = ?", (key,))
        return Ruling(bool(rows[0][0]), str(rows[0][1])) if rows else None

    def put(self, key: str, ruling: Ruling) -> None:
        values = (key, int(ruling.correct), ruling.reason)
        self._run("INSERT OR IGNORE INTO ruling VALUES (?, ?, ?)", values)

    def _run(self, statement: str, values: tuple[str | int, ...]) -> list[tuple[int, str]]:
        if not self._usable:
            return []
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self._file, timeout=_WAIT_SECONDS)) as base, base:
                base.execute(
                    "CREATE TABLE IF NOT EXISTS ruling "
                    "(key TEXT PRIMARY KEY, correct INTEGER NOT NULL, reason TEXT NOT NULL)"
                )
                return base.execute(statement, values).fetchall()
        except (sqlite3.Error, OSError) as err:
            self._usable = False
            log.warning(
                "the judge goes on without its cache: %s: %s. If the file is broken, delete it.",
                self._file,
                err,
            )
            return []
