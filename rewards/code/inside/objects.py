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

    def __repr__(self):
        return str(do(self, "repr")[0])

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
        mine = _content(self)
        if mine is not NotImplemented:
            return mine == other
        raise TypeError(f"{proxy.label(self)} is not plain data and cannot be compared")

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
        raise TypeError(
            f"{proxy.label(thing)} was made with a value of the tests, and is no result by itself"
        )
    return result


def _content(thing: Remote):
    """What a container of the program's has in it now; NotImplemented of anything else."""
    return do(thing, "plain")[0] if proxy.Proxy.their_reference(thing).base else NotImplemented


def _comparison(name: str):
    def compare(self, other):
        if _is_remote(other):
            return operate(self, name, self, other)
        mine = _content(self)
        return mine if mine is NotImplemented else proxy.function_of(name)(mine, other)

    return compare


def _arithmetic(name: str, swapped: bool):
    def compute(self, other):
        if not _is_remote(other) and (mine := _content(self)) is not NotImplemented:
            here = proxy.function_of(name)
            return here(other, mine) if swapped else here(mine, other)
        if not _is_remote(other) and _state(self) != MADE:
            return NotImplemented
        result = operate(self, name, *((other, self) if swapped else (self, other)))
        if not _is_remote(other) or TOLD in (_state(self), _state(other)):
            if not _is_remote(result):
                raise TypeError(f"{name} of an object and a value must give an object")
            mark(result, TOLD)
        return result

    return compute


def _in_place(name: str):
    def change(self, other):
        return operate(self, name, self, other) if _is_remote(other) else NotImplemented

    return change


def _conversion(name: str):
    def convert(self):
        return _not_told(self, operate(self, name, self))

    return convert


Remote.__doc__ = property(lambda self: do(self, "attr", "__doc__")[0])  # type: ignore[assignment]
for _name in proxy.COMPARISONS[2:]:
    setattr(Remote, f"__{_name}__", _comparison(_name))
for _name in proxy.ARITHMETIC:
    setattr(Remote, f"__{_name}__", _arithmetic(_name, False))
    setattr(Remote, f"__r{_name}__", _arithmetic(_name, True))
for _name in proxy.IN_PLACE:
    setattr(Remote, f"__{_name}__", _in_place(_name))
for _name in proxy.CONVERSIONS:
    if _name != "round":
        setattr(Remote, f"__{_name}__", _conversion(_name))


class TestsDesk(proxy.Desk):
    """Serves the program's requests about objects that the tests gave it, and no other.

    Not just anything: with `type` it could build a class equal to everything, and a function's
    attributes lead to the tests themselves.
    """

    _SERVED = (
        "call", "attr", "setattr", "item", "setitem", "delitem", "iter", "reversed", "next", "len",
        "bool", "str", "repr", "hash", "contains", "plain", "copy", "operate",
    )  # fmt: skip

    def __init__(self, has_sent) -> None:
        self._has_sent = has_sent

    def serve(self, what: str, arguments):
        things = arguments[1:] if what == "operate" else arguments[:1]
        if what not in self._SERVED or not any(map(self._has_sent, things)):
            raise TypeError("not served")
        return super().serve(what, arguments)

    def do_attr(self, thing, name):
        if type(thing) not in proxy.CONTAINERS or str(name).startswith("_"):
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
