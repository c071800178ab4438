r"""What stands after the number of an answer: a unit, or a word that multiplies it.

math-verify drops both, so that ``5 cm`` is ``5 m`` and ``5\text{ million}`` is 5 to it. Here a unit
may be left out, but not be another one, and a word such as "million" counts.
"""

from __future__ import annotations

import re

_NAMES = {
    "mm": "mm millimeter millimeters millimetre millimetres",
    "cm": "cm centimeter centimeters centimetre centimetres",
    "m": "m meter meters metre metres",
    "km": "km kilometer kilometers kilometre kilometres",
    "in": "in inch inches",
    "ft": "ft foot feet",
    "yd": "yd yard yards",
    "mi": "mi mile miles",
    "mg": "mg milligram milligrams",
    "g": "g gram grams",
    "kg": "kg kilogram kilograms",
    "lb": "lb lbs pound pounds",
    "oz": "oz ounce ounces",
    "ton": "ton tons",
    "s": "s sec secs second seconds",
    "min": "min mins minute minutes",
    "h": "h hr hrs hour hours",
    "day": "day days",
    "week": "week weeks",
    "month": "month months",
    "year": "year years",
    "ml": "ml milliliter milliliters",
    "l": "l liter liters litre litres",
    "gallon": "gallon gallons",
    "mph": "mph",
    "dollar": "dollar dollars usd",
    "cent": "cent cents",
    "euro": "euro euros",
    "percent": "percent",
    "degree": "degree degrees",
    "radian": "radian radians rad",
    "am": "am",
    "pm": "pm",
}
_KNOWN = {name: unit for unit, names in _NAMES.items() for name in names.split()}
_POWERS = {"square": "2", "sq": "2", "cubic": "3", "cu": "3"}
_TEXT = re.compile(r"\\(?:text|mathrm|textrm|mbox|rm)\s*\{([^{}]*)\}")
_BLANK = re.compile(r"\\[,;!: ]|~|\s+")
_UNIT = re.compile(
    r".*[\d})!]\s*(?:(square|sq|cubic|cu) )?([a-z]+)\s?(?:\^\{?([23])\}?)?", re.DOTALL
)
_SCALED = re.compile(
    r"\s*([\d.,]*\d)\s*(hundred|thousand|million|billion|trillion)\b(.*)", re.DOTALL
)
_NUMBER = re.compile(r"\s*(-?[\d.,/]*\d)\s+[A-Za-z][A-Za-z. ]+")
_TENS = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}


def units_differ(gold: str, answer: str) -> bool:
    """Whether both name a unit, and not the same one. Nothing is converted."""
    units = _unit(gold), _unit(answer)
    return None not in units and units[0] != units[1]


def number_of(text: str) -> str:
    r"""``5 million`` as ``5 \cdot 10^{6}``, ``5 square feet`` as ``5``; other texts as they are."""
    plain = _TEXT.sub(r" \1 ", text)
    match = _SCALED.fullmatch(plain)
    if match:
        return rf"{match[1]} \cdot 10^{{{_TENS[match[2]]}}}{match[3]}".strip()
    match = _NUMBER.fullmatch(plain)
    return match[1] if match and _unit(text) else text


def _unit(text: str) -> tuple[str, str] | None:
    """The unit and its power, if there is a number before it and it is a known one."""
    if text.rstrip().endswith("%"):
        return "percent", "1"
    plain = _BLANK.sub(" ", _TEXT.sub(r" \1 ", text)).replace(".m.", "m").strip(" .")
    match = _UNIT.fullmatch(plain.lower())
    if match is None or match[2] not in _KNOWN:
        return None
    return _KNOWN[match[2]], match[3] or _POWERS.get(match[1] or "", "1")
