"""`python -m data_prep leak TRAIN HELD_OUT`: which held-out rows are in the training data?"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from data_prep.errors import DataError, no_rows
from data_prep.leak import NGRAM, OVERLAP, Leak, find_leaks
from data_prep.progress import Counted
from data_prep.registry import unknown
from data_prep.schema import RowFile
from data_prep.write import replacing

SHOWN = 20
HELP = f"""\
usage: python -m data_prep leak TRAIN HELD_OUT [key=value ...]

Compares two files of rows (.parquet or .jsonl): equal statements (Lean: up to renaming), and
held-out questions whose n-grams of words are in one training row. Exit status 0 where nothing
leaks, 1 where something does, 2 for bad input.

  ngram=    words in an n-gram (default {NGRAM})
  overlap=  share of a held-out question's n-grams that is a leak (default {OVERLAP})
  report=   FILE for the report as JSON
"""


def main(arguments: list[str]) -> int:
    """Run the command; return the exit status. Raises DataError for bad input."""
    if not arguments or set(arguments) & {"-h", "--help", "help"}:
        print(HELP)
        return 0
    paths, options = _parsed(arguments)
    ngram, overlap = int(options["ngram"]), float(options["overlap"])
    train, held_out = (RowFile(path) for path in paths)
    sizes = [sum(1 for _ in file) for file in (train, held_out)]
    for path, size in zip(paths, sizes, strict=True):
        if not size:
            raise no_rows(path)
    leaks = find_leaks(
        Counted(train, "training rows", sizes[0]),
        Counted(held_out, "held-out rows", sizes[1]),
        ngram=ngram,
        overlap=overlap,
    )
    _show(leaks, sizes)
    if options["report"]:
        names = [Path(path).name for path in paths]
        _write(Path(options["report"]), leaks, names, sizes, {"ngram": ngram, "overlap": overlap})
    return 1 if leaks else 0


def _parsed(arguments: list[str]) -> tuple[list[str], dict[str, str]]:
    options = {"ngram": str(NGRAM), "overlap": str(OVERLAP), "report": ""}
    paths = [a for a in arguments if "=" not in a or Path(a).exists()]
    for argument in arguments:
        if argument in paths:
            continue
        name, _, value = argument.partition("=")
        if name not in options:
            raise unknown("option", name, options)
        options[name] = value
    if len(paths) != 2:
        raise DataError("leak", "files", f"{len(paths)} given", "give TRAIN and HELD_OUT")
    _check(options)
    return paths, options


def _check(options: dict[str, str]) -> None:
    if not options["ngram"].isdigit() or int(options["ngram"]) < 1:
        raise DataError("leak", "ngram", f"found `{options['ngram']}`", "give a whole number > 0")
    try:
        good = 0 < float(options["overlap"]) <= 1
    except ValueError:
        good = False
    if not good:
        raise DataError("leak", "overlap", f"found `{options['overlap']}`", "give one of (0, 1]")


def _show(leaks: list[Leak], sizes: list[int]) -> None:
    print(f"{len(leaks)} of {sizes[1]} held-out rows are among {sizes[0]} training rows")
    for leak in leaks[:SHOWN]:
        print(f"  {leak}")
    if len(leaks) > SHOWN:
        print(f"  and {len(leaks) - SHOWN} more")


def _write(
    path: Path, leaks: list[Leak], names: list[str], sizes: list[int], settings: dict[str, float]
) -> None:
    report = {
        "train": names[0],
        "held_out": names[1],
        "train_rows": sizes[0],
        "held_out_rows": sizes[1],
        **settings,
        "leaks": [asdict(leak) for leak in leaks],
    }
    with replacing(path) as file:
        file.write(json.dumps(report, ensure_ascii=False, indent=1).encode() + b"\n")
