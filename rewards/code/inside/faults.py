"""Exceptions on their way between the two sides.

They are told as ("error", names, where, text, the exception itself), the last as a reference, and
raised on the other side as the nearest class that is known there: one of the program's own that the
tests have named, or a built-in one. An exception that comes home is raised as the very object.
"""

from __future__ import annotations

import builtins

#: The file name that the program's code objects have.
NAME = "<answer>"


class ForeignError(Exception):
    """An exception of the other side; `names` are its classes, the nearest first."""

    names: tuple = ()
    where = ""
    text = ""
    origin = None

    def __init__(self) -> None:
        """Whatever arguments the class has that it is caught as."""

    def __str__(self) -> str:
        return self.text

    @property
    def args(self):
        return (self.text,) if self.origin is None else self.origin.args

    def told(self) -> str:
        return ": ".join(filter(None, (self.where, str(self))))

    def __getattr__(self, name):
        if name.startswith("_") or self.origin is None:
            raise AttributeError(name)
        return getattr(self.origin, name)


def message_of(err: BaseException, own: dict):
    """What the other side is told of `err`. own: the names by which this side's classes go."""
    if isinstance(err, ForeignError):
        return ("error", list(err.names), err.where, str(err), err.origin)
    told = ("error", names_of(err, own), where(err), message(err))
    return (*told, err.with_traceback(None))


def rebuilt(answer, known: dict) -> Exception | None:
    """The exception to raise for such a message; None if it is not one.

    known: classes that stand for those of the other side, by name.
    """
    if answer[0] != "error" or len(answer) != 5 or type(answer[1]) is not list:
        return None
    if isinstance(answer[4], Exception) and not isinstance(answer[4], ForeignError):
        return answer[4]
    names = tuple(n for n in answer[1] if type(n) is str)
    err = _as_known(names, known)
    err.text = str(answer[3])[:1000]
    err.names, err.where, err.origin = names, str(answer[2])[:200], answer[4]
    return err


def _as_known(names: tuple, known: dict) -> ForeignError:
    """A ForeignError that can also be caught as the exception that it was."""
    found = (known.get(name) or getattr(builtins, name, None) for name in names)
    kind = next((k for k in found if isinstance(k, type)), Exception)
    if not issubclass(kind, Exception):  # SystemExit and the like are never the tests' own
        return ForeignError()
    if kind in (AssertionError, MemoryError, Exception):
        return ForeignError()
    try:
        return type(kind.__name__, (ForeignError, kind), {})()
    except TypeError:  # its layout or its arguments do not fit
        return ForeignError()


def lineage(kind: type, own: dict) -> list:
    """[name, names of its bases] of the exception class and of those above it, the last first."""
    named = [k for k in kind.__mro__ if _named(k, own) and not _named(k, builtins.__dict__)]
    return [
        [k.__name__, [names[0] for names in (class_names(b, own) for b in k.__bases__) if names]]
        for k in reversed(named)
    ]


def stand_ins(told: list, known: dict) -> None:
    """Make classes for those of a `lineage` that have none yet."""
    for name, bases in told:
        found = [known.get(base) or getattr(builtins, base, None) for base in bases]
        kinds = [k for k in found if isinstance(k, type) and issubclass(k, Exception)]
        if name not in known:
            known[name] = type(name, tuple(kinds) or (Exception,), {})


def names_of(err: BaseException, own: dict) -> list[str]:
    """The classes of an exception that this side names or Python has, the nearest first."""
    return class_names(type(err), own)


def class_names(kind: type, own: dict) -> list[str]:
    """The same of an exception class."""
    return [k.__name__ for k in kind.__mro__ if _named(k, own) or _named(k, builtins.__dict__)]


def _named(kind: type, names: dict) -> bool:
    return names.get(kind.__name__) is kind


def where(err: BaseException) -> str:
    """`line 3, in f: `, the innermost line of the program itself; empty if there is none."""
    place, trace = "", err.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_filename == NAME:
            place = f"line {trace.tb_lineno}, in {code.co_name}: "
        trace = trace.tb_next
    return f"{place}{type(err).__name__}"[:200]


def message(err: BaseException) -> str:
    """What the exception says, whatever its `__str__` does."""
    try:
        return str(err)[:1000]
    except BaseException as second:
        return f"<{type(second).__name__} in its __str__>"
