"""A travel database of our own in the form of TravelPlanner's tables, a query, and a good plan."""

from __future__ import annotations

import copy
import csv
import json
from pathlib import Path
from typing import Any

HOME = "Ashford"
RESTAURANTS = [
    ("Nonna", "Bridgeton", "Italian, Pizza", "20"),
    ("Taco Stand", "Bridgeton", "Mexican", "10"),
    ("Corner Grill, East", "Bridgeton", "American, BBQ", "15"),
    ("Corner", "Bridgeton", "American", "5"),
    ("Jade", "Bridgeton", "Chinese", "12"),
    ("Le Bistro", "Bridgeton", "French", "30"),
    ("Harbour", "Cold Bay", "Seafood", "25"),
    ("Home Diner", HOME, "French", "9"),
    ("Unpriced", "Bridgeton", "French", ""),
]
ROOMS = [
    ("Loft on Main", "Entire home/apt", "100", "2", "No smoking & No pets", "2", "Bridgeton"),
    ("Bunk", "Shared room", "20", "1", "No parties", "1", "Bridgeton"),
    ("Long Stay", "Private room", "50", "5", "No smoking", "4", "Bridgeton"),
    ("Pier House", "Private room", "60", "1", "No parties", "2", "Cold Bay"),
]
ATTRACTIONS = [("Old Bridge", "Bridgeton"), ("Museum", "Bridgeton"), ("Lighthouse", "Cold Bay")]
ROADS = [
    (HOME, "Bridgeton", "2 hours", "1,200 km"),
    ("Bridgeton", HOME, "2 hours", "1,200 km"),
    ("Bridgeton", "Cold Bay", "1 day 2 hours", "900 km"),
    ("Cold Bay", HOME, "", ""),
]
CITIES = [(HOME, "North"), ("Bridgeton", "South"), ("Cold Bay", "South")]
FLIGHTS = {
    f"Flight from {HOME} to Bridgeton on 2022-03-01": [
        {"Flight Number": "F0000001", "Price": 100, "OriginCityName": HOME}
    ],
    f"Flight from Bridgeton to {HOME} on 2022-03-03": [
        {"Flight Number": "F0000002", "Price": 150, "OriginCityName": "Bridgeton"}
    ],
    f"Taxi from {HOME} to Bridgeton": "No valid information.",
}
#: The same as the data set's column has it.
PRINTED_FLIGHTS = [
    {
        "Description": f"Flight from {HOME} to Bridgeton on 2022-03-01",
        "Content": "Flight Number  Price DepTime\n     F0000001    100   10:00",
    },
    {
        "Description": f"Flight from Bridgeton to {HOME} on 2022-03-03",
        "Content": "Flight Number  Price DepTime\n     F0000002    150   12:00",
    },
    {"Description": f"Taxi from {HOME} to Bridgeton", "Content": "no valid information"},
]


def write_trips(folder: Path) -> Path:
    _table(folder / "clean_restaurant_2022.csv", "Name,City,Cuisines,Average Cost", RESTAURANTS)
    columns = "NAME,room type,price,minimum nights,house_rules,maximum occupancy,city"
    _table(folder / "clean_accommodations_2022.csv", columns, ROOMS)
    _table(folder / "attractions.csv", "Name,City", ATTRACTIONS)
    _table(folder / "distance.csv", "origin,destination,duration,distance", ROADS)
    lines = "\n".join("\t".join(city) for city in CITIES)
    (folder / "citySet_with_states.txt").write_text(lines)
    return folder


def _table(path: Path, columns: str, rows: list[tuple[str, ...]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns.split(","), *rows])


def query(**changes: Any) -> str:
    """Three days for two people; `changes` replace columns, `wants` what is asked for."""
    wants = {"house rule": None, "cuisine": None, "room type": None, "transportation": None}
    row = {
        "org": HOME,
        "dest": "Bridgeton",
        "days": 3,
        "people_number": 2,
        "budget": 2000,
        "local_constraint": {**wants, **changes.pop("wants", {})},
        "reference_information": FLIGHTS,
    }
    return json.dumps({**row, **changes})


_LOFT = "Loft on Main, Bridgeton"
_GOOD: list[dict[str, Any]] = [
    {
        "days": 1,
        "current_city": f"from {HOME} to Bridgeton",
        "transportation": f"Flight Number: F0000001, from {HOME} to Bridgeton, Departure: 10:00",
        "breakfast": "-",
        "attraction": "-",
        "lunch": "Nonna, Bridgeton",
        "dinner": "Taco Stand, Bridgeton",
        "accommodation": _LOFT,
    },
    {
        "days": 2,
        "current_city": "Bridgeton",
        "transportation": "-",
        "breakfast": "Corner Grill, East, Bridgeton",
        "attraction": "Old Bridge, Bridgeton;Museum, Bridgeton;",
        "lunch": "Jade, Bridgeton",
        "dinner": "Le Bistro, Bridgeton",
        "accommodation": _LOFT,
    },
    {
        "days": 3,
        "current_city": f"from Bridgeton to {HOME}",
        "transportation": f"Flight Number: F0000002, from Bridgeton to {HOME}, Departure: 12:00",
        "breakfast": "Corner, Bridgeton",
        "attraction": "-",
        "lunch": "-",
        "dinner": "-",
        "accommodation": "-",
    },
]
#: (100 + 150) * 2 for flights, (20+10+15+12+30+5) * 2 for meals, 2 nights in one room at 100.
GOOD_COST = 500 + 184 + 200


def plan(*edits: tuple[int, str, Any]) -> list[dict[str, Any]]:
    """The good plan with fields changed: (day, key, value); value None takes the key out."""
    days = copy.deepcopy(_GOOD)
    for day, key, value in edits:
        if value is None:
            del days[day - 1][key]
        else:
            days[day - 1][key] = value
    return days


def driven(kind: str) -> list[dict[str, Any]]:
    """The good plan by car or taxi."""
    there, back = f"from {HOME} to Bridgeton", f"from Bridgeton to {HOME}"
    return plan((1, "transportation", f"{kind}, {there}"), (3, "transportation", f"{kind}, {back}"))


def as_text(days: list[dict[str, Any]]) -> str:
    """The benchmark's plain text form."""
    labels = ("Current City", "Transportation", "Breakfast", "Attraction", "Lunch", "Dinner")
    lines = []
    for day in days:
        lines.append(f"Day {day['days']}:")
        for label in (*labels, "Accommodation"):
            lines.append(f"{label}: {day[label.lower().replace(' ', '_')]}")
        lines.append("")
    return "\n".join(lines)
