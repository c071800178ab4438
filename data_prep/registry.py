"""Families and commands by name: lazy targets, and families of other packages.

Another package adds a family by an entry point whose object is a `data_prep.family.Family`::

    [project.entry-points."verl_pi.datasets"]
    my_data = "my_package.my_data:MY_DATA"
"""

from __future__ import annotations

import difflib
import functools
import importlib
from collections.abc import Callable, Iterable
from importlib.metadata import entry_points
from typing import Any

from data_prep.errors import DataError
from data_prep.family import Family

ENTRY_POINT_GROUP = "verl_pi.datasets"

FAMILIES = {
    "aime": "data_prep.aime:AIME",
    "core_lean": "data_prep.core_lean.build:CORE_LEAN",
    "gem": "data_prep.gem:GEM",
    "gsm8k": "data_prep.gsm8k:GSM8K",
    "humaneval": "data_prep.humaneval:HUMANEVAL",
    "math": "data_prep.hendrycks_math:MATH",
    "math500": "data_prep.math500:MATH500",
    "mbpp": "data_prep.mbpp:MBPP",
    "minif2f": "data_prep.minif2f:MINIF2F",
    "numina": "data_prep.numina:NUMINA",
    "proofnet": "data_prep.proofnet:PROOFNET",
    "reasoning_gym": "data_prep.reasoning_gym:REASONING_GYM",
    "small_programs": "data_prep.small_programs:SMALL_PROGRAMS",
    "tau_airline": "data_prep.tau_bench:AIRLINE",
    "tau_retail": "data_prep.tau_bench:RETAIL",
    "travel_planner": "data_prep.travel_planner:TRAVEL_PLANNER",
    "worked_arithmetic": "data_prep.worked_arithmetic:WORKED_ARITHMETIC",
}
# Commands that are no family: target and one line of help. The target is called as
# `main(arguments: list[str]) -> int` and has its own `--help`.
COMMANDS: dict[str, tuple[str, str]] = {
    "frontier": ("data_prep.frontier:main", "keep the rows that a model passes sometimes"),
    "leak": ("data_prep.leak_command:main", "is a held-out row in the training data?"),
    "pi": ("data_prep.pi.command:main", "add kinds of privileged information to a file"),
    "show": ("data_prep.preview:main", "print rows and both views as the model will see them"),
    "traces": ("data_prep.traces:main", "a stronger model's tool calls as privileged information"),
}


def families() -> dict[str, str]:
    """All families by name, with their targets `module:object`, those of entry points included."""
    return {**_foreign(), **FAMILIES}


def get_family(name: str) -> Family:
    """The family of that name, imported on first use.

    Raises DataError: an unknown name (the nearest is named), or a target that is no Family.
    """
    known = families()
    if name not in known:
        raise unknown("command", name, [*known, *COMMANDS])
    family = _load(name, known[name])
    if not isinstance(family, Family):
        problem = f"{known[name]} is no data_prep.family.Family"
        raise DataError(f"data set {name}", "entry point", problem, "mend the package that has it")
    return family


def get_command(name: str) -> Callable[[list[str]], int] | None:
    """The command of that name, or None where it is a family's."""
    return _load(name, COMMANDS[name][0]) if name in COMMANDS else None


def unknown(what: str, name: str, known: Iterable[str]) -> DataError:
    """The error for a name that is not known: the nearest one, and all of them."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f" (did you mean `{near[0]}`?)" if near else ""
    mend = f"use one of {', '.join(known)}"
    return DataError("command line", what, f"there is no `{name}`{hint}", mend)


@functools.cache
def _foreign() -> dict[str, str]:
    """Families of installed packages. Ours cannot be replaced by them."""
    points = entry_points(group=ENTRY_POINT_GROUP)
    return {point.name: point.value.replace(" ", "") for point in points}


def _load(name: str, target: str) -> Any:
    module, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        mend = "install what is missing, or mend the target"
        raise DataError(name, target, f"cannot be loaded ({error})", mend) from error
