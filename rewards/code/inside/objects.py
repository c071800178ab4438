"""The program's objects as the tests see them, and the tests' objects as the program may use them.

What stands in for an object of the program must never be taken for a right answer. So a comparison
with a value of the tests is carried out here, on plain data or not at all; operators run in the
program's sandbox where both operands are its own, as a method that the tests call would.
"""

from __future__ import annotations

from . import proxy
from .proxy import do, operate

#: A class that the tests name; an object that they made by calling it; one that was made from such
#: an object and a value of the tests, which it may have been told to hide.
CLASS, MADE, TOLD = "class", "made", "told"


class Remote(proxy.Proxy):
    """Something of the program's that is not plain data."""

    __slots__ = ("_verl_pi_state",)

    def __init__(self, ref, ask) -> None:
        super().__init__(ref, ask)
        mark(self, "")

    def __call__(self, *args, **kwargs):
        result = proxy.Proxy.__call__(self, *args, **kwargs)
        if _state(self) == CLASS and _is_remote(result) and not _state(result):
            mark(result, MADE)
        return result

    def __bool__(self):
        return _not_told(self, proxy.Proxy.__bool__(self))

    def __contains__(self, value):
        if _is_remote(value) or _state(self) == MADE:
            return do(self, "contains", value)[0] is True
        return any(item is value or item == value for item in self)

    def __eq__(self, other):
        if other is None:
            return False
        if _is_remote(other):
            return bool(operate(self, "eq", self, other))
        if proxy.Proxy.their_reference(self).base:
            return do(self, "plain")[0] == other
        raise TypeError(f"{self!r} is not plain data and cannot be compared")

    def __ne__(self, other):
        if _is_remote(other):
            return bool(operate(self, "ne", self, other))
        return not self == other

    def __hash__(self):
        return proxy.Proxy.__hash__(self)

    def __round__(self, digits=None):
        return _not_told(self, operate(self, "round", self, digits))


def mark(thing: Remote, state: str) -> None:
    """Note that it is one of CLASS, MADE, TOLD."""
    object.__setattr__(thing, "_verl_pi_state", state)


def _state(thing: Remote) -> str:
    return object.__getattribute__(thing, "_verl_pi_state")


def _is_remote(thing) -> bool:
    return type(thing) is Remote


def _not_told(thing: Remote, result):
    """`result`, unless it could come from an expected value that the object was told."""
    if _state(thing) == TOLD and not _is_remote(result):
        raise TypeError(f"{thing!r} was made with a value of the tests, and is no result by itself")
    return result


def _comparison(name: str):
    def compare(self, other):
        return operate(self, name, self, other) if _is_remote(other) else NotImplemented

    return compare


def _arithmetic(name: str, swapped: bool):
    def compute(self, other):
        if not _is_remote(other) and _state(self) != MADE:
            return NotImplemented
        result = operate(self, name, *((other, self) if swapped else (self, other)))
        if not _is_remote(other) or TOLD in (_state(self), _state(other)):
            if not _is_remote(result):
                raise TypeError(f"{name} of an object and a value must give an object")
            mark(result, TOLD)
        return result

    return compute


def _conversion(name: str):
    def convert(self):
        return _not_told(self, operate(self, name, self))

    return convert


for _name in proxy.COMPARISONS[2:]:
    setattr(Remote, f"__{_name}__", _comparison(_name))
for _name in proxy.ARITHMETIC:
    setattr(Remote, f"__{_name}__", _arithmetic(_name, False))
    setattr(Remote, f"__r{_name}__", _arithmetic(_name, True))
for _name in proxy.CONVERSIONS:
    if _name != "round":
        setattr(Remote, f"__{_name}__", _conversion(_name))


class TestsDesk(proxy.Desk):
    """Serves the program's requests about objects that the tests gave it, and no other.

    Not just anything: with `type` it could build a class equal to everything, and a function's
    attributes lead to the tests themselves.
    """

    _SERVED = (
        "call", "attr", "setattr", "item", "setitem", "iter", "reversed", "next", "len", "bool",
        "str", "hash", "contains", "plain", "operate",
    )  # fmt: skip

    def __init__(self, has_sent) -> None:
        self._has_sent = has_sent

    def serve(self, what: str, arguments):
        things = arguments[1:] if what == "operate" else arguments[:1]
        if what not in self._SERVED or not any(map(self._has_sent, things)):
            raise TypeError("not served")
        return super().serve(what, arguments)

    def do_attr(self, thing, name):
        _require_data(thing, name)
        return super().do_attr(thing, name)

    def do_setattr(self, thing, name, value):
        _require_data(thing, name)
        if callable(getattr(type(thing), name, None)) or callable(getattr(thing, name, None)):
            raise AttributeError(f"{name!r} is a function of the tests")
        return super().do_setattr(thing, name, value)


def _require_data(thing, name) -> None:
    """Only attributes of instances of the tests' own classes are to be had."""
    if type(thing).__module__ != "tests" or type(name) is not str or name.startswith("_"):
        raise AttributeError(f"{name!r} is not served")
