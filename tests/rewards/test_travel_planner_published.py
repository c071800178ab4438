"""`travel_planner` on the benchmark's training plans."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tiny_trips import (
    as_text,
)

import rewards

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
