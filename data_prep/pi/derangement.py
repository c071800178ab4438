"""Seeded permutations that give no row what is its own: the heart of every `wrong` control."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from data_prep.errors import DataError

TRIES = 100  # random partners of a swap before all are looked at
Pair = tuple[int, int]
Same = Callable[[list[Pair]], list[bool]]


def derangement(groups: Sequence[str], contents: Sequence[str], seed: int) -> list[int]:
    """A seeded permutation that gives no position a content equal to its own.

    Positions of other groups are preferred: none stays in its group where no group holds more
    than half. Raises DataError where one content fills more than half, so that there is none.
    """
    rng = random.Random(f"derangement/{seed}")
    order = list(range(len(contents)))
    rng.shuffle(order)
    target = _rotate(order, groups, rng)
    for i in range(len(target)):
        if contents[target[i]] == contents[i]:
            _repair(i, target, groups, contents)
    return target


def scatter(contents: Sequence[str], seed: int, same: Same | None = None) -> list[int]:
    """A seeded permutation that is as good as random but for this: no position gets a content
    equal to its own, nor one that `same` (asked for many pairs at once) calls the same.

    Where few contents are frequent, `derangement` would give all rows of one content the same
    other content, which tells the right one; here partners are drawn anew for each row. Each
    round asks about changed pairs only. Raises DataError where one content fills more than half.
    """
    rng = random.Random(f"scatter/{seed}")
    target = list(range(len(contents)))
    rng.shuffle(target)
    banned: set[tuple[str, str]] = set()  # unequal texts that say the same
    asked = list(range(len(target)))
    while asked:
        changed = set(asked)
        for i in asked:
            if _clash(i, target[i], contents, banned):
                changed.add(_swap(i, target, contents, banned, rng))
        asked = _same_still(sorted(changed), target, contents, same, banned)
    return target


def _clash(i: int, source: int, contents: Sequence[str], banned: set[tuple[str, str]]) -> bool:
    return contents[i] == contents[source] or (contents[i], contents[source]) in banned


def _swap(
    i: int,
    target: list[int],
    contents: Sequence[str],
    banned: set[tuple[str, str]],
    rng: random.Random,
) -> int:
    """Swap the source of i with that of another position, so that neither clashes; return it."""
    drawn = (rng.randrange(len(target)) for _ in range(TRIES))
    for j in (*drawn, *range(len(target))):
        if not (_clash(i, target[j], contents, banned) or _clash(j, target[i], contents, banned)):
            target[i], target[j] = target[j], target[i]
            return j
    raise _too_frequent(i)


def _same_still(
    positions: list[int],
    target: list[int],
    contents: Sequence[str],
    same: Same | None,
    banned: set[tuple[str, str]],
) -> list[int]:
    """The positions whose content `same` calls their own; their pairs of texts are banned."""
    if same is None:
        return []
    found = same([(i, target[i]) for i in positions])
    again = [i for i, equal in zip(positions, found, strict=True) if equal]
    for i in again:
        banned |= {(contents[i], contents[target[i]]), (contents[target[i]], contents[i])}
    return again


def _rotate(order: list[int], labels: Sequence[str], rng: random.Random) -> list[int]:
    """Order by label, then shift by the largest label's size: no label meets itself where no
    label holds more than half."""
    members: dict[str, list[int]] = {}
    for i in order:
        members.setdefault(labels[i], []).append(i)
    names = sorted(members)
    rng.shuffle(names)
    row = [i for name in names for i in members[name]]
    shift = max((len(group) for group in members.values()), default=0)
    target = [0] * len(order)
    for place, i in enumerate(row):
        target[i] = row[(place + shift) % len(row)]
    return target


def _repair(i: int, target: list[int], groups: Sequence[str], contents: Sequence[str]) -> None:
    """Swap the source of position i with another's, so that both get a content not their own.

    Swaps that give both a content of another group come first.
    """
    for labels in (groups, contents):
        for j in range(len(target)):
            pairs = ((i, target[j]), (j, target[i]))
            if all(contents[a] != contents[b] and labels[a] != labels[b] for a, b in pairs):
                target[i], target[j] = target[j], target[i]
                return
    raise _too_frequent(i)


def _too_frequent(i: int) -> DataError:
    return DataError(
        f"row {i}",
        "wrong privileged information",
        "more than half of the rows have this content up to its form",
        "add rows of other families",
    )
