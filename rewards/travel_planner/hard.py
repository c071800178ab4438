"""The five hard constraints: budget, and what the query asks for. Each returns what is violated.

They follow the benchmark's evaluation/hard_constraint.py, and are judged only for plans whose
entries all exist.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from rewards.travel_planner.commonsense import Constraint, Flights, Plan, flight_of
from rewards.travel_planner.database import Database, Restaurant, Room
from rewards.travel_planner.plan import Leg, leg_of, place_of
from rewards.travel_planner.query import ROOM_TYPES, TRANSPORTATION, Query

# Dollars per kilometre, and how many people fit into a car.
_PER_KM = {"self-driving": 0.05, "taxi": 1.0}
_SEATS = {"self-driving": 5, "taxi": 4}


def total_cost(query: Query, plan: Plan, database: Database, flights: Flights) -> float:
    """Dollars for all people: transport, meals, and rooms for every night."""
    legs = [leg for leg in map(leg_of, plan) if leg is not None]
    transport = sum(_fare(leg, query.people, database, flights) for leg in legs)
    meals = sum(place.cost for place, _ in _restaurants(plan, database)) * query.people
    rooms = sum(r.price * math.ceil(query.people / r.occupancy) for r in _rooms(plan, database))
    return transport + meals + rooms


def _fare(leg: Leg, people: int, database: Database, flights: Flights) -> float:
    if leg.kind == "flight":
        flight = flight_of(leg, flights)
        return flight.price * people if flight else 0.0
    kilometres = database.kilometres.get((leg.origin, leg.destination), 0.0)
    return int(kilometres * _PER_KM[leg.kind]) * math.ceil(people / _SEATS[leg.kind])


def _restaurants(plan: Plan, database: Database) -> Iterator[tuple[Restaurant, str]]:
    """Every planned restaurant, with its city."""
    for day in plan:
        for text in day.meals.values():
            place = place_of(text)
            if place in database.restaurants:
                yield database.restaurants[place], place[1]


def _rooms(plan: Plan, database: Database) -> Iterator[Room]:
    """The room of every night."""
    places = (place_of(day.text("accommodation")) for day in plan)
    return (database.rooms[place] for place in places if place in database.rooms)


def budget(query: Query, plan: Plan, database: Database, flights: Flights) -> str:
    cost = total_cost(query, plan, database, flights)
    return "" if cost <= query.budget else f"the trip costs {cost:,.0f} of {query.budget:,.0f}"


def room_rule(query: Query, plan: Plan, database: Database, flights: Flights) -> str:
    banned = any(f"No {query.house_rule}" in room.rules for room in _rooms(plan, database))
    return f"{query.house_rule} should be allowed in every accommodation" if banned else ""


def room_type(query: Query, plan: Plan, database: Database, flights: Flights) -> str:
    kinds = ROOM_TYPES[query.room_type or ""]
    fits = all(room.kind in kinds for room in _rooms(plan, database))
    return "" if fits else f"every accommodation should be: {query.room_type}"


def cuisine(query: Query, plan: Plan, database: Database, flights: Flights) -> str:
    """Every cuisine asked for is had on the trip; meals in the home city do not count."""
    had: set[str] = set()
    for restaurant, city in _restaurants(plan, database):
        if city != query.org:
            had |= restaurant.cuisines
    lacking = [name for name in query.cuisines if name not in had]
    return f"no meal is {' or '.join(lacking)}" if lacking else ""


def transportation(query: Query, plan: Plan, database: Database, flights: Flights) -> str:
    unwanted = TRANSPORTATION[query.transportation or ""]
    used = any(leg.kind == unwanted for leg in map(leg_of, plan) if leg is not None)
    return f"the trip should have {query.transportation}" if used else ""


_ASKED: dict[str, tuple[Constraint, Callable[[Query], object]]] = {
    "budget": (budget, lambda query: True),
    "room rule": (room_rule, lambda query: query.house_rule),
    "room type": (room_type, lambda query: query.room_type),
    "cuisine": (cuisine, lambda query: query.cuisines),
    "transportation": (transportation, lambda query: query.transportation),
}


def hard_constraints(query: Query) -> dict[str, Constraint]:
    """Those that this query has: the budget always, the others where it asks for them."""
    return {name: judge for name, (judge, asked) in _ASKED.items() if asked(query)}
