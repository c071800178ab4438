"""A query as the benchmark gives it: where to, how long, how many, and what is asked for."""

from __future__ import annotations

import ast
import json
import math
from dataclasses import dataclass
from typing import Any

from rewards.travel_planner.database import Flight, flights_of

# Trips of 3, 5 and 7 days visit so many cities; newer rows say it themselves.
_CITIES = {3: 1, 5: 2, 7: 3}
_NEEDED = ("org", "dest", "days", "people_number", "budget")
HOUSE_RULES = ("smoking", "parties", "children under 10", "visitors", "pets")
#: What a room type asked for means for the table's column "room type".
ROOM_TYPES = {
    "shared room": frozenset(("Shared room",)),
    "not shared room": frozenset(("Private room", "Entire home/apt", "Hotel room")),
    "private room": frozenset(("Private room",)),
    "entire room": frozenset(("Entire home/apt",)),
}
TRANSPORTATION = {"no flight": "flight", "no self-driving": "self-driving"}


@dataclass(frozen=True)
class Query:
    """org, dest: the city left, and the city (3 days) or state (longer) to be visited; cities: how
    many to visit; budget in dollars for all people; the rest is what is asked for, None or () if
    nothing is. flights: by number, None if the query brings no reference information."""

    org: str
    dest: str
    days: int
    cities: int
    people: int
    budget: float
    house_rule: str | None
    room_type: str | None
    cuisines: tuple[str, ...]
    transportation: str | None
    flights: dict[str, list[Flight]] | None


def read_query(ground_truth: str) -> Query:
    """A query from its row as JSON. Raises ValueError that says what is wrong."""
    row = json.loads(ground_truth)
    if not isinstance(row, dict):
        raise ValueError("expected a JSON object with the columns of a query")
    lacking = [name for name in _NEEDED if name not in row]
    if lacking:
        raise ValueError(f"the query has no {', '.join(lacking)}")
    wanted = _literal(row.get("local_constraint")) or {}
    if not isinstance(wanted, dict):
        raise ValueError("local_constraint is no object")
    days = _count(row["days"], "days")
    return Query(
        org=_name(row, "org"),
        dest=_name(row, "dest"),
        days=days,
        cities=_count(row.get("visiting_city_number") or _CITIES.get(days), "visiting_city_number"),
        people=_count(row["people_number"], "people_number"),
        budget=_budget(row["budget"]),
        house_rule=_one_of(wanted, "house rule", HOUSE_RULES),
        room_type=_one_of(wanted, "room type", tuple(ROOM_TYPES)),
        cuisines=_cuisines(wanted.get("cuisine") or []),
        transportation=_one_of(wanted, "transportation", tuple(TRANSPORTATION)),
        flights=_flights(row),
    )


def _name(row: dict[str, Any], name: str) -> str:
    if not isinstance(row[name], str) or not row[name].strip():
        raise ValueError(f"{name} is no name of a place")
    return row[name]


def _count(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float | str) or int(value) < 1:
        raise ValueError(f"{name}={value!r} is to be a whole number of 1 or more")
    return int(value)


def _budget(value: Any) -> float:
    dollars = float(value)
    if not 0 < dollars < math.inf:
        raise ValueError(f"budget={value!r} is to be a number of dollars")
    return dollars


def _cuisines(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"cuisine={value!r} is to be a list of names")
    return tuple(value)


def _one_of(wanted: dict[str, Any], name: str, known: tuple[str, ...]) -> str | None:
    value = wanted.get(name)
    if value is not None and (not isinstance(value, str) or value not in known):
        raise ValueError(f"{name} {value!r} is unknown; known: {', '.join(known)}")
    return value


def _literal(value: Any) -> Any:
    """The data set's columns are written as Python in text."""
    return ast.literal_eval(value) if isinstance(value, str) else value


def _flights(row: dict[str, Any]) -> dict[str, list[Flight]] | None:
    reference = row.get("reference_information")
    return None if reference is None else flights_of(_literal(reference))
