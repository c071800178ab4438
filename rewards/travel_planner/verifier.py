"""The verifier `travel_planner`: does this plan meet the constraints of its query?

TravelPlanner (arXiv 2402.01622): eight commonsense constraints and up to five hard ones. `score`
is the share that is met, times the share of days that are complete: what is not planned violates
nothing, and an empty plan would score most of them. `passed` says that all are met.
"""

from __future__ import annotations

import time
from typing import Any

from rewards.travel_planner.commonsense import (
    BEFORE_HARD,
    COMMONSENSE,
    Flights,
    Plan,
    complete_days,
)
from rewards.travel_planner.database import open_database, published_flights
from rewards.travel_planner.hard import hard_constraints
from rewards.travel_planner.plan import PlanError, leg_of, read_plan
from rewards.travel_planner.query import Query, read_query
from rewards.verdict import Verdict

_FEEDBACK_CHARS = 2000


class TravelPlannerVerifier:
    """Judges plans.

    Options of a call: data (folder with the tables; default VERL_PI_TRAVEL_PLANNER), max_chars
    (100,000).
    """

    OPTIONS = frozenset({"data", "max_chars"})
    ISOLATION = "process"
    SECONDS = 20.0

    def __call__(self, response: str, ground_truth: str, **extra: Any) -> Verdict:
        """Raises DataMissingError without the tables."""
        start = time.perf_counter()
        try:
            query = read_query(ground_truth)
        except (ValueError, SyntaxError, TypeError, RecursionError) as err:
            return Verdict.failed("verifier_error", f"the ground truth cannot be read: {err}")
        max_chars = int(extra.get("max_chars", 100_000))
        if len(response) > max_chars:
            return Verdict.failed("malformed", f"more than {max_chars:,} characters")
        try:
            plan = read_plan(response)
        except PlanError as err:
            return Verdict.failed(err.reason, str(err))
        return _judge(query, plan, extra.get("data"), start)


def _judge(query: Query, plan: Plan, folder: str | None, start: float) -> Verdict:
    database = open_database(folder)
    flies = any(leg.kind == "flight" for leg in map(leg_of, plan) if leg is not None)
    flights = _flights(query, folder) if flies else {}
    if flies and not flights:
        return Verdict.failed(
            "verifier_error",
            "the plan has flights and the query no reference_information to look them up in",
        )
    violated = {
        name: text
        for name, judge in COMMONSENSE.items()
        if (text := judge(query, plan, database, flights))
    }
    hard = hard_constraints(query)
    for name, judge in hard.items():
        if any(needed in violated for needed in BEFORE_HARD):
            violated[name] = "not judged: the plan is incomplete or names what does not exist"
        elif text := judge(query, plan, database, flights):
            violated[name] = text
    total = len(COMMONSENSE) + len(hard)
    score = (total - len(violated)) / total * complete_days(query, plan)
    return _verdict(violated, score, time.perf_counter() - start)


def _flights(query: Query, folder: str | None) -> Flights:
    return query.flights if query.flights is not None else published_flights(folder)


def _verdict(violated: dict[str, str], score: float, seconds: float) -> Verdict:
    if not violated:
        return Verdict.ok(seconds)
    feedback = "\n".join(f"{name}: {text}" for name, text in violated.items())
    return Verdict.failed("wrong_answer", feedback[:_FEEDBACK_CHARS], seconds, score)
