"""The `key=value` arguments of a command: parsed by its `Option`s, and its help made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from data_prep.errors import DataError
from data_prep.family import Option

REQUIRED = object()  # an Option's default where the command cannot do without it


def parse(
    command: str, arguments: Sequence[str], options: Sequence[Option], files: int = 1
) -> tuple[list[str], dict[str, Any]]:
    """The files named, and every option's value (defaults filled in).

    Raises DataError for an unknown or a missing option, a value that cannot be read, or a wrong
    number of files.
    """
    paths = [argument for argument in arguments if "=" not in argument]
    given = dict(a.split("=", 1) for a in arguments if "=" in a)
    known = {option.name: option for option in options}
    for name in given:
        if name not in known:
            raise _usage(command, f"there is no `{name}`", f"use {', '.join(known)}")
    if len(paths) != files:
        raise _usage(command, f"{len(paths)} files given, not {files}", f"see {command} --help")
    return paths, {name: _value(command, option, given) for name, option in known.items()}


def help_text(usage: str, about: str, options: Sequence[Option]) -> str:
    """What `--help` shows."""
    lines = [f"  {o.name:<12} {o.help}{_default(o)}" for o in options]
    return "\n".join([f"usage: python -m data_prep {usage}", "", about, "", *lines])


def names(text: str) -> list[str]:
    """`a,b` or `[a,b]`."""
    return [part.strip() for part in text.strip("[]() ").split(",") if part.strip()]


def interval(text: str) -> tuple[float, float]:
    """`[0.3,0.5]`: two numbers in [0, 1], the smaller first."""
    values = [float(part) for part in names(text)]
    if len(values) != 2 or not 0 <= values[0] <= values[1] <= 1:
        raise ValueError("give [LOW,HIGH] with 0 <= LOW <= HIGH <= 1")
    return values[0], values[1]


def positive(text: str) -> int:
    """A whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise ValueError("give a whole number of at least 1")
    return value


def _value(command: str, option: Option, given: dict[str, str]) -> Any:
    if option.name not in given:
        if option.default is REQUIRED:
            raise _usage(command, f"`{option.name}` is missing", f"add {option.name}=...")
        return option.default
    try:
        return option.parse(given[option.name])
    except ValueError as error:
        problem = f"`{option.name}={given[option.name][:60]}` cannot be read"
        raise _usage(command, problem, str(error)) from None


def _default(option: Option) -> str:
    if option.default is REQUIRED:
        return " (required)"
    return "" if option.default in (None, "") else f" (default {option.default})"


def _usage(command: str, problem: str, mend: str) -> DataError:
    return DataError(f"command {command}", "option", problem, mend)
