"""Generation budgets: a control may generate the tokens that the arm it is compared with did.

Tokens that were generated count, prompts do not. Every allocation sums to the total, to the token.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from algorithms.retry.metrics import tells

ALLOCATIONS = ("per_task", "uniform", "frontier")


class BudgetError(ValueError):
    """A budget that cannot be given out, with the reason."""


def spent(attempts: Iterable[Mapping]) -> dict[str, int]:
    """Tokens generated for each task: the sum over rows with ``uid`` and ``tokens``."""
    total: Counter[str] = Counter()
    for attempt in attempts:
        total[attempt["uid"]] += attempt["tokens"]
    return dict(total)


def per_task(reference: Mapping[str, int], uids: Sequence[str]) -> dict[str, int]:
    """Each task gets what the reference arm spent on that task.

    Raises:
        BudgetError: the reference never attempted one of the tasks.
    """
    missing = [uid for uid in uids if uid not in reference]
    if missing:
        raise BudgetError(
            f"the reference arm did not attempt {len(missing)} tasks ({missing[0]}): both arms "
            "must be given the same tasks"
        )
    return {uid: reference[uid] for uid in uids}


def evenly(total: int, uids: Sequence[str]) -> dict[str, int]:
    """``total`` over the tasks, as equal as whole tokens allow; the first tasks get the rest.

    Raises:
        BudgetError: there is no task, or a negative total.
    """
    if not uids or total < 0:
        raise BudgetError(f"{total} tokens cannot be given to {len(uids)} tasks")
    share, rest = divmod(total, len(uids))
    return {uid: share + (place < rest) for place, uid in enumerate(uids)}


def frontier(
    attempts: Iterable[Mapping], uids: Sequence[str], band: tuple[float, float]
) -> list[str]:
    """The tasks whose pass rate among ``attempts`` (``uid``, ``passed``) lies in ``band``.

    Attempts that the budget cut, or that nobody could judge, do not count.
    """
    tried: Counter[str] = Counter()
    passed: Counter[str] = Counter()
    for attempt in filter(tells, attempts):
        tried[attempt["uid"]] += 1
        passed[attempt["uid"]] += bool(attempt["passed"])
    low, high = band
    return [uid for uid in uids if tried[uid] and low <= passed[uid] / tried[uid] <= high]
