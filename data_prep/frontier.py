"""`python -m data_prep frontier`: the rows that a model solves sometimes.

Of each row a model gives n responses, which the row's own verifier judges; kept are the rows whose
pass rate lies in a band. All responses stay in a file beside the rows, from which a run that was
stopped goes on, and from which `python -m data_prep pi` makes hints and diagnoses. The rows are
read several times, and of each its uid and two numbers are kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import rewards
from data_prep.attempts import Attempted, Journal, Tally, judged, verifier_options
from data_prep.errors import DataError, no_rows
from data_prep.family import Option
from data_prep.generate import Sampler, Sampling, open_model
from data_prep.options import REQUIRED, help_text, interval, parse, positive
from data_prep.progress import Ticker
from data_prep.schema import Row, RowFile, write_rows
from data_prep.write import writer_for

Tallies = Mapping[str, Tally]  # by the row's uid

OPTIONS = (
    Option("model", str, REQUIRED, "a folder or hub id; with endpoint= the model's name there"),
    Option("out", str, REQUIRED, "the rows kept: .parquet or .jsonl"),
    Option("endpoint", str, None, "an OpenAI-compatible server, such as http://HOST:8000/v1"),
    Option("n", positive, 8, "responses a row"),
    Option("band", interval, (0.3, 0.5), "pass rates that are kept, both ends too"),
    Option("by", str, "row", "row: rows in the band; level: all rows of levels in the band"),
    Option("temperature", float, 0.7, "of the sampling"),
    Option("top_p", float, 1.0, "of the sampling"),
    Option("max_tokens", positive, 512, "of a response"),
    Option("batch", positive, 8, "rows sampled at once"),
    Option("seed", int, 0, "of the sampling"),
    Option("rows", positive, None, "only the first so many rows"),
)
ABOUT = """\
Keeps the rows that a model passes sometimes. Responses and verdicts go to OUT.attempts.jsonl; the
same command goes on from there after a stop."""


@dataclass(frozen=True)
class First:
    """The first `count` rows of a file (all, where it is None); every loop reads it again."""

    file: RowFile
    count: int | None

    def __iter__(self) -> Iterator[Row]:
        return islice(iter(self.file), self.count)


@dataclass
class Level:
    """What is counted of the rows of one level. `total` is the sum of their pass rates."""

    rows: int = 0
    total: float = 0.0
    kept: int = 0

    @property
    def mean(self) -> float:
        return self.total / self.rows


@dataclass
class Selection:
    """The rows in the band, chosen while they are read, and what is known of each level.

    by: "row" keeps rows whose own pass rate is in the band, "level" all rows of the levels whose
        mean pass rate is.
    """

    tallies: Tallies
    band: tuple[float, float]
    by: str = "row"
    levels: dict[str, Level] = field(default_factory=dict)
    unknown: int = 0

    def count(self, rows: Iterable[Row]) -> None:
        """Count rows and pass rates by level. Rows that could not be judged are of no level."""
        for row in rows:
            rate = self.tallies[row["uid"]].rate
            if rate is None:
                self.unknown += 1
                continue
            level = self.levels.setdefault(row["level"], Level())
            level.rows += 1
            level.total += rate

    def kept(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Rows in the band, with `pass_rate`, `passed` and `samples` in their `extra_info`."""
        low, high = self.band
        for row in rows:
            tally = self.tallies[row["uid"]]
            if tally.rate is None:
                continue
            level = self.levels[row["level"]]
            if low <= (tally.rate if self.by == "row" else level.mean) <= high:
                level.kept += 1
                yield _with_rate(row, tally)

    def table(self) -> str:
        """Pass rate by level, and how many rows of each are kept."""
        width = max([5, *(len(level) for level in self.levels)])
        lines = [f"{'level':<{width}}   rows  pass rate   kept"]
        for name, level in sorted(self.levels.items()):
            lines.append(f"{name:<{width}} {level.rows:>6}  {level.mean:>9.3f} {level.kept:>6}")
        if self.unknown:
            lines.append(f"{self.unknown} rows could not be judged and are left out")
        return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """The command. Returns the exit status."""
    if arguments[:1] in (["--help"], ["-h"]):
        print(help_text("frontier FILE model=... out=FILE [key=value ...]", ABOUT, OPTIONS))
        return 0
    (path,), options = parse("frontier", arguments, OPTIONS)
    if options["by"] not in ("row", "level"):
        raise DataError("command frontier", "option", "`by` is unknown", "use by=row or by=level")
    rows, out = First(RowFile(path), options["rows"]), Path(options["out"])
    writer_for(out)
    tallies, total = measure(rows, options, out.with_name(f"{out.name}.attempts.jsonl"))
    selection = Selection(tallies, options["band"], options["by"])
    selection.count(rows)
    low, high = options["band"]
    source = f"{Path(path).name}, pass rate of {options['model']} in [{low}, {high}]"
    kept = write_rows(out, selection.kept(rows), source=source)
    print(selection.table())
    print(f"{out}: {kept} of {total} rows")
    return 0


