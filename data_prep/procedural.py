"""What sets that we generate ourselves have in common: tasks drawn until they differ, and splits.

A set consists of cells (a family at a level, or a family), and every split gets as many tasks of
each, in turn, so that any beginning of a split is balanced.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

from data_prep.errors import DataError
from data_prep.family import Row
from data_prep.pi import attach

SPLITS = ("warmup", "train", "heldout")
MAX_DRAWS = 5000

Item = TypeVar("Item")
Cell = TypeVar("Cell", bound=Hashable)


def draw(
    cell: str,
    generate: Callable[[random.Random], Item],
    key: Callable[[Item], Hashable],
    count: int,
    taken: set[Hashable],
) -> list[Item]:
    """`count` tasks whose keys differ from one another and from all in `taken`, which grows.

    The same `cell` gives the same draws. Raises DataError where there are not so many tasks.
    """
    found: list[Item] = []
    rng = random.Random(cell)
    for _ in range(MAX_DRAWS):
        if len(found) == count:
            return found
        item = generate(rng)
        if key(item) not in taken:
            taken.add(key(item))
            found.append(item)
    problem = f"only {len(found)} of {count} tasks differ"
    raise DataError(f"cell {cell}", "generator", problem, "widen its constants")


def deal(
    cells: Mapping[Cell, list[Item]], sizes: Mapping[str, int]
) -> dict[str, list[tuple[Cell, Item]]]:
    """The tasks by split, with their cells: `sizes` of each cell, one of each cell in turn."""
    dealt, start = {}, 0
    for split, size in sizes.items():
        rounds = range(start, start + size)
        dealt[split] = [(cell, items[i]) for i in rounds for cell, items in cells.items()]
        start += size
    return dealt


def with_kinds(rows: list[Row], kinds: tuple[str, ...]) -> list[Row]:
    """The rows with these kinds of privileged information, built by `data_prep.pi`."""
    for kind in kinds:
        rows = attach(rows, kind)
    return rows


def check_split(name: str, split: str) -> None:
    """Raise DataError unless `split` is one of SPLITS."""
    if split not in SPLITS:
        mend = f"use one of {', '.join(SPLITS)}"
        raise DataError(name, "split", f"there is no `{split}`", mend)
