"""reasoning-gym: procedural tasks of any size, seed and difficulty.

A row's ground truth is the task's recipe (data set, seed, size, index, configuration), from which
the verifier makes it again, or the task itself where another process would draw another one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from data_prep.errors import DataError
from data_prep.family import Family, Option, Request, Row, json_object, make_row
from data_prep.registry import unknown
from rewards.reasoning_gym import ground_truth

SOURCE = "reasoning_gym"
# Task i of seed s is drawn from s + i alone: seeds nearer than `size` would share tasks.
SPAN = 10_000_000
INSTRUCTION = "Reason step by step and put the final answer between <answer> and </answer>."


def build(request: Request) -> Iterator[Row]:
    """Rows of `tasks`: `size` of each for training, and `test_size` of each of another seed."""
    gym = _library()
    for name in request["tasks"].split(","):
        if name not in gym.factory.DATASETS:
            raise unknown("tasks", name, sorted(gym.factory.DATASETS))
        for split, size, seed in _draws(request):
            yield from _rows(gym, name, split, size, seed, request)


def _draws(request: Request) -> list[tuple[str, int, int]]:
    """Split, size and seed of what is drawn."""
    draws = []
    for place, (split, option) in enumerate((("train", "size"), ("test", "test_size"))):
        if not 0 <= request[option] <= SPAN:
            mend = f"give a number from 0 to {SPAN}"
            raise DataError("reasoning_gym", option, f"found {request[option]}", mend)
        draws.append((split, request[option], (2 * request["seed"] + place) * SPAN))
    return [draw for draw in draws if draw[1] > 0]


def _rows(gym: Any, name: str, split: str, size: int, seed: int, request: Request) -> Iterator[Row]:
    config = {**_difficulty(gym, name, request["level"]), **request["config"]}
    try:
        tasks = gym.create_dataset(name, seed=seed, size=size, **config)
        for index in range(size):
            entry = tasks[index]
            truth = ground_truth(name, entry, seed=seed, size=size, index=index, config=config)
            yield _row(entry, truth, name, split, index, request["level"])
    except (AssertionError, TypeError, ValueError, KeyError, IndexError) as error:
        problem = f"{name} cannot be drawn ({type(error).__name__}: {error})"
        mend = "check config= against the task's own settings"
        raise DataError("reasoning_gym", "config", problem, mend) from error


def _row(entry: dict[str, Any], truth: str, family: str, split: str, index: int, level: int) -> Row:
    answer = entry["answer"]
    return make_row(
        data_source=SOURCE,
        prompt=f"{entry['question'].strip()}\n\n{INSTRUCTION}",
        ability="reasoning",
        verifier="reasoning_gym",
        ground_truth=truth,
        split=split,
        index=index,
        family=family,
        level=str(level),
        privileged={"gold_answer": answer if isinstance(answer, str) else None},
    )


def _difficulty(gym: Any, name: str, level: int) -> dict[str, Any]:
    """The settings of that level of the task's own curriculum; none at level 0."""
    if level == 0:
        return {}
    if not gym.factory.has_curriculum(name):
        problem = f"{name} has no levels"
        raise DataError("reasoning_gym", "level", problem, "leave level= out, or give config=")
    curriculum = gym.factory.create_curriculum(name)
    for attribute in list(curriculum.attributes):
        top = len(curriculum.attributes[attribute].levels) - 1
        curriculum.set_attr_level(attribute, min(level, top))
    config = vars(curriculum.generate_configuration({}))
    kept = {key: value for key, value in config.items() if key not in ("seed", "size")}
    return json.loads(json.dumps(kept, default=vars))


def _library() -> Any:
    try:
        import reasoning_gym  # lazy: an extra, and a second of imports
    except ImportError as error:
        problem = "the package reasoning-gym is missing"
        mend = "pip install 'verl-pi[reasoning-gym]'"
        raise DataError("reasoning_gym", "package", problem, mend) from error
    return reasoning_gym


REASONING_GYM = Family(
    name="reasoning_gym",
    description="reasoning-gym: procedural tasks of any size, seed and difficulty",
    verifier="reasoning_gym",
    build=build,
    reads="nothing",
    licence="Apache-2.0",
    size="as many as you ask for, of 105 tasks",
    kinds=("gold_answer",),
    options=(
        Option("tasks", str, "chain_sum", "names, like chain_sum,leg_counting"),
        Option("size", int, 1000, "training rows of each task"),
        Option("test_size", int, 100, "held-out rows of each task, of another seed"),
        Option("level", int, 0, "of the task's curriculum; 0: the task's defaults"),
        Option("config", json_object, {}, "the task's own settings, like '{\"min_terms\": 3}'"),
    ),
)
