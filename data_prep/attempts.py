"""Attempts on disk: one line a row with what a model answered and what the verifier said.

The first line holds the settings of the sampling. A file that ends within a line, as a stop leaves
it, is read up to there and continued from there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from data_prep.errors import DataError
from data_prep.pi.written import Attempt
from rewards import Verdict, get_verifier


class Tally(NamedTuple):
    """What is kept in memory of a row's attempts."""

    passed: int
    judged: int

    @property
    def rate(self) -> float | None:
        """The pass rate; None where nothing could be judged."""
        return self.passed / self.judged if self.judged else None


@dataclass(frozen=True)
class Attempted:
    """A row's attempts. Those that the verifier could not judge do not count."""

    uid: str
    attempts: tuple[Attempt, ...]

    @property
    def tally(self) -> Tally:
        passed = sum(attempt.passed for attempt in self.attempts)
        return Tally(passed, sum(a.reason != "verifier_error" for a in self.attempts))


def verifier_options(style: str, extra_info: Mapping[str, Any]) -> dict[str, Any]:
    """What of a row's `extra_info` goes to its verifier: its OPTIONS, or all if it names none."""
    known = getattr(get_verifier(style), "OPTIONS", None)
    return {k: v for k, v in extra_info.items() if known is None or k in known}


def judged(uid: str, responses: Iterable[str], verdicts: Iterable[Verdict]) -> Attempted:
    """Responses with their verdicts."""
    attempts = (
        Attempt(response, verdict.passed, verdict.reason, verdict.feedback)
        for response, verdict in zip(responses, verdicts, strict=True)
    )
    return Attempted(uid, tuple(attempts))


class Journal:
    """The attempts of one sampling, appended row by row; `done` tells how the rows before fared,
    those of an earlier run too. Responses stay on disk.

    Raises DataError where the file was begun with other settings.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        self.done: dict[str, Tally] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        begun = path.exists() and path.stat().st_size > 0
        if begun:
            begun = self._resume(dict(settings))
        self._file = path.open("ab")
        if not begun:
            self._write({"settings": dict(settings)})

    def add(self, attempted: Attempted) -> None:
        """Append one row's attempts; they are on disk when this returns."""
        self._write(_encoded(attempted))
        self.done[attempted.uid] = attempted.tally

    def close(self) -> None:
        self._file.close()

    def _resume(self, settings: dict[str, Any]) -> bool:
        """Read what is there, cut off half a line; False where not even the settings are whole."""
        kept = 0
        first = True
        for line, record in _records(self.path):
            if first and record.get("settings") != settings:
                was = record.get("settings")
                problem = f"begun with {_changes(was, settings)}"
                mend = "use the same settings, or remove the file to begin again"
                raise DataError(str(self.path), "settings", problem, mend)
            if not first:
                attempted = _decoded(record, str(self.path))
                self.done[attempted.uid] = attempted.tally
            first = False
            kept += len(line)
        with self.path.open("r+b") as file:
            file.truncate(kept)
        return kept > 0

    def _write(self, record: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(record).encode() + b"\n")
        self._file.flush()


class AttemptsFile(Mapping[str, tuple[Attempt, ...]]):
    """The attempts of a file by the row's uid, read when they are asked for: of each row its place
    in the file is kept, no text. Raises DataError for a file that has none."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise DataError(str(path), "file", "there is no such file", "check the path")
        self._places: dict[str, int] = {}
        place = 0
        for number, (line, record) in enumerate(_records(self.path)):
            if number or "settings" not in record:
                attempted = _decoded(record, f"{path}, line {number + 1}")
                self._places[attempted.uid] = place
            place += len(line)
        if not self._places:
            mend = "give the file that `python -m data_prep frontier` writes"
            raise DataError(str(path), "file", "no attempts in it", mend)

    def __getitem__(self, uid: str) -> tuple[Attempt, ...]:
        with self.path.open("rb") as file:
            file.seek(self._places[uid])
            return _decoded(json.loads(file.readline()), str(self.path)).attempts

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


def _records(path: Path) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Whole lines and what is in them; half a line at the end is left out."""
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                record = None
            if not isinstance(record, dict):
                mend = "remove the line"
                raise DataError(f"{path}, line {number}", "line", "no JSON object", mend)
            yield line, record


def _encoded(attempted: Attempted) -> dict[str, Any]:
    tally = attempted.tally
    return {
        "uid": attempted.uid,
        "n": tally.judged,
        "passed": tally.passed,
        "rate": tally.rate,
        "attempts": [asdict(attempt) for attempt in attempted.attempts],
    }


def _decoded(record: Mapping[str, Any], where: str) -> Attempted:
    try:
        attempts = tuple(Attempt(**attempt) for attempt in record["attempts"])
        return Attempted(str(record["uid"]), attempts)
    except (KeyError, TypeError) as error:
        mend = "give `uid` and `attempts` with response, passed, reason and feedback"
        raise DataError(where, "line", f"not a row's attempts ({error})", mend) from error


def _changes(was: Any, now: dict[str, Any]) -> str:
    if not isinstance(was, dict):
        return "no settings at all"
    changed = [k for k in {**was, **now} if was.get(k) != now.get(k)]
    return ", ".join(f"{k}={was.get(k)!r} (now {now.get(k)!r})" for k in changed)
