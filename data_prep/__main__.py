"""`python -m data_prep NAME [key=value ...]`: a data set becomes validated rows on disk."""

from __future__ import annotations

import signal
import sys
from typing import Any

from data_prep import registry
from data_prep.errors import DataError
from data_prep.family import MAX_CHARS, Drops, Family, Option, Request, boolean
from rewards import RewardsError
from rewards.lean.errors import LeanError

COMMON = (
    Option("source", str, None, "FILE, FOLDER or hub id (OWNER/NAME[:CONFIG[:SPLIT,SPLIT]])"),
    Option("out", str, "", "FOLDER (one file a split) or FILE (.parquet, .jsonl); default NAME"),
    Option("format", str, "", "parquet or jsonl, where out is a folder"),
    Option("split", str, "", "a new split by problem, like train:0.8,test:0.2"),
    Option("keep", str, "", "the splits to write, like train"),
    Option("rows", int, 0, "so many rows of each split, chosen by seed"),
    Option("seed", int, 0, "of rows, split, and what the data set draws"),
    Option("against", str, "", "held-out FILE[,FILE]: training rows in it are dropped"),
    Option("max_chars", int, MAX_CHARS, "longest text of a row; longer ones are dropped"),
    Option("strict", boolean, False, "true: the first row to drop is an error"),
    Option("dry_run", boolean, False, "true: everything but writing"),
)
NUMBERS: dict[Any, str] = {int: "give a whole number", float: "give a number"}
HELP = """\
usage: python -m data_prep NAME [key=value ...]
       python -m data_prep NAME --help

Turns a data set into rows of one schema (verl's columns, and `privileged`).
The same input gives the same bytes. A file is written whole or not at all.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status (2 for bad input)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    name, *rest = arguments
    try:
        command = registry.get_command(name)
        if command is not None:
            return command(rest)
        return _prepare(registry.get_family(name), rest)
    except (DataError, RewardsError, LeanError) as error:
        print(f"data_prep: {' '.join(str(error).split())}", file=sys.stderr)
    except OSError as error:
        said = f"{error.filename or 'a file'}: {error.strerror or error}"
        print(f"data_prep: {said}. To mend it: check path, permissions, disk.", file=sys.stderr)
    return 2


def _prepare(family: Family, arguments: list[str]) -> int:
    if set(arguments) & {"-h", "--help", "help"}:
        print(_family_help(family))
        return 0
    from data_prep.pipeline import prepare  # lazy: numpy, pyarrow

    options = _options(family, arguments)
    drops = Drops(strict=options["strict"])
    prepared = prepare(Request(family, options["source"], options, drops))
    if options["dry_run"]:
        print("dry run: nothing is written")
    for path, count in prepared.files.items():
        print(f"{path}: {count} rows")
    for reason, count in drops.counts.most_common():
        first = next(place["where"] for place in drops.places if place["reason"] == reason)
        print(f"dropped {count}: {reason} (first: {first})")
    return 0


def _options(family: Family, arguments: list[str]) -> dict[str, Any]:
    """All options of the family, parsed; those not given have their defaults."""
    known = {option.name: option for option in (*COMMON, *family.options)}
    values = {option.name: option.default for option in known.values()}
    for argument in arguments:
        name, equals, text = argument.partition("=")
        if name not in known:
            raise registry.unknown("option", name, known)
        if not equals or not text:
            raise DataError("command line", "option", f"`{name}` has no value", f"add {name}=...")
        try:
            values[name] = known[name].parse(text)
        except ValueError as error:
            mend = NUMBERS.get(known[name].parse) or str(error)
            raise DataError("command line", name, f"found `{text}`", mend) from error
    if values["format"] not in ("", "parquet", "jsonl"):
        raise registry.unknown("format", values["format"], ("parquet", "jsonl"))
    return values


def _help() -> str:
    lines = [HELP, "data sets:"]
    for name in sorted(registry.families()):
        lines.append(f"  {name:<15} {registry.get_family(name).description}")
    lines += ["", "other commands:"] if registry.COMMANDS else []
    lines += [f"  {name:<15} {text}" for name, (_, text) in sorted(registry.COMMANDS.items())]
    return "\n".join([*lines, "", "options of every data set:", *_described(COMMON)])


def _family_help(family: Family) -> str:
    source = f"hub id {family.hub.id}" if family.hub else "none: give source="
    source = "none: it is generated" if family.reads == "nothing" else source
    lines = [
        f"usage: python -m data_prep {family.name} [key=value ...]",
        "",
        f"{family.description}; {family.size}" if family.size else family.description,
        f"  verifier        {family.verifier}",
        f"  default source  {source}",
        f"  licence         {family.licence or 'see its publisher'}",
        f"  privileged      {', '.join(family.kinds) or 'none'}",
    ]
    if family.options:
        lines += ["", "options:", *_described(family.options)]
    return "\n".join([*lines, "", "options of every data set:", *_described(COMMON)])


def _described(options: tuple[Option, ...]) -> list[str]:
    return [f"  {o.name + '=':<15} {o.help}{_default(o.default)}" for o in options]


def _default(value: Any) -> str:
    return "" if value in (None, "") else f" (default {str(value).lower()})"


def _on_terminate(number: int, frame: Any) -> None:
    """Leave as an interrupt does, so that temporary files are taken away."""
    sys.exit(128 + number)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _on_terminate)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
