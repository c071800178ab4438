"""`python -m data_prep pi`: kinds of privileged information added to a file of rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from data_prep import pi
from data_prep.attempts import AttemptsFile
from data_prep.errors import DataError, no_rows
from data_prep.family import Option, boolean
from data_prep.generate import Sampling, open_model
from data_prep.options import REQUIRED, help_text, names, parse, positive
from data_prep.pi.builder import Content
from data_prep.pi.written import REQUESTS, Attempts, Generate
from data_prep.progress import Ticker
from data_prep.schema import Row, RowFile, write_rows

BATCH = 32
CHECKED = ("accepted", "refused", "not to be judged here")
UNJUDGED = ("verifier_error", "timeout", "memory")
OPTIONS = (
    Option("kinds", names, REQUIRED, "such as [gold_answer,wrong_answer]; all are listed below"),
    Option("out", str, REQUIRED, "the rows with these kinds added: .parquet or .jsonl"),
    Option("seed", int, 0, "of the controls, and of what a model writes"),
    Option("attempts", str, None, "OUT.attempts.jsonl of frontier, or of traces"),
    Option("model", str, None, "writes hints and diagnoses: a folder, hub id, or name there"),
    Option("endpoint", str, None, "an OpenAI-compatible server, such as http://HOST:8000/v1"),
    Option("temperature", float, 0.7, "of the writing"),
    Option("max_tokens", positive, 256, "of what is written"),
    Option("check", boolean, False, "true: skeletons that Lean refuses are left out, and counted"),
)
ABOUT = f"""\
Adds kinds to `privileged`; an entry of the same kind is replaced.
Kinds: {", ".join(pi.BUILDERS)};
from attempts={{FILE}}: {", ".join(pi.ATTEMPT_KINDS)} (all but the first need model=)."""


def main(arguments: list[str]) -> int:
    """The command. Returns the exit status."""
    if arguments[:1] in (["--help"], ["-h"]):
        print(help_text("pi FILE kinds=[...] out=FILE [key=value ...]", ABOUT, OPTIONS))
        return 0
    (path,), options = parse("pi", arguments, OPTIONS)
    rows, kinds = RowFile(path), options["kinds"]
    if options["check"] and "skeleton" not in kinds:
        raise DataError("command pi", "check", "it is for skeletons", "add kinds=[skeleton]")
    attempts = _attempts(kinds, options)
    contents = {k: pi.builder(k)(rows, options["seed"]) for k in kinds if k in pi.BUILDERS}
    found: Counter[str] = Counter()
    checked: Counter[str] | None = Counter() if options["check"] else None
    added = _added(rows, kinds, contents, attempts, _writer(kinds, options), found, checked)
    total = write_rows(options["out"], added, source=f"{Path(path).name}, with {', '.join(kinds)}")
    for kind in kinds:
        print(f"{kind}: {found[kind]} of {total} rows")
    if checked is not None:
        print("skeletons before Lean: " + ", ".join(f"{checked[how]} {how}" for how in CHECKED))
    print(f"{options['out']}: {total} rows")
    return 0


def _attempts(kinds: Sequence[str], options: dict[str, Any]) -> Attempts:
    """The attempts, where a kind comes from them. Unknown kinds are refused here."""
    for kind in kinds:
        if kind not in pi.ATTEMPT_KINDS:
            pi.builder(kind)
        elif options["attempts"] is None:
            raise DataError("command pi", kind, "it comes from attempts", "add attempts=FILE")
    return AttemptsFile(options["attempts"]) if options["attempts"] else {}


def _writer(kinds: Sequence[str], options: dict[str, Any]) -> Generate | None:
    if not any(kind in REQUESTS for kind in kinds):
        return None
    if options["model"] is None:
        raise DataError("command pi", kinds[0], "a model writes it", "add model=...")
    sampling = Sampling(1, options["temperature"], 1.0, options["max_tokens"])
    sample = open_model(options["model"], options["endpoint"], sampling)
    return lambda requests: [texts[0] for texts in sample(requests, options["seed"])]


def _added(
    rows: RowFile,
    kinds: Sequence[str],
    contents: dict[str, Content],
    attempts: Attempts,
    generate: Generate | None,
    found: Counter[str],
    checked: Counter[str] | None,
) -> Iterator[Row]:
    """The rows with the kinds added, some at a time: a model writes for several at once."""
    ticker, stream, number = Ticker("pi"), iter(rows), 0
    while batch := list(islice(stream, BATCH)):
        for kind in kinds:
            if kind in contents:
                made = [contents[kind](row, number + i) for i, row in enumerate(batch)]
            else:
                made = pi.attempt_contents(batch, kind, attempts, generate)
            if kind == "skeleton" and checked is not None:
                made = _accepted(batch, made, checked)
            found[kind] += sum(content is not None for content in made)
            batch = [pi.with_kind(r, kind, c) for r, c in zip(batch, made, strict=True)]
        yield from batch
        number += len(batch)
        ticker.tick(number)
    ticker.close()
    if not number:
        raise no_rows(rows.path)
    for kind in kinds:
        if not found[kind] and kind in pi.NEEDS:
            raise pi.nothing_of(kind, str(rows.path))


def _accepted(rows: list[Row], made: pi.Contents, checked: Counter[str]) -> pi.Contents:
    """The skeletons without those that Lean refuses. Those that the Lean at hand cannot judge (no
    Mathlib, no end) stay."""
    given = [pi.with_kind(row, "skeleton", c) for row, c in zip(rows, made, strict=True)]
    verdicts = pi.check_skeletons(given)
    hows = [None if v is None else "accepted" if v.passed else _how(v.reason) for v in verdicts]
    checked.update(how for how in hows if how is not None)
    return [None if how == "refused" else c for how, c in zip(hows, made, strict=True)]


def _how(reason: str) -> str:
    return "not to be judged here" if reason in UNJUDGED else "refused"
