"""The registry of algorithms: a name, and where its class lives.

Third parties add theirs by the entry point group ``verl_pi.algorithms`` or by ``register``.
"""

from __future__ import annotations

import difflib
import importlib
from dataclasses import fields, is_dataclass
from importlib.metadata import entry_points
from typing import Any

from algorithms.base import Algorithm

_TARGETS: dict[str, str] = {
    "opsd": "algorithms.opsd:OPSD",
    "pi_distill": "algorithms.pi_distill:PiDistill",
    "teacher_objective": "algorithms.pi_distill:TeacherObjective",
    "student_objective": "algorithms.pi_distill:StudentObjective",
    "grpo": "algorithms.grpo:GRPO",
    "sft": "algorithms.sft:SFT",
    "retry_sft": "algorithms.retry_sft:RetrySFT",
}


class UnknownAlgorithm(KeyError):
    """No algorithm of that name; the message lists the known ones and the nearest."""

    def __str__(self) -> str:
        return str(self.args[0])


class BrokenAlgorithm(ImportError):
    """The class of an algorithm cannot be imported, or is no algorithm."""


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
        BrokenAlgorithm: its class cannot be imported, or is no algorithm.
        InvalidAlgorithmSetting: a setting that the algorithm does not have.
    """
    targets = _targets()
    if name not in targets:
        nearest = difflib.get_close_matches(name, targets, n=1)
        hint = f", did you mean {nearest[0]!r}?" if nearest else ""
        raise UnknownAlgorithm(f"no algorithm {name!r}{hint}; known: {', '.join(sorted(targets))}")
    cls = _class_of(name, targets[name])
    known = {f.name for f in fields(cls) if f.init}
    unknown = sorted(set(settings) - known)
    if unknown:
        raise InvalidAlgorithmSetting(
            f"algorithm {name!r} has no setting {', '.join(unknown)}; "
            f"it has {', '.join(sorted(known))}"
        )
    algorithm = cls(**settings)
    if not isinstance(algorithm, Algorithm):
        raise BrokenAlgorithm(
            f"algorithm {name!r} is {targets[name]}, which lacks something of "
            "algorithms.base.Algorithm: loss_settings, rows, sampling_view, "
            "needs_old_log_probs and sequence_kl are needed"
        )
    return algorithm


def _class_of(name: str, target: str) -> type[Any]:
    module, _, attribute = target.partition(":")
    try:
        cls = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise BrokenAlgorithm(f"algorithm {name!r} is {target}, but {error}") from error
    if not is_dataclass(cls):
        raise BrokenAlgorithm(
            f"algorithm {name!r} is {target}, which is no dataclass: its fields are the settings"
        )
    return cls  # type: ignore[return-value]
