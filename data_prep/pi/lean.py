"""Kinds of privileged information for proofs: the skeleton, and another theorem's skeleton."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from data_prep.canonical import fragment_pattern
from data_prep.pi.builder import Row, ground_truth, stored
from data_prep.pi.derangement import derangement
from data_prep.skeleton import skeleton as derive_skeleton
from rewards import Verdict, verify_batch


def skeleton(row: Row, seed: int = 0) -> str | None:
    """The row's have-skeleton; derived from its gold proof where it has none of its own.

    None for a proof without a `have` step whose proof can be taken out: there, the skeleton
    would be the whole proof.
    """
    own = stored(row, "skeleton")
    if own is not None:
        return own
    proof = stored(row, "gold_solution") if _is_lean(row) else None
    derived = derive_skeleton(proof, comments=False) if proof is not None else None
    return derived.text if derived is not None and derived.replaced else None


def wrong_skeletons(rows: Iterable[Row], seed: int = 0) -> dict[int, str]:
    """By row number another row's skeleton, of another family where that can be.

    A seeded derangement; never a content equal to the row's own up to names and white space.
    """
    own: dict[int, str] = {}
    families: list[str] = []
    for number, row in enumerate(rows):
        content = skeleton(row)
        if content is not None:
            own[number] = content
            families.append(str(row["extra_info"].get("family", "")))
    numbers, contents = list(own), list(own.values())
    patterns = [fragment_pattern(content) for content in contents]
    target = derangement(families, patterns, seed)
    return {number: contents[j] for number, j in zip(numbers, target, strict=True)}


def check_skeletons(rows: Sequence[Row], backend: str = "auto") -> list[Verdict | None]:
    """Whether Lean accepts each row's skeleton, `sorry` allowed; None for rows without one.

    Raises LeanUnavailableError, with install commands, where no Lean is at hand.
    """
    texts = [skeleton(row) for row in rows]
    items = [
        ("lean", text, ground_truth(row)[1], {"allow_sorry": True, "backend": backend})
        for row, text in zip(rows, texts, strict=True)
        if text is not None
    ]
    verdicts = iter(verify_batch(items))
    return [None if text is None else next(verdicts) for text in texts]


def _is_lean(row: Row) -> bool:
    return ground_truth(row)[0] in ("", "lean", "heuristic_lean")
