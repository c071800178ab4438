"""Builders of privileged information (PI): for each row, the content of one kind, or None.

`contents(rows, kind, seed)` gives one entry per row; `attach` adds them to `privileged`, so that
one file serves every arm. A kind is one function in `BUILDERS`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from data_prep.canonical import fragment_pattern
from data_prep.errors import DataError
from data_prep.schema import Row, privileged
from data_prep.skeleton import skeleton as derive_skeleton

GIBBERISH = "XYZZY"

Rows = Sequence[Mapping[str, Any]]
Contents = list[str | None]


def contents(rows: Rows, kind: str, seed: int = 0) -> Contents:
    """The content of `kind` for each row; None where the row has nothing of that kind.

    Raises DataError for an unknown kind, or where a control cannot be built.
    """
    if kind not in BUILDERS:
        raise DataError("privileged information", "kind", f"there is no `{kind}`", _known())
    return BUILDERS[kind](rows, seed)


def attach(rows: Rows, kind: str, seed: int = 0) -> list[Row]:
    """New rows with `kind` in `privileged`, in place of an entry of that kind, if there is one."""
    attached = []
    for row, content in zip(rows, contents(rows, kind, seed), strict=True):
        kept = [entry for entry in row["privileged"] if entry["kind"] != kind]
        added = [] if content is None else [{"kind": kind, "content": content}]
        attached.append({**row, "privileged": [*kept, *added]})
    return attached


def skeleton(rows: Rows, seed: int = 0) -> Contents:
    """The row's have-skeleton; derived from its gold proof where it has none of its own.

    None for a proof without a `have` step whose proof can be taken out: there, the skeleton
    would be the whole proof.
    """
    return [_skeleton_of(row) for row in rows]


def gold_solution(rows: Rows, seed: int = 0) -> Contents:
    """The row's own proof or worked solution."""
    return [privileged(row, "gold_solution") for row in rows]


def wrong_skeleton(rows: Rows, seed: int = 0) -> Contents:
    """Another row's skeleton, of another family where that can be: a seeded derangement.

    Never a content equal to the row's own up to names and white space.
    """
    own = skeleton(rows)
    having = [i for i, content in enumerate(own) if content is not None]
    families = [str(rows[i]["extra_info"].get("family", "")) for i in having]
    patterns = [fragment_pattern(own[i] or "") for i in having]
    wrong: Contents = [None] * len(rows)
    for i, other in zip(having, derangement(families, patterns, seed), strict=True):
        wrong[i] = own[having[other]]
    return wrong


def gibberish(rows: Rows, seed: int = 0) -> Contents:
    """The same meaningless word for every row."""
    return [GIBBERISH for _ in rows]


def none(rows: Rows, seed: int = 0) -> Contents:
    """No privileged information: the teacher's view equals the student's."""
    return [None for _ in rows]


BUILDERS: dict[str, Callable[[Rows, int], Contents]] = {
    "skeleton": skeleton,
    "gold_solution": gold_solution,
    "wrong_skeleton": wrong_skeleton,
    "gibberish": gibberish,
    "none": none,
}


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
    raise DataError(
        f"row {i}",
        "wrong privileged information",
        "more than half of the rows have this content up to names",
        "add rows of other families",
    )


def _skeleton_of(row: Mapping[str, Any]) -> str | None:
    stored = privileged(row, "skeleton")
    if stored is not None:
        return stored
    proof = privileged(row, "gold_solution")
    derived = derive_skeleton(proof, comments=False) if proof is not None else None
    return derived.text if derived is not None and derived.replaced else None


def _known() -> str:
    return f"use one of {', '.join(BUILDERS)}"
