"""`python -m data_prep NAME [key=value ...]`: a data set becomes validated rows on disk."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from data_prep import minif2f
from data_prep.core_lean import build
from data_prep.errors import DataError
from data_prep.schema import write_rows

Options = dict[str, str]

HELP = """\
usage: python -m data_prep NAME [key=value ...]

Turns a data set into rows of one schema (verl's columns, and `privileged`).

  core_lean  out=DIR                 the bundled Lean theorems, generated again:
                                     warmup.jsonl, train.jsonl, heldout.jsonl
  minif2f    source=PATH out=FILE    miniF2F in Lean 4; source is a .jsonl file, a .lean file,
                                     or a folder of .lean files; out ends in .parquet or .jsonl

The same input gives the same bytes. A file is written whole or not at all.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status (2 for bad input)."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(HELP)
        return 0
    try:
        name, options = arguments[0], _options(arguments[1:])
        if name not in COMMANDS:
            raise _usage("command", f"there is no `{name}`", f"use one of {', '.join(COMMANDS)}")
        written = COMMANDS[name](options)
    except (DataError, OSError) as error:
        print(f"data_prep: {error}", file=sys.stderr)
        return 2
    for path, count in written.items():
        print(f"{path}: {count} rows")
    return 0


def _core_lean(options: Options) -> dict[str, int]:
    (out,) = _take(options, "out")
    return build.write(out)


def _minif2f(options: Options) -> dict[str, int]:
    source, out = _take(options, "source", "out")
    rows = minif2f.load(source)
    return {out: write_rows(out, rows, source=f"{minif2f.SOURCE} {Path(source).name}")}


COMMANDS: dict[str, Callable[[Options], dict[str, int]]] = {
    "core_lean": _core_lean,
    "minif2f": _minif2f,
}


def _options(arguments: list[str]) -> Options:
    pairs = [argument.partition("=") for argument in arguments]
    for key, equals, _ in pairs:
        if not equals:
            raise _usage("option", f"`{key}` has no value", f"write {key}=...")
    return {key: value for key, _, value in pairs}


def _take(options: Options, *names: str) -> list[str]:
    unknown = sorted(options.keys() - set(names))
    if unknown:
        raise _usage("option", f"there is no `{unknown[0]}`", f"use {', '.join(names)}")
    for name in names:
        if not options.get(name):
            raise _usage("option", f"`{name}` is missing", f"add {name}=...")
    return [options[name] for name in names]


def _usage(what: str, problem: str, mend: str) -> DataError:
    return DataError("command line", what, problem, mend)


if __name__ == "__main__":
    sys.exit(main())
