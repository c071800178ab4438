"""`travel_planner` on a database of our own, and on the benchmark's training plans."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from tiny_trips import (
    FLIGHTS,
    GOOD_COST,
    HOME,
    PRINTED_FLIGHTS,
    as_text,
    driven,
    plan,
    query,
    write_trips,
)

import rewards
from rewards.data_folder import DataMissingError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_trips(tmp_path_factory.mktemp("trips") / "").resolve())


@pytest.fixture
def judge(folder):
    def run(response, ground_truth: str, **extra):
        text = response if isinstance(response, str) else json.dumps(response)
        return rewards.verify("travel_planner", text, ground_truth, data=folder, **extra)

    return run


def test_a_good_plan_passes_in_every_form(judge):
    for response in (
        json.dumps(plan()),
        json.dumps([*plan(), {}, {}]),
        json.dumps({"plan": plan()}),
        f"Let me see.\n```json\n{json.dumps(plan(), indent=1)}\n```",
        f"Here is my plan [with prices]: {json.dumps(plan())} I hope that it helps!",
        f'{{"days": 3}} and then\n{json.dumps({"plan": plan()})}\n[1] see above',
        f"<think>Day 1:\nDinner: Nowhere</think>\n{json.dumps(plan())}",
        repr(plan()),
        as_text(plan()),
        "Travel Plan:\n" + as_text(plan()).replace(";\n", ".\n"),
        as_text(plan()).replace("Day 2:", "**Day 2:**").replace("Lunch:", "- **Lunch**:"),
    ):
        verdict = judge(response, query())
        assert verdict.passed and verdict.score == 1.0, (response, verdict)


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


@pytest.mark.parametrize("kind", ["Self-driving", "self driving", "SELF-DRIVING", "Taxi", "taxi"])
def test_transportation_in_any_case(judge, kind):
    assert judge(driven(kind), query(budget=9000)).passed


def test_a_flight_by_its_number(judge):
    there, back = f"from {HOME} to Bridgeton", f"from Bridgeton to {HOME}"
    by_number = plan(
        (1, "transportation", f"flight F0000001, {there}"),
        (3, "transportation", f"FLIGHT NUMBER: f0000002, {back}"),
    )
    assert judge(by_number, query()).passed
    wants = {"transportation": "no flight"}
    assert "no flight" in judge(by_number, query(wants=wants)).feedback


@pytest.mark.parametrize(
    "words", ["Taxi or Self-driving", "Flight Number: F0000001, then Taxi", "a self-made raft"]
)
def test_transportation_of_several_kinds_or_none_does_not_exist(judge, words):
    edit = (1, "transportation", f"{words}, from {HOME} to Bridgeton")
    verdict = judge(plan(edit), query(wants={"transportation": "no flight"}))
    assert "within sandbox: day 1: there is no" in verdict.feedback


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


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ("", "no_answer"),
        ("<think>Day 1:", "no_answer"),
        ("I cannot plan this.", "no_answer"),
        ("[]", "no_answer"),
        ("[{}, {}]", "no_answer"),
        ("[1]", "malformed"),
        ("[{", "malformed"),
        ("[" * 90_000, "malformed"),
        ("[__import__('os').system('true')]", "malformed"),
        ('[{"days": 1, "dinner": ["a"]}]', "malformed"),
        (json.dumps(plan((2, "lunch", "x" * 2001))), "malformed"),
        (json.dumps(plan() * 20), "malformed"),
        ("x" * 100_001, "malformed"),
    ],
    ids=range(13),
)
def test_what_is_no_plan_is_said_to_be_none(judge, response, reason):
    assert judge(response, query()).reason == reason


SPACED = json.dumps(plan((1, "transportation", "from a " * 140 + " " * 900)))


@pytest.mark.parametrize(
    "text",
    [
        " from" * 19_000,
        "Day 1:\n" * 14_000,
        "- " * 50_000,
        "```" * 30_000,
        "```" + "\n" * 90_000 + "x",
        "a" + "\n" * 90_000 + "Day 1:" + "\n" * 9_000 + "x",
        SPACED,
        "[{" * 45_000,
        '[{"a":' * 16_000,
        "x" + '[{"a":' * 16_000,
    ],
    ids=range(10),
)
def test_hostile_texts_take_little_time(judge, text):
    start = time.process_time()
    assert not judge(text, query()).passed
    assert time.process_time() - start < 1


@pytest.mark.parametrize(
    "ground_truth",
    [
        "no json",
        "[]",
        '{"org": "Ashford"}',
        query(wants={"house rule": "drums"}),
        query(days="three"),
        query(local_constraint="__import__('os')"),
        query(reference_information="{"),
        query(reference_information=3),
        query(days=0),
        query(days=4),
        query(people_number=-1),
        query(people_number=True),
        query(budget=float("nan")),
        query(budget=None),
        query(org=""),
        query(local_constraint=["no flight"]),
        query(wants={"cuisine": "French"}),
        query(wants={"room type": ["shared room"]}),
        query(reference_information={f"Flight from {HOME} to Bridgeton on 2022-03-01": [{}]}),
        query(reference_information={f"Flight from {HOME} to Bridgeton on 2022-03-01": [3]}),
        query(local_constraint="(" * 1000),
    ],
    ids=range(21),
)
def test_a_query_that_cannot_be_read_drops_the_row(judge, ground_truth):
    assert judge(plan(), ground_truth).reason == "verifier_error"


def test_a_missing_folder_is_an_error(judge, tmp_path, monkeypatch):
    monkeypatch.delenv("VERL_PI_TRAVEL_PLANNER", raising=False)
    with pytest.raises(DataMissingError, match="VERL_PI_TRAVEL_PLANNER"):
        rewards.verify("travel_planner", json.dumps(plan()), query())
    with pytest.raises(DataMissingError, match=r"clean_restaurant_2022\.csv"):
        rewards.verify("travel_planner", json.dumps(plan()), query(), data=str(tmp_path))


# Place in train_queries_45.jsonl. Its plan spends days 4 and 5 in San Antonio, with attractions in
# San Angelo and in Houston. The benchmark's own evaluation compares the letters of the city's name
# on days without travel, and so lets it pass.
FAULTY_PLAN = 41


@pytest.fixture(scope="module")
def published() -> tuple[str, list[tuple[dict, str]]]:
    """The folder, and of each training query its plan and ground truth."""
    folder = Path(os.environ["VERL_PI_DATA"]) / "travelplanner"
    rows = _lines(folder / "train_queries_45.jsonl")
    references = _lines(folder / "train_ref_info.jsonl")
    assert len(rows) == len(references) == 45
    columns = ("org", "dest", "days", "people_number", "budget", "local_constraint")
    cases = []
    for row, reference in zip(rows, references, strict=True):
        truth = {name: row[name] for name in columns} | {"reference_information": reference}
        cases.append((row, json.dumps(truth)))
    return str(folder / "database"), cases


def _lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.conformance
def test_published_plans_pass(published):
    folder, cases = published
    failed = {}
    for place, (row, truth) in enumerate(cases):
        gold = row["annotated_plan"][1]
        days = [day for day in gold if day]
        for response in (json.dumps(gold), repr(gold), as_text(days)):
            verdict = rewards.verify("travel_planner", response, truth, data=folder)
            if not verdict.passed:
                failed.setdefault(place, set()).add(verdict.feedback)
    assert list(failed) == [FAULTY_PLAN]
    (feedback,) = failed[FAULTY_PLAN]
    assert feedback.startswith("within current city: day 4: 'San Angelo Museum of Fine Arts")


@pytest.mark.conformance
def test_published_plans_do_not_pass_for_half_the_money_or_another_query(published):
    folder, cases = published
    for place, (row, truth) in enumerate(cases):
        response = json.dumps(row["annotated_plan"][1])
        poor = json.dumps({**json.loads(truth), "budget": 50})
        verdict = rewards.verify("travel_planner", response, poor, data=folder)
        assert "budget: the trip costs" in verdict.feedback
        other = cases[(place + 1) % len(cases)][1]
        assert not rewards.verify("travel_planner", response, other, data=folder).passed


@pytest.mark.conformance
def test_flights_as_printed_are_the_same(published):
    folder, cases = published
    for place, (row, truth) in enumerate(cases):
        printed = json.dumps({**json.loads(truth), "reference_information": row["origin_ref_info"]})
        response = json.dumps(row["annotated_plan"][1])
        verdict = rewards.verify("travel_planner", response, printed, data=folder)
        assert verdict.passed == (place != FAULTY_PLAN)
