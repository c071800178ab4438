"""`travel_planner`: which texts are plans and queries, and what is said of the others."""

from __future__ import annotations

import json
import time

import pytest
from tiny_trips import (
    HOME,
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
