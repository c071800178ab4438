"""Which task a ground truth names.

It has one of two forms:

- the task's recipe, `{"dataset", "seed", "size", "index", "config", "check"}`: the task is drawn
  again. `check`, where it is given, is a hash of its question and answer, so that another version
  of the library, or another hash seed, is noticed;
- the task itself, `{"dataset", "entry", "config"}`: for the families that draw another task in
  another process (`UNSTABLE`), and wherever the entry is at hand.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from rewards.errors import RewardsError

#: Families whose task depends on Python's hash seed, and so differs from process to process.
UNSTABLE = frozenset(
    {
        "codeio",
        "isomorphic_strings",
        "knight_swap",
        "polynomial_multiplication",
        "ransom_note",
        "word_ladder",
    }
)
#: Families that take many seconds to draw: a cube of 3 is solved for its example answer.
SLOW = frozenset({"rubiks_cube"})
_GRIDS = frozenset({"arc_agi", "rearc"})  # their scorers compare tuples of tuples

_RECIPE = {"dataset", "seed", "size", "index"}
_ENTRY = {"dataset", "entry"}
_OPTIONAL = {"config", "check"}


class ReasoningGymMissingError(RewardsError, ImportError):
    """The package reasoning-gym is not installed."""


class GroundTruthError(ValueError):
    """The ground truth names no task."""


def ground_truth(
    dataset: str,
    entry: Mapping[str, Any],
    *,
    seed: int,
    size: int,
    index: int,
    config: Mapping[str, Any] | None = None,
) -> str:
    """The JSON for a task that was drawn with these: its recipe where that can be relied on.

    Raises TypeError where an entry that has to be carried holds what JSON cannot.
    """
    found: dict[str, Any] = {"dataset": dataset, "config": dict(config or {})}
    if dataset in UNSTABLE | SLOW:
        found["entry"] = dict(entry)
    else:
        found.update(seed=seed, size=size, index=index, check=_check(entry))
    return json.dumps(found, ensure_ascii=False, sort_keys=True)


def library() -> Any:
    try:
        import reasoning_gym  # lazy: a second of imports
    except ImportError:
        raise ReasoningGymMissingError(
            "reasoning-gym is not installed: pip install 'verl-pi[reasoning-gym]'"
        ) from None
    return reasoning_gym


def task_of(text: str) -> tuple[Any, str, dict[str, Any]]:
    """The data set, its name and the entry. Raises GroundTruthError, saying what is wrong."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as err:
        raise GroundTruthError(f"it is not JSON ({err})") from None
    if not isinstance(found, dict) or not isinstance(found.get("dataset"), str):
        raise GroundTruthError("it is no JSON object with the name of a dataset")
    name, config = found["dataset"], found.get("config") or {}
    if name not in library().factory.DATASETS:
        raise GroundTruthError(f"reasoning-gym has no data set {name!r}")
    keys = _ENTRY if "entry" in found else _RECIPE
    wrong = (set(found) ^ keys) - _OPTIONAL
    if wrong:
        raise GroundTruthError(f"its keys are to be {sorted(keys)}; not so {sorted(wrong)}")
    if "entry" in found:
        return _drawn(name, 0, 1, json.dumps(config)), name, _carried(name, found["entry"])
    return _drawn_again(name, found, json.dumps(config))


def _drawn_again(
    name: str, recipe: Mapping[str, Any], config: str
) -> tuple[Any, str, dict[str, Any]]:
    if name in UNSTABLE:
        raise GroundTruthError(f"{name} is drawn otherwise in each process: carry its entry")
    seed, size, index = (recipe[key] for key in ("seed", "size", "index"))
    if not all(type(number) is int for number in (seed, size, index)) or not 0 <= index < size:
        raise GroundTruthError("seed, size and index are to be whole numbers with index < size")
    dataset = _drawn(name, seed, size, config)
    try:
        entry = dataset[index]
    except Exception as err:
        raise GroundTruthError(f"{name} cannot draw task {index}: {err!r}") from None
    if recipe.get("check", _check(entry)) != _check(entry):
        raise GroundTruthError(
            f"{name} draws another task than the one that was asked: another version of "
            "reasoning-gym, or a family that needs its entry carried"
        )
    return dataset, name, entry


def _check(entry: Mapping[str, Any]) -> str:
    asked = repr((entry["question"], entry["answer"]))
    return hashlib.sha256(asked.encode("utf-8", "replace")).hexdigest()[:16]


@lru_cache(maxsize=64)
def _drawn(name: str, seed: int, size: int, config: str) -> Any:
    """The data set; its tasks are drawn when they are asked for."""
    try:
        return library().create_dataset(name, seed=seed, size=size, **json.loads(config))
    except Exception as err:
        raise GroundTruthError(f"{name} does not take config={config}: {err!r}") from None


def _carried(name: str, entry: Any) -> dict[str, Any]:
    """An entry after its way through JSON, with what the scorers need put right."""
    if not isinstance(entry, dict) or not {"question", "answer", "metadata"} <= set(entry):
        raise GroundTruthError("the entry is to have a question, an answer and metadata")
    metadata = entry["metadata"]
    if not isinstance(metadata, dict) or metadata.get("source_dataset", name) != name:
        raise GroundTruthError(f"the entry's metadata are not of {name}")
    if name in _GRIDS:
        grid = tuple(tuple(row) for row in metadata.get("output", ()))
        return {**entry, "metadata": {**metadata, "output": grid}}
    return entry
