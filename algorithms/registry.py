"""The registry of algorithms: a name, and where its class lives.

Third parties add theirs by the entry point group ``verl_pi.algorithms`` or by ``register``.
"""

from __future__ import annotations

import difflib
import importlib
from dataclasses import fields
from importlib.metadata import entry_points
from typing import Any

from algorithms.base import Algorithm

_TARGETS: dict[str, str] = {
    "opsd": "algorithms.opsd:OPSD",
    "sft": "algorithms.sft:SFT",
}


class UnknownAlgorithm(KeyError):
    """No algorithm of that name; the message lists the known ones and the nearest."""

    def __str__(self) -> str:
        return str(self.args[0])


class InvalidAlgorithmSetting(ValueError):
    """An algorithm was given a setting that it does not have, or a value out of range."""


def register(name: str, target: str) -> None:
    """Make ``target`` ("module:Class") available as ``algorithm=name``.

    Raises:
        ValueError: the name is taken by another target.
    """
    existing = _targets().get(name)
    if existing not in (None, target):
        raise ValueError(f"algorithm {name!r} is already {existing}; choose another name")
    _TARGETS[name] = target


def _targets() -> dict[str, str]:
    found = dict(_TARGETS)
    for point in entry_points(group="verl_pi.algorithms"):
        if found.setdefault(point.name, point.value) != point.value:
            raise ValueError(
                f"algorithm {point.name!r} is defined by {found[point.name]} and {point.value}: "
                "uninstall or rename one of the two"
            )
    return found


def names() -> list[str]:
    """The known algorithms, sorted."""
    return sorted(_targets())


def build(name: str, **settings: Any) -> Algorithm:
    """The algorithm ``name`` with ``settings``.

    Raises:
        UnknownAlgorithm: no such name.
        InvalidAlgorithmSetting: a setting that the algorithm does not have.
    """
    targets = _targets()
    if name not in targets:
        nearest = difflib.get_close_matches(name, targets, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        raise UnknownAlgorithm(f"no algorithm {name!r}{hint} Known: {', '.join(sorted(targets))}")
    module, _, attribute = targets[name].partition(":")
    cls = getattr(importlib.import_module(module), attribute)
    known = {f.name for f in fields(cls) if f.init}
    unknown = sorted(set(settings) - known)
    if unknown:
        raise InvalidAlgorithmSetting(
            f"algorithm {name!r} has no setting {', '.join(unknown)}; "
            f"it has {', '.join(sorted(known))}"
        )
    return cls(**settings)