def measure(rows: First, options: Mapping[str, Any], journal_path: Path) -> tuple[Tallies, int]:
    """How each row fared, taken from the journal where that is known; and the number of rows."""
    sampling = Sampling(
        options["n"], options["temperature"], options["top_p"], options["max_tokens"]
    )
    names = ("model", "endpoint", "n", "temperature", "top_p", "max_tokens", "batch", "seed")
    total, digest = _fingerprint(rows)
    if not total:
        raise no_rows(rows.file.path)
    settings = {name: options[name] for name in names} | {"rows": f"{total} rows, {digest}"}
    journal = Journal(journal_path, settings)
    try:
        if len(journal.done) < total:
            sample = open_model(options["model"], options["endpoint"], sampling)
            batches = _batches(rows, options["batch"])
            _sample(batches, sample, options["seed"], journal, total)
    finally:
        journal.close()
    return journal.done, total


def verify(rows: Sequence[Row], responses: Sequence[Sequence[str]]) -> list[Attempted]:
    """The verdicts on all responses of these rows, asked for at once."""
    items = [
        (model["style"], text, model["ground_truth"], options)
        for row, texts in zip(rows, responses, strict=True)
        for model in [row["reward_model"]]
        for options in [verifier_options(model["style"], row["extra_info"])]
        for text in texts
    ]
    verdicts = iter(rewards.verify_batch(items))
    return [
        judged(row["uid"], texts, [next(verdicts) for _ in texts])
        for row, texts in zip(rows, responses, strict=True)
    ]


def _sample(
    batches: Iterable[tuple[int, Sequence[Row]]],
    sample: Sampler,
    seed: int,
    journal: Journal,
    total: int,
) -> None:
    """Sample, judge and note the batches that have a row without attempts."""
    ticker, of_all = Ticker("frontier", total), [0, 0]
    for number, batch in batches:
        if all(row["uid"] in journal.done for row in batch):
            continue
        responses = sample([row["prompt"] for row in batch], _batch_seed(seed, number))
        for attempted in verify(batch, responses):
            if attempted.uid not in journal.done:
                journal.add(attempted)
                of_all = [a + b for a, b in zip(of_all, attempted.tally, strict=True)]
        note = f"pass rate {of_all[0] / of_all[1]:.3f}" if of_all[1] else ""
        ticker.tick(len(journal.done), note)
    ticker.close()


def _batches(rows: Iterable[Row], size: int) -> Iterator[tuple[int, Sequence[Row]]]:
    """Always the same batches, so that a run that was stopped ends like one that was not."""
    stream, number = iter(rows), 0
    while batch := list(islice(stream, size)):
        yield number, batch
        number += 1


def _batch_seed(seed: int, number: int) -> int:
    digest = hashlib.sha256(f"frontier/{seed}/{number}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def _fingerprint(rows: Iterable[Row]) -> tuple[int, str]:
    """The number of the rows, and a hash of which they are."""
    digest, total = hashlib.sha256(), 0
    for row in rows:
        digest.update(f"{row['uid']},".encode())
        total += 1
    return total, digest.hexdigest()[:12]


def _with_rate(row: Row, tally: Tally) -> Row:
    rate = {"pass_rate": tally.rate, "passed": tally.passed, "samples": tally.judged}
    return {**row, "extra_info": {**row["extra_info"], **rate}}
