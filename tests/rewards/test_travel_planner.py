"""`travel_planner` on a database of our own: the constraints and the score."""

from __future__ import annotations

import json

import pytest
from tiny_trips import (
    FLIGHTS,
    GOOD_COST,
    HOME,
    PRINTED_FLIGHTS,
    driven,
    plan,
    query,
    write_trips,
)

import rewards


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_trips(tmp_path_factory.mktemp("trips") / "").resolve())


@pytest.fixture
def judge(folder):
    def run(response, ground_truth: str, **extra):
        text = response if isinstance(response, str) else json.dumps(response)
        return rewards.verify("travel_planner", text, ground_truth, data=folder, **extra)

    return run


# A change of the good plan, the constraint that it violates, a word of the feedback.
VIOLATIONS = [
    ([(2, "lunch", "Le Bistro, Bridgeton")], "diverse restaurants", "repeated"),
    ([(3, "attraction", "Museum, Bridgeton")], "diverse attractions", "repeated"),
    ([(2, "lunch", "Harbour, Cold Bay")], "within current city", "Harbour"),
    ([(2, "attraction", "Lighthouse, Cold Bay")], "within current city", "Lighthouse"),
    ([(1, "accommodation", "Pier House, Cold Bay")], "within current city", "day 1"),
    ([(2, "transportation", f"Taxi, from {HOME} to Bridgeton")], "within current city", "day 2"),
    ([(1, "accommodation", "Bunk, Bridgeton")], "minimum nights", "2 nights"),
    (
        [(3, "transportation", f"Self-driving, from Bridgeton to {HOME}")],
        "non-conflicting transportation",
        "car",
    ),
    ([(1, "current_city", f"from Cold Bay({HOME}) to Bridgeton")], "reasonable city route", HOME),
]


@pytest.mark.parametrize(("edits", "constraint", "word"), VIOLATIONS, ids=lambda v: str(v)[:30])
def test_each_commonsense_constraint_is_judged(judge, edits, constraint, word):
    verdict = judge(plan(*edits), query())
    assert (verdict.passed, verdict.reason) == (False, "wrong_answer")
    line = next(li for li in verdict.feedback.splitlines() if li.startswith(f"{constraint}: "))
    assert word in line
    assert 0 < verdict.score < 1


@pytest.mark.parametrize("text", ["-", ""])
def test_an_empty_plan_scores_nothing(judge, text):
    """What is not planned violates nothing: it met 5 of the 9."""
    fields = ("transportation", "breakfast", "attraction", "lunch", "dinner", "accommodation")
    days = [{"days": n, "current_city": "Bridgeton", **dict.fromkeys(fields, text)} for n in (1, 2)]
    assert judge(days, query()).score == 0
    assert judge(days[:1], query()).score == 0
    assert judge(plan()[:1] + days, query()).score < 0.25


def test_a_day_that_lacks_something_costs_its_share(judge):
    assert judge(plan((2, "lunch", "-")), query()).score == pytest.approx(7 / 9 * 2 / 3)
    assert judge([*plan(), plan()[2]], query()).score < judge(plan(), query()).score * 0.75


def test_the_score_is_the_share_of_constraints_that_are_met(judge):
    assert judge(plan((2, "lunch", "Le Bistro, Bridgeton")), query()).score == 8 / 9
    wants = {"cuisine": ["Italian"], "transportation": "no flight"}
    assert judge(plan(), query(wants=wants)).score == 10 / 11


@pytest.mark.parametrize(
    "edit",
    [
        (2, "lunch", "Nowhere, Bridgeton"),
        (2, "lunch", "Non, Bridgeton"),  # part of a name
        (2, "lunch", "Nonna"),
        (2, "lunch", "Unpriced, Bridgeton"),  # a row with a missing value
        (2, "attraction", "Statue, Bridgeton;"),
        (1, "accommodation", "Castle, Bridgeton"),
        (1, "transportation", f"Flight Number: F9999999, from {HOME} to Bridgeton"),
        (1, "transportation", f"Flight Number: F0000002, from {HOME} to Bridgeton"),
        (1, "transportation", f"Flight, from {HOME} to Bridgeton"),
        (1, "transportation", f"Train, from {HOME} to Bridgeton"),
        (2, "transportation", "Taxi; Cost: 50"),
    ],
)
def test_what_does_not_exist_is_found_and_the_hard_constraints_wait(judge, edit):
    verdict = judge(plan(edit), query(wants={"cuisine": ["Italian"]}))
    assert "within sandbox: day" in verdict.feedback
    assert "budget: not judged" in verdict.feedback and "cuisine: not judged" in verdict.feedback


