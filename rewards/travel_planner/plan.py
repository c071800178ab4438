"""A plan as a model gives it: a list of days as JSON, or the benchmark's plain text."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass
from typing import Any

from rewards.travel_planner.database import Place, tidy

MEALS = ("breakfast", "lunch", "dinner")
FIELDS = ("transportation", *MEALS, "attraction", "accommodation")
_MAX_DAYS = 31
_MAX_FIELD = 2000
_LABELS = {
    "current city": "current_city",
    "transportation": "transportation",
    "breakfast": "breakfast",
    "attraction": "attraction",
    "lunch": "lunch",
    "dinner": "dinner",
    "accommodation": "accommodation",
}
# Within a line, so that no run of empty lines is searched again from each of them.
_DAY = re.compile(r"^[ \t*#-]*day[ \t]*:?[ \t]*(\d+)[ \t:*]*$", re.IGNORECASE | re.MULTILINE)
_LINE = re.compile(
    rf"^[ \t*-]*({'|'.join(_LABELS)})(?:\*\*)?[ \t]*:(?:\*\*)?(.*)$", re.IGNORECASE | re.MULTILINE
)
_FENCE = re.compile(r"```(?:json|python)?[ \t]*\n(.*?)```", re.DOTALL)
_FROM_TO = re.compile(r"from\s+(\S.*?)\s+to\s+([^,;]+)")
_FLIGHT = re.compile(r"flight(?:\s+number)?\s*:?\s*(F\d+)", re.IGNORECASE)
_KINDS = {
    "flight": re.compile(r"\bflight", re.IGNORECASE),
    "self-driving": re.compile(r"\bself[\s-]?driv", re.IGNORECASE),
    "taxi": re.compile(r"\btaxi", re.IGNORECASE),
}
_PLAN = re.compile(r"\[\s*\{")
_TRIES = 20
_UNUSED = "You don't need to fill in the information for this or later days."


class PlanError(ValueError):
    """The response holds no plan. `reason` is a verdict's: malformed or no_answer."""

    def __init__(self, message: str, reason: str = "malformed") -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Day:
    """One day. Fields that are absent are None, fields left open ("-" or nothing) are ""."""

    city: str
    fields: dict[str, str | None]

    def text(self, field: str) -> str:
        return self.fields[field] or ""

    @property
    def travels(self) -> bool:
        return len(self.cities) == 2

    @property
    def cities(self) -> tuple[str, ...]:
        """The city, or on a day of travel the one left and the one reached."""
        between = from_to(self.city)
        return between or (without_state(self.city),)

    @property
    def meals(self) -> dict[str, str]:
        """The meals that are planned, by name."""
        return {meal: self.text(meal) for meal in MEALS if self.text(meal)}

    @property
    def attractions(self) -> list[str]:
        parts = (part.strip() for part in self.text("attraction").split(";"))
        return [part for part in parts if part and part != "."]


@dataclass(frozen=True)
class Leg:
    """A day's transportation. kind: flight, self-driving, taxi, or "" where it is none of them or
    several; number: of the flight, "" where there is none or several."""

    kind: str
    number: str
    origin: str
    destination: str


def leg_of(day: Day) -> Leg | None:
    """The day's transportation, with the day's cities where it names none; None without one."""
    text = day.text("transportation")
    if not text:
        return None
    origin, destination = from_to(text) or from_to(day.city) or ("", "")
    kinds = [kind for kind, words in _KINDS.items() if words.search(text)]
    numbers = list(dict.fromkeys(_FLIGHT.findall(text)))
    return Leg(_only(kinds), _only(numbers).upper(), origin, destination)


def _only(found: list[str]) -> str:
    """The one that was found: of several, one could be judged and another be meant."""
    return found[0] if len(found) == 1 else ""


def from_to(text: str) -> tuple[str, str] | None:
    found = _FROM_TO.search(text)
    return (without_state(found[1]), without_state(found[2])) if found else None


def without_state(city: str) -> str:
    """`Rockford` of `Rockford(Illinois)`."""
    return tidy(city.split("(")[0])


def place_of(text: str) -> Place:
    """Name and city of `name, city`; the name may have commas. ("", "") if there is no city."""
    name, comma, city = text.strip().removesuffix(".").rpartition(",")
    return (tidy(name), without_state(city)) if comma else ("", "")


def read_plan(response: str) -> list[Day]:
    """The days of a plan, empty ones at the end left out. Raises PlanError.

    response: a JSON (or Python) list of days with the keys of the benchmark, in a fence or not,
    perhaps under the key "plan", or JSON with words around it; or its text, "Day 1:" and a line
    for each key. Text up to the last </think> is ignored.
    """
    text = response.rpartition("</think>")[2].strip()
    fenced = _FENCE.findall(text)
    text = fenced[-1].strip() if fenced else text
    if not text:
        raise PlanError("there is no plan", "no_answer")
    days = [_day(entry) for entry in _entries(text)]
    while days and not days[-1].city and not any(days[-1].fields.values()):
        days.pop()
    if not days:
        raise PlanError("there is no day in the plan", "no_answer")
    if len(days) > _MAX_DAYS:
        raise PlanError(f"{len(days)} days are more than {_MAX_DAYS}")
    return days


def _entries(text: str) -> list[Any]:
    if text[0] in "[{":
        try:
            return _list(text)
        except PlanError:
            if (among_words := _last_list(text)) is None:
                raise
            return among_words
    among_words = _last_list(text)
    return _text_days(text) if among_words is None else among_words


def _last_list(text: str) -> list[Any] | None:
    """The last list of objects in JSON that stands among other words."""
    begins = [match.start() for match in _PLAN.finditer(text)]
    for begin in reversed(begins[-_TRIES:]):
        try:
            return json.JSONDecoder().raw_decode(text, begin)[0]
        except (ValueError, RecursionError):
            continue
    return None


def _list(text: str) -> list[Any]:
    value = _value(text)
    if isinstance(value, dict):
        value = value.get("plan", [value])
    if not isinstance(value, list):
        raise PlanError("the plan is not a list of days")
    return value


def _value(text: str) -> Any:
    """JSON, or Python's way of writing it, in which the benchmark's training plans are."""
    try:
        return json.loads(text)
    except RecursionError:
        raise PlanError("the plan is nested too deep") from None
    except ValueError as err:
        complaint = str(err)
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise PlanError(f"the plan is not JSON: {complaint}") from None


def _text_days(text: str) -> list[dict[str, str]]:
    days = list(_DAY.finditer(text))
    if not days:
        raise PlanError("there is no plan: neither a JSON list nor lines 'Day 1:'", "no_answer")
    ends = [match.start() for match in days[1:]] + [len(text)]
    return [_labelled(text[day.end() : end]) for day, end in zip(days, ends, strict=True)]


def _labelled(text: str) -> dict[str, str]:
    return {_LABELS[label.lower()]: value.strip() for label, value in _LINE.findall(text)}


def _day(entry: Any) -> Day:
    if not isinstance(entry, dict):
        raise PlanError("a day of the plan is not an object")
    fields = {field: _field(entry, field) for field in FIELDS}
    return Day(_field(entry, "current_city") or "", fields)


def _field(entry: dict[str, Any], name: str) -> str | None:
    if name not in entry:
        return None
    value = entry[name]
    if value is not None and not isinstance(value, str):
        raise PlanError(f"{name} is not a text")
    if value is None or value.strip() in ("", "-", _UNUSED):
        return ""
    if len(value) > _MAX_FIELD:
        raise PlanError(f"{name} has more than {_MAX_FIELD:,} characters")
    return tidy(value)
