"""Where the program under test lives. It answers the examiner's questions about its functions.

It never sees the tests, only the arguments of the calls; and all it can say are plain data and
references to things of its own.
"""

from __future__ import annotations

import builtins
import os
import sys

from . import choose, confine, link, wire

_MODULE = type(sys)


class Callback:
    """A function of the tests, as the program sees it."""

    def __init__(self, ref: wire.Ref, ask) -> None:
        self._ref, self._ask = ref, ask

    def __call__(self, *args, **kwargs):
        answer = self._ask("call", self, args, kwargs)
        if answer[0] != "ok":
            raise RuntimeError(answer[-1])
        return answer[1]

    def their_reference(self) -> wire.Ref:
        return self._ref


class Guest:
    """The program's names and what may be done with them."""

    def __init__(self, fd: int) -> None:
        # A module that can be found: dataclasses and type hints look their names up in it.
        module = sys.modules["answer"] = _MODULE("answer")
        self._names = module.__dict__
        self._names["__builtins__"] = builtins
        self._link = link.Link(fd, b"g", self._handle, self._adopt)

    def serve(self) -> None:
        self._link.serve()

    def _adopt(self, ref: wire.Ref) -> Callback:
        return Callback(ref, self._link.ask)

    def _handle(self, what: str, arguments):
        try:
            return ("ok", *getattr(self, f"do_{what}")(*arguments))
        except (link.ClosedError, wire.WireError):
            raise
        except choose.NoProgramError as err:
            return ("error", ["SyntaxError"], "", str(err))
        except BaseException as err:
            return ("error", choose.names_of(err), choose.where(err), choose.message(err))

    def do_load(self, texts, prompt, entry_point, wanted):
        code = choose.choose(texts, prompt, entry_point, wanted)
        exec(code, self._names)
        return (None,)

    def do_name(self, name):
        """Found: 1 and the value, 2 and the name of a module, 0 if there is none."""
        if name not in self._names:
            return 0, None
        value = self._names[name]
        return (2, value.__name__) if type(value) is _MODULE else (1, value)

    def do_call(self, function, args, kwargs):
        before = _containers(args)
        result = function(*args, **kwargs)
        changed = {at: args[at] for at, text in before.items() if repr(args[at]) != text}
        return result, changed

    def do_attr(self, thing, name):
        return (getattr(thing, name),)

    def do_setattr(self, thing, name, value):
        setattr(thing, name, value)
        return (None,)

    def do_item(self, thing, key):
        return (thing[key],)

    def do_iter(self, thing):
        return (Steps(iter(thing)),)

    def do_next(self, thing):
        for value in thing.iterator if type(thing) is Steps else thing:
            return True, value
        return False, None

    def do_len(self, thing):
        return (len(thing),)

    def do_bool(self, thing):
        return (bool(thing),)

    def do_str(self, thing):
        return (str(thing),)

    def do_repr(self, thing):
        return (repr(thing),)


class Steps:
    """An iterator that stays here; never plain data, whatever it iterates over."""

    def __init__(self, iterator) -> None:
        self.iterator = iterator


def _containers(args) -> dict[int, str]:
    """Arguments a function may change in place, as they are before the call."""
    return {at: repr(a) for at, a in enumerate(args) if type(a) in (list, dict, set)}


def serve(fd: int, limits: str) -> None:
    """Answer on `fd` until the other end is gone; then this process ends."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for other in (0, 1, 2):
        os.dup2(nothing, other)
    os.closerange(3, fd)
    os.closerange(fd + 1, 256)
    builtins.exit = builtins.quit = sys.exit  # type: ignore[attr-defined]  # as `site` has them
    guest = Guest(fd)
    confine.confine(limits)
    os.write(fd, wire.BEGUN)
    guest.serve()
    os._exit(0)


def main(arguments: list[str]) -> None:
    """arguments: the limits. The conversation is on descriptor 0."""
    serve(os.dup(0), arguments[0])
