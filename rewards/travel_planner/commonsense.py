"""The eight commonsense constraints. Each function returns what is violated, or "".

They follow the benchmark's evaluation/commonsense_constraint.py, but for the places that
docs/verifiers/tools.md lists, where a plan could meet its letter with invented entries.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby

from rewards.travel_planner.database import Database, Flight
from rewards.travel_planner.plan import FIELDS, Day, Leg, leg_of, place_of
from rewards.travel_planner.query import Query

Plan = list[Day]
Flights = dict[str, list[Flight]]


def within_sandbox(query: Query, plan: Plan, database: Database, flights: Flights) -> str:
    for number, day in enumerate(plan, 1):
        leg = leg_of(day)
        if leg is not None and not leg_exists(leg, database, flights):
            return f"day {number}: there is no {day.text('transportation')!r}"
        for meal, text in day.meals.items():
            if place_of(text) not in database.restaurants:
                return f"day {number}: there is no restaurant {text!r} ({meal})"
        for text in day.attractions:
            if place_of(text) not in database.attractions:
                return f"day {number}: there is no attraction {text!r}"
        room = day.text("accommodation")
        if room and place_of(room) not in database.rooms:
            return f"day {number}: there is no accommodation {room!r}"
    return ""


def leg_exists(leg: Leg, database: Database, flights: Flights) -> bool:
    if leg.kind == "flight":
        return flight_of(leg, flights) is not None
    return bool(leg.kind) and (leg.origin, leg.destination) in database.kilometres


def flight_of(leg: Leg, flights: Flights) -> Flight | None:
    """The flight with this number between these cities."""
    between = (leg.origin, leg.destination)
    known = flights.get(leg.number, [])
    return next((f for f in known if (f.origin, f.destination) == between), None)


def complete_information(query: Query, plan: Plan, database: Database, flights: Flights) -> str:
    if len(plan) != query.days or not all(day.city for day in plan):
        return f"the plan should have {query.days} days with a current city each"
    visited = {city for day in plan for city in day.cities} - {query.org}
    if len(visited) != query.cities:
        return f"{query.cities} cities should be visited, not {len(visited)}"
    for number, day in enumerate(plan, 1):
        lacking = _lacking(day, last=number == query.days)
        if lacking:
            return f"day {number}: no {lacking}"
    filled = sum(bool(day.text(field)) for day in plan for field in FIELDS)
    # The benchmark counts the day's number and city as well and wants half of the six fields.
    return "" if filled >= query.days else "more than half of the information is absent"


def complete_days(query: Query, plan: Plan) -> float:
    """The share of days, of those asked for or those planned, that lack nothing."""
    done = [
        bool(day.city) and not _lacking(day, last=number == query.days)
        for number, day in enumerate(plan, 1)
    ]
    return sum(done[: query.days]) / max(query.days, len(plan))


def _lacking(day: Day, last: bool) -> str:
    absent = [field for field in FIELDS if day.fields[field] is None]
    needed = ["transportation"] if day.travels else ["attraction", "breakfast", "lunch", "dinner"]
    needed += [] if last else ["accommodation"]
    return ", ".join(dict.fromkeys(absent + [field for field in needed if not day.text(field)]))


def within_current_city(query: Query, plan: Plan, database: Database, flights: Flights) -> str:
    for number, day in enumerate(plan, 1):
        leg = leg_of(day)
        if leg is not None and (leg.origin, leg.destination) != day.cities:
            return f"day {number}: the transportation is not between the day's cities"
        for text in (*day.meals.values(), *day.attractions):
            if place_of(text)[1] not in day.cities:
                return f"day {number}: {text!r} is not in {' or '.join(day.cities)}"
        room = day.text("accommodation")
        if room and place_of(room)[1] != day.cities[-1]:
            return f"day {number}: the accommodation is not in {day.cities[-1]}"
    return ""


def reasonable_city_route(query: Query, plan: Plan, database: Database, flights: Flights) -> str:
    cities = [city for day in plan for city in day.cities]
    runs = [(city, len(list(run))) for city, run in groupby(cities)]
    if cities[0] != query.org or cities[-1] != query.org:
        return f"the trip should begin and end in {query.org}"
    between = [city for city, _ in runs[1:-1]]
    if len(runs) < 3 or runs[-1][1] > 1 or len({query.org, *between}) != len(between) + 1:
        return "a city is left and visited again"
    if any(length == 1 for _, length in runs[1:-1]):
        return "a city is passed through without a stay, or left from elsewhere"
    for city in between:
        area = city if query.days <= 3 else database.states.get(city)
        if city not in database.states or area != query.dest:
            return f"{city} is not in {query.dest}"
    return "" if query.org in database.states else f"{query.org} is not a known city"


def diverse_restaurants(query: Query, plan: Plan, database: Database, flights: Flights) -> str:
    return _repeated([text for day in plan for text in day.meals.values()], "restaurant")


def diverse_attractions(query: Query, plan: Plan, database: Database, flights: Flights) -> str:
    return _repeated([text for day in plan for text in day.attractions], "attraction")


def _repeated(texts: list[str], what: str) -> str:
    seen: set[tuple[str, str]] = set()
    for text in texts:
        place = place_of(text)
        if place in seen:
            return f"the {what} {text!r} is repeated"
        seen.add(place)
    return ""


def non_conflicting_transportation(
    query: Query, plan: Plan, database: Database, flights: Flights
) -> str:
    if not plan[0].text("transportation"):
        return "there is no transportation on day 1"
    kinds = {leg.kind for leg in map(leg_of, plan) if leg is not None}
    if "self-driving" in kinds and kinds & {"flight", "taxi"}:
        return "who drives a car can neither fly nor take a taxi"
    return ""


def minimum_nights(query: Query, plan: Plan, database: Database, flights: Flights) -> str:
    if any(day.fields["accommodation"] is None for day in plan):
        return "a day has no accommodation, not even '-'"
    for text, run in groupby(day.text("accommodation") for day in plan):
        room = database.rooms.get(place_of(text)) if text else None
        if room is not None and len(list(run)) < room.nights:
            return f"{text!r} is let for {room.nights:g} nights or more"
    return ""


Constraint = Callable[[Query, Plan, Database, Flights], str]
COMMONSENSE: dict[str, Constraint] = {
    "within sandbox": within_sandbox,
    "complete information": complete_information,
    "within current city": within_current_city,
    "reasonable city route": reasonable_city_route,
    "diverse restaurants": diverse_restaurants,
    "diverse attractions": diverse_attractions,
    "non-conflicting transportation": non_conflicting_transportation,
    "minimum nights": minimum_nights,
}
#: The benchmark judges the hard constraints only where these are met.
BEFORE_HARD = ("within sandbox", "complete information")
