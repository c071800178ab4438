"""The benchmark's tables as dictionaries, read once per process (about 10 MB).

Flights are not among them: the full table has millions of rows. A query's own reference
information holds the flights between its cities on its dates.
"""

from __future__ import annotations

import csv
import functools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewards.data_folder import data_files

VARIABLE = "VERL_PI_TRAVEL_PLANNER"
SOURCE = "github.com/OSU-NLP-Group/TravelPlanner, database"
# For each table the places where it may lie: all in one folder, or as the benchmark unpacks them.
_FILES = (
    ("clean_restaurant_2022.csv", "restaurants/clean_restaurant_2022.csv"),
    ("clean_accommodations_2022.csv", "accommodations/clean_accommodations_2022.csv"),
    ("attractions.csv", "attractions/attractions.csv"),
    ("distance.csv", "googleDistanceMatrix/distance.csv"),
    ("citySet_with_states.txt", "background/citySet_with_states.txt"),
)
# Rows in which one of these stands for a missing value are dropped, as the benchmark does.
_MISSING = frozenset(("", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "n/a", "<NA>"))
_FLIGHT_ROW = re.compile(r"^\s*(F\d+)\s+(\d+(?:\.\d+)?)\s", re.MULTILINE)
_FLIGHT_KEY = re.compile(r"Flight from (.+) to (.+) on [\d-]+")

Place = tuple[str, str]  # name and city


@dataclass(frozen=True)
class Restaurant:
    """cost: dollars per person and meal."""

    cost: float
    cuisines: frozenset[str]


@dataclass(frozen=True)
class Room:
    """price: dollars per night and room; nights: the least number of nights."""

    price: float
    kind: str
    rules: str
    nights: float
    occupancy: int


@dataclass(frozen=True)
class Flight:
    """price: dollars per person."""

    origin: str
    destination: str
    price: float


@dataclass(frozen=True)
class Database:
    """Everything that a plan may name. Of several rows with one name and city the first counts,
    as in the benchmark, except that `nights` is the least of all of them."""

    restaurants: Mapping[Place, Restaurant]
    rooms: Mapping[Place, Room]
    attractions: frozenset[Place]
    kilometres: Mapping[tuple[str, str], float]
    states: Mapping[str, str]


def open_database(named: str | None = None) -> Database:
    """The tables in the folder `named`, or in VERL_PI_TRAVEL_PLANNER. Raises DataMissingError."""
    return _load(*data_files(named, VARIABLE, _FILES, SOURCE))


@functools.lru_cache(maxsize=2)
def _load(restaurants: Path, rooms: Path, attractions: Path, roads: Path, cities: Path) -> Database:
    places = ((tidy(row["Name"]), row["City"]) for row in _complete(attractions))
    lines = cities.read_text(encoding="utf-8").splitlines()
    return Database(
        restaurants=_restaurants(restaurants),
        rooms=_rooms(rooms),
        attractions=frozenset(places),
        kilometres=_kilometres(roads),
        states=dict(line.split("\t") for line in lines if "\t" in line),
    )


def tidy(name: str) -> str:
    """A name with single spaces."""
    return " ".join(name.split())


def _complete(path: Path) -> Iterator[dict[str, str]]:
    return (row for row in _rows(path) if not _MISSING & {v for k, v in row.items() if k})


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _restaurants(path: Path) -> dict[Place, Restaurant]:
    found: dict[Place, Restaurant] = {}
    for row in _complete(path):
        cuisines = frozenset(cuisine.strip() for cuisine in row["Cuisines"].split(","))
        place = (tidy(row["Name"]), row["City"])
        found.setdefault(place, Restaurant(float(row["Average Cost"]), cuisines))
    return found


def _rooms(path: Path) -> dict[Place, Room]:
    found: dict[Place, Room] = {}
    for row in _complete(path):
        place = (tidy(row["NAME"]), row["city"])
        nights, occupancy = float(row["minimum nights"]), int(float(row["maximum occupancy"]))
        room = Room(float(row["price"]), row["room type"], row["house_rules"], nights, occupancy)
        first = found.setdefault(place, room)
        if nights < first.nights:
            found[place] = Room(first.price, first.kind, first.rules, nights, first.occupancy)
    return found


def _kilometres(path: Path) -> dict[tuple[str, str], float]:
    """Roads that can be driven: journeys of a day and more are no way to travel there."""
    found: dict[tuple[str, str], float] = {}
    for row in _rows(path):
        distance = row["distance"].removesuffix("km").replace(",", "").strip()
        usable = row["duration"] not in _MISSING and "day" not in row["duration"]
        if usable and re.fullmatch(r"\d+(\.\d+)?", distance):
            found.setdefault((row["origin"], row["destination"]), float(distance))
    return found


def flights_of(reference: Any) -> dict[str, list[Flight]]:
    """Flights by number from a query's reference information.

    reference: what the benchmark publishes: a dict "Flight from A to B on DATE" → list of rows
    (its *_ref_info.jsonl), or a list of {"Description", "Content"} with the rows as printed text
    (the data set's column); other entries are ignored. Raises ValueError.
    """
    if isinstance(reference, list):
        reference = {
            str(entry.get("Description")): entry.get("Content")
            for entry in reference
            if isinstance(entry, dict)
        }
    if not isinstance(reference, dict):
        raise ValueError("the reference information is neither an object nor a list")
    flights: dict[str, list[Flight]] = {}
    for key, content in reference.items():
        between = _FLIGHT_KEY.fullmatch(key)
        if between is None:
            continue
        for number, price in _flight_rows(content):
            flights.setdefault(number, []).append(Flight(between[1], between[2], price))
    return flights


def _flight_rows(content: Any) -> Iterator[tuple[str, float]]:
    if isinstance(content, str):
        yield from ((row[1], float(row[2])) for row in _FLIGHT_ROW.finditer(content))
    elif isinstance(content, list):
        try:
            yield from ((str(row["Flight Number"]), float(row["Price"])) for row in content)
        except (LookupError, TypeError) as err:
            raise ValueError(f"a flight of the reference information lacks {err}") from None


@functools.lru_cache(maxsize=2)
def published_flights(named: str | None = None) -> dict[str, list[Flight]]:
    """Flights of all *_ref_info.jsonl beside the tables or one folder above them."""
    tables = data_files(named, VARIABLE, _FILES, SOURCE)
    flights: dict[str, list[Flight]] = {}
    for folder in tables[0].parents[:2]:
        for path in sorted(folder.glob("*_ref_info.jsonl")):
            with path.open(encoding="utf-8") as file:
                for line in file:
                    for number, found in flights_of(json.loads(line)).items():
                        flights.setdefault(number, []).extend(found)
    return flights
