"""`python -m data_prep frontier`: the rows that a model solves sometimes.

Of each row a model gives n responses, which the row's own verifier judges; kept are the rows whose
pass rate lies in a band. All responses stay in a file beside the rows, from which a run that was
stopped goes on, and from which `python -m data_prep pi` makes hints and diagnoses.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rewards
from data_prep.attempts import Attempted, Journal, judged, verifier_options
from data_prep.errors import DataError
from data_prep.family import Option
from data_prep.generate import Sampler, Sampling, open_model
from data_prep.options import REQUIRED, help_text, interval, parse, positive
from data_prep.progress import Ticker
from data_prep.schema import Row, RowFile, write_rows

Rates = Mapping[str, Attempted]

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
class Selection:
    """Rows kept, their attempts by uid, and the table of levels."""

    rows: list[Row]
    rates: Rates
    levels: dict[str, tuple[int, float, int]]  # level: rows, mean pass rate, rows kept


def main(arguments: list[str]) -> int:
    """The command. Returns the exit status."""
    if arguments[:1] in (["--help"], ["-h"]):
        print(help_text("frontier FILE model=... out=FILE [key=value ...]", ABOUT, OPTIONS))
        return 0
    (path,), options = parse("frontier", arguments, OPTIONS)
    if options["by"] not in ("row", "level"):
        raise DataError("command frontier", "option", "`by` is unknown", "use by=row or by=level")
    rows = list(RowFile(path))[: options["rows"]]
    out = Path(options["out"])
    rates = measure(rows, options, out.with_name(f"{out.name}.attempts.jsonl"))
    selection = select(rows, rates, options["band"], options["by"])
    low, high = options["band"]
    source = f"{Path(path).name}, pass rate of {options['model']} in [{low}, {high}]"
    write_rows(out, selection.rows, source=source)
    print(table(selection))
    print(f"{out}: {len(selection.rows)} of {len(rows)} rows")
    return 0


def measure(rows: Sequence[Row], options: Mapping[str, Any], journal_path: Path) -> Rates:
    """The attempts at each row, taken from the journal where they are there already."""
    sampling = Sampling(
        options["n"], options["temperature"], options["top_p"], options["max_tokens"]
    )
    names = ("model", "endpoint", "n", "temperature", "top_p", "max_tokens", "batch", "seed")
    settings = {name: options[name] for name in names} | {"rows": _fingerprint(rows)}
    journal = Journal(journal_path, settings)
    try:
        batches = list(_batches(rows, options["batch"]))
        missing = [b for b in batches if any(row["uid"] not in journal.done for row in b[1])]
        if missing:
            sample = open_model(options["model"], options["endpoint"], sampling)
            _sample(missing, sample, options["seed"], journal, len(rows))
    finally:
        journal.close()
    return journal.done


def select(rows: Sequence[Row], rates: Rates, band: tuple[float, float], by: str) -> Selection:
    """Rows in the band with `pass_rate`, `passed` and `samples` in their `extra_info`."""
    known = {row["uid"]: rate for row in rows if (rate := rates[row["uid"]].rate) is not None}
    of_level: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row["uid"] in known:
            of_level[row["level"]].append(known[row["uid"]])
    means = {level: sum(found) / len(found) for level, found in of_level.items()}
    kept = []
    for row in rows:
        if row["uid"] in known:
            measured = known[row["uid"]] if by == "row" else means[row["level"]]
            if band[0] <= measured <= band[1]:
                kept.append(_with_rate(row, rates[row["uid"]]))
    levels = {
        level: (len(found), means[level], sum(row["level"] == level for row in kept))
        for level, found in sorted(of_level.items())
    }
    return Selection(kept, rates, levels)


def table(selection: Selection) -> str:
    """Pass rate by level, and how many rows of each are kept."""
    width = max([5, *(len(level) for level in selection.levels)])
    lines = [f"{'level':<{width}}   rows  pass rate   kept"]
    for level, (count, mean, kept) in selection.levels.items():
        lines.append(f"{level:<{width}} {count:>6}  {mean:>9.3f} {kept:>6}")
    unknown = sum(attempted.rate is None for attempted in selection.rates.values())
    if unknown:
        lines.append(f"{unknown} rows could not be judged and are left out")
    return "\n".join(lines)


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
    batches: list[tuple[int, Sequence[Row]]],
    sample: Sampler,
    seed: int,
    journal: Journal,
    total: int,
) -> None:
    ticker = Ticker("frontier", total)
    for number, batch in batches:
        responses = sample([row["prompt"] for row in batch], _batch_seed(seed, number))
        for attempted in verify(batch, responses):
            if attempted.uid not in journal.done:
                journal.add(attempted)
        rates = [a.rate for a in journal.done.values() if a.rate is not None]
        note = f"pass rate {sum(rates) / len(rates):.3f}" if rates else ""
        ticker.tick(len(journal.done), note)
    ticker.close()


def _batches(rows: Sequence[Row], size: int) -> Iterator[tuple[int, Sequence[Row]]]:
    """Always the same batches, so that a run that was stopped ends like one that was not."""
    for number, start in enumerate(range(0, len(rows), size)):
        yield number, rows[start : start + size]


def _batch_seed(seed: int, number: int) -> int:
    digest = hashlib.sha256(f"frontier/{seed}/{number}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def _fingerprint(rows: Sequence[Row]) -> str:
    uids = ",".join(row["uid"] for row in rows)
    return f"{len(rows)} rows, {hashlib.sha256(uids.encode()).hexdigest()[:12]}"


def _with_rate(row: Row, attempted: Attempted) -> Row:
    rate = {"pass_rate": attempted.rate, "passed": attempted.passed, "samples": attempted.judged}
    return {**row, "extra_info": {**row["extra_info"], **rate}}