@pytest.mark.parametrize(
    ("edit", "word"),
    [
        ((2, "attraction", "-"), "day 2: no attraction"),
        ((2, "dinner", ""), "day 2: no dinner"),
        ((1, "transportation", "-"), "day 1: no transportation"),
        ((2, "accommodation", "-"), "day 2: no accommodation"),
        ((3, "lunch", None), "day 3: no lunch"),
        ((2, "current_city", ""), "3 days"),
        ((2, "current_city", "Cold Bay"), "1 cities should be visited, not 2"),
    ],
)
def test_information_that_is_absent_is_named(judge, edit, word):
    lines = judge(plan(edit), query()).feedback.splitlines()
    assert word in next(line for line in lines if line.startswith("complete information"))


@pytest.mark.parametrize("days", [plan()[:2], [*plan(), plan()[1]], plan()[1:2]])
def test_a_trip_of_another_length_fails(judge, days):
    verdict = judge(days, query())
    assert "complete information: the plan should have 3 days" in verdict.feedback


@pytest.mark.parametrize(
    ("cities", "word"),
    [
        (["Bridgeton", "Bridgeton", "Bridgeton"], "begin and end"),
        ([f"from {HOME} to Cold Bay", "Cold Bay", f"from Cold Bay to {HOME}"], "not in Bridgeton"),
        ([f"from {HOME} to Bridgeton", "Cold Bay", f"from Cold Bay to {HOME}"], "passed through"),
        ([HOME, HOME, HOME], "visited again"),
    ],
)
def test_the_route_is_judged(judge, cities, word):
    edits = [(day, "current_city", city) for day, city in enumerate(cities, 1)]
    lines = judge(plan(*edits), query()).feedback.splitlines()
    assert word in next(line for line in lines if line.startswith("reasonable city route"))


def test_the_budget_counts_everything_for_everybody(judge):
    assert judge(plan(), query(budget=GOOD_COST)).passed
    verdict = judge(plan(), query(budget=GOOD_COST - 1))
    assert verdict.feedback == f"budget: the trip costs {GOOD_COST} of {GOOD_COST - 1}"


@pytest.mark.parametrize(("kind", "fare"), [("Self-driving", 60 * 2 * 2), ("Taxi", 1200 * 2 * 2)])
def test_cars_hold_five_and_taxis_four(judge, kind, fare):
    """For six people two of either each way, at 60 and 1,200 dollars; 3 rooms for two."""
    cost = fare + 92 * 6 + 3 * 100 * 2
    assert judge(driven(kind), query(people_number=6, budget=cost)).passed
    assert not judge(driven(kind), query(people_number=6, budget=cost - 1)).passed


@pytest.mark.parametrize(
    ("wants", "passed"),
    [
        ({"house rule": "parties"}, True),
        ({"house rule": "smoking"}, False),
        ({"house rule": "pets"}, False),
        ({"room type": "entire room"}, True),
        ({"room type": "not shared room"}, True),
        ({"room type": "private room"}, False),
        ({"room type": "shared room"}, False),
        ({"cuisine": ["Italian", "French", "Chinese", "American"]}, True),
        ({"cuisine": ["Italian", "Seafood"]}, False),
        ({"transportation": "no self-driving"}, True),
        ({"transportation": "no flight"}, False),
    ],
    ids=str,
)
def test_what_the_query_asks_for_is_judged(judge, wants, passed):
    verdict = judge(plan(), query(wants=wants))
    assert verdict.passed == passed
    assert passed or len(verdict.feedback.splitlines()) == 1


def test_meals_at_home_serve_no_cuisine(judge):
    edits = ((2, "dinner", "Corner, Bridgeton"), (3, "breakfast", f"Home Diner, {HOME}"))
    assert "French" in judge(plan(*edits), query(wants={"cuisine": ["French"]})).feedback


def test_journeys_of_a_day_cannot_be_driven(judge):
    drive = "Self-driving, from Bridgeton to Cold Bay"
    edits = ((3, "transportation", drive), (3, "current_city", "from Bridgeton to Cold Bay"))
    assert "there is no 'Self-driving" in judge(plan(*edits), query()).feedback


def test_flights_come_from_the_query_or_from_the_folder(judge, folder, tmp_path):
    assert judge(plan(), query(reference_information=PRINTED_FLIGHTS)).passed
    assert judge(plan(), query(reference_information=str(PRINTED_FLIGHTS))).passed
    without = json.loads(query())
    del without["reference_information"]
    assert judge(plan(), json.dumps(without)).reason == "verifier_error"
    assert judge(driven("Self-driving"), json.dumps(without)).passed
    own = write_trips(tmp_path)
    (own / "train_ref_info.jsonl").write_text(json.dumps(FLIGHTS) + "\n")
    truth = json.dumps(without)
    assert rewards.verify("travel_planner", json.dumps(plan()), truth, data=str(own)).passed
