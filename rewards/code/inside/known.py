"""Value types of the standard library that cross the wire as themselves.

Each is taken apart into plain data and made anew on the other side, where it is the real type.
"""

from __future__ import annotations

import sys


def _clock(value) -> tuple[int, int, int, int]:
    return value.hour, value.minute, value.second, value.microsecond


def _zone(value):
    """Its time zone; one of a class of the program's own as the offset that it has then."""
    zone = value.tzinfo
    if zone is None or name_of(type(zone)) is not None:
        return zone
    offset = value.utcoffset()
    return None if offset is None else sys.modules["datetime"].timezone(offset)


# name: (module, how to take one apart, how to make one from the parts)
_TYPES = {
    "range": ("builtins", lambda v: (v.start, v.stop, v.step), lambda t, p: t(*p)),
    "slice": ("builtins", lambda v: (v.start, v.stop, v.step), lambda t, p: t(*p)),
    "bytearray": ("builtins", bytes, lambda t, p: t(p)),
    "deque": ("collections", lambda v: (list(v), v.maxlen), lambda t, p: t(p[0], p[1])),
    "Counter": ("collections", dict, lambda t, p: t(p)),
    "OrderedDict": ("collections", lambda v: list(v.items()), lambda t, p: t(p)),
    "Fraction": ("fractions", lambda v: (v.numerator, v.denominator), lambda t, p: t(*p)),
    "Decimal": ("decimal", str, lambda t, p: t(p)),
    "array": ("array", lambda v: (v.typecode, v.tolist()), lambda t, p: t(p[0], p[1])),
    "date": ("datetime", lambda v: (v.year, v.month, v.day), lambda t, p: t(*p)),
    "time": (
        "datetime",
        lambda v: (*_clock(v), _zone(v), v.fold),
        lambda t, p: t(*p[:5], fold=p[5]),
    ),
    "datetime": (
        "datetime",
        lambda v: (v.year, v.month, v.day, *_clock(v), _zone(v), v.fold),
        lambda t, p: t(*p[:8], fold=p[8]),
    ),
    "timezone": ("datetime", lambda v: (v.utcoffset(None), v.tzname(None)), lambda t, p: t(*p)),
    "ZoneInfo": ("zoneinfo", lambda v: v.key, lambda t, p: t(p)),
    "UUID": ("uuid", lambda v: v.int, lambda t, p: t(int=p)),
    "timedelta": ("datetime", lambda v: (v.days, v.seconds, v.microseconds), lambda t, p: t(*p)),
}
# By the base's own methods: a subclass may have overridden them.
_PLAIN = {
    int: int.__int__,
    float: float.__float__,
    complex: lambda v: complex(v.real, v.imag),
    str: str.__str__,
    bytes: lambda v: bytes.__getitem__(v, slice(None)),
    tuple: lambda v: tuple(tuple.__iter__(v)),
    list: lambda v: list(list.__iter__(v)),
    dict: lambda v: dict(dict.items(v)),
    set: lambda v: set(set.__iter__(v)),
    frozenset: lambda v: frozenset(frozenset.__iter__(v)),
}


def name_of(kind: type) -> str | None:
    """The name of a known type, or None. Its module need not have been imported."""
    name = kind.__name__
    if name not in _TYPES or getattr(kind, "__module__", None) != _TYPES[name][0]:
        return None
    return name if getattr(sys.modules.get(_TYPES[name][0]), name, None) is kind else None


def parts_of(name: str, value):
    """Plain data from which `make` builds `value` again."""
    return _TYPES[name][1](value)


def make(name: str, parts):
    """A value of a known type. Raises ValueError for parts that do not fit it."""
    if name not in _TYPES:
        raise ValueError(f"unknown type {name!r}")
    module, _, build = _TYPES[name]
    try:
        return build(getattr(__import__(module), name), parts)
    except Exception as err:
        raise ValueError(f"no {name}: {type(err).__name__}") from None


def plain(base: type, value):
    """The value of a subclass's instance as an instance of `base`."""
    return _PLAIN[base](value)
