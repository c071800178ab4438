"""What a set of ladders says of retrying: success by attempt, repeats, tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any


def ladder_metrics(ladders: Iterable[tuple[Sequence[Mapping[str, Any]], str]]) -> dict[str, float]:
    """Counts over pairs of attempts (``number``, ``passed``, ``response``) and why they stopped.

    ``retry/asked_<k>`` and ``retry/passed_<k>`` count the attempts number k, and those that passed.
    ``retry/repeated`` counts the attempts that give the answer before once more, out of
    ``retry/retries``. Attempts that the budget cut, and those that no verifier could judge, say
    nothing of success: they count as ``retry/cut_by_budget`` and ``retry/unjudged`` alone.
    """
    found: Counter[str] = Counter()
    for attempts, stopped in ladders:
        # Attempts after a probe go on with a task that the probe has counted.
        found["tasks"] += not attempts or attempts[0]["number"] == 1
        found["attempts"] += len(attempts)
        found[f"stopped_{stopped}"] += 1
        found["cut_by_budget"] += sum(bool(a.get("cut_by_budget")) for a in attempts)
        found["unjudged"] += sum(a.get("reason") == "verifier_error" for a in attempts)
        attempts = [a for a in attempts if tells(a)]
        for attempt in attempts:
            found[f"asked_{attempt['number']}"] += 1
            found[f"passed_{attempt['number']}"] += bool(attempt["passed"])
        for earlier, later in pairwise(attempts):
            found["retries"] += 1
            found["repeated"] += _same(earlier["response"], later["response"])
    return {f"retry/{name}": float(count) for name, count in sorted(found.items())}


def tells(attempt: Mapping[str, Any]) -> bool:
    """Whether an attempt says whether the model can: whole, and judged."""
    return not attempt.get("cut_by_budget") and attempt.get("reason") != "verifier_error"


def _same(one: str, other: str) -> bool:
    return one.split() == other.split()
