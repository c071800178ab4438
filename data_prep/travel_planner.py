"""TravelPlanner (arXiv 2402.01622): a plan for a trip, from reference information in the prompt.

Columns as on the hub (`osunlp/TravelPlanner`, where nested ones are Python literals in text), or
the same nested in jsonl; the reference information may be called `origin_ref_info`.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from typing import Any

from data_prep.family import Drop, Family, Hub, Record, Request, Row, make_row

SOURCE = "osunlp/TravelPlanner"
INSTRUCTION = """\
You plan trips. Use nothing but the information given with the query, and give every detail in it:
flight numbers, names of restaurants, attractions and accommodations with their city. Keep to
common sense and to what the query asks for.

Answer with a JSON list of one object a day, with the keys days (its number), current_city ("from A
to B" on a day of travel), transportation, breakfast, attraction (separated by ";"), lunch, dinner
and accommodation. Write "-" for what is not needed, such as a bed after the return."""
_PLAN_KEYS = (
    "days", "current_city", "transportation", "breakfast", "attraction", "lunch", "dinner",
    "accommodation",
)  # fmt: skip


def build(request: Request) -> Iterator[Row]:
    """Rows of the queries; the annotated plan, where there is one, is the gold solution."""
    return request.convert(_row)


def _row(record: Record, request: Request) -> Row:
    query, split = record.text("query"), record.split or "train"
    reference = _literal(record, "reference_information", "origin_ref_info")
    if not isinstance(reference, list):
        raise Drop("the reference information is no list")
    truth = _truth(record, reference)
    return make_row(
        data_source="travelplanner",
        prompt=[
            {"role": "system", "content": INSTRUCTION},
            {"role": "user", "content": f"{_printed(reference)}\n\nQuery: {query}"},
        ],
        ability="planning",
        verifier="travel_planner",
        ground_truth=truth,
        split=split,
        index=record.number,
        family=f"{truth['days']} days",
        level=record.text("level", default=""),
        privileged={"gold_solution": _plan(record, truth["days"])},
        query=query,
    )


def _truth(record: Record, reference: list[Any]) -> dict[str, Any]:
    """What the verifier wants to know of a query. Of the reference information the flights: all
    else is in the published tables."""
    truth: dict[str, Any] = {}
    for name in ("org", "dest", "days", "people_number", "budget"):
        if record.fields.get(name) is None:
            raise Drop(f"column `{name}` is missing")
        truth[name] = record.fields[name]
    for name in ("days", "people_number", "budget"):
        try:
            truth[name] = int(truth[name])
        except (TypeError, ValueError):
            raise Drop(f"column `{name}` is no number", str(truth[name])) from None
    truth["date"] = _literal(record, "date")
    truth["local_constraint"] = _literal(record, "local_constraint")
    if record.fields.get("visiting_city_number") is not None:
        truth["visiting_city_number"] = int(record.fields["visiting_city_number"])
    truth["reference_information"] = [
        entry for entry in reference if _described(entry).startswith("Flight ")
    ]
    return truth


def _plan(record: Record, days: int) -> str | None:
    """The annotated plan as the JSON that is asked for; its last days are empty objects."""
    plan = _literal(record, "annotated_plan")
    # Published with the query before it: [query, [day, day, ...]].
    found = plan[1] if isinstance(plan, list) and len(plan) == 2 else plan
    if not isinstance(found, list):
        return None
    filled = [day for day in found if isinstance(day, dict) and day]
    if len(filled) != days:
        raise Drop("the annotated plan has not as many days as the query", str(len(filled)))
    plain = [{key: day.get(key, "-") for key in _PLAN_KEYS} for day in filled]
    return json.dumps(plain, ensure_ascii=False)


def _printed(reference: list[Any]) -> str:
    return "\n\n".join(f"{_described(entry)}\n{entry.get('Content', '')}" for entry in reference)


def _described(entry: Any) -> str:
    if not isinstance(entry, dict) or not isinstance(entry.get("Description"), str):
        raise Drop("the reference information has an entry without a description")
    return entry["Description"]


def _literal(record: Record, *names: str) -> Any:
    """A nested column, given as it is or as a Python literal in text; None where it is missing."""
    value = next((record.fields[n] for n in names if record.fields.get(n) is not None), None)
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise Drop(f"column `{names[0]}` cannot be read") from None


TRAVEL_PLANNER = Family(
    name="travel_planner",
    description="trips planned from given reference information",
    verifier="travel_planner",
    build=build,
    hub=Hub(SOURCE, configs=("train",)),
    licence="MIT",
    size="45 train, 180 validation, 1,000 test",
    kinds=("gold_solution",),
)
