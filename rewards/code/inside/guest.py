"""Where the program under test lives. It answers the examiner's questions about its functions.

It never sees the tests, only the arguments of the calls; and all it can say are plain data and
references to things of its own.
"""

from __future__ import annotations

import builtins
import os
import sys

from . import choose, confine, faults, link, proxy, wire

_MODULE = type(sys)


class Guest(proxy.Desk):
    """The program's names and what may be done with them."""

    def __init__(self, fd: int) -> None:
        # A module that can be found: dataclasses and type hints look their names up in it.
        module = sys.modules["answer"] = _MODULE("answer")
        self._names = module.__dict__
        self._names["__builtins__"] = builtins
        self._link = link.Link(fd, wire.GUEST, self._handle, self._adopt)

    def run(self) -> None:
        """Answer until the examiner is gone."""
        self._link.serve()

    def _adopt(self, ref: wire.Ref):
        thing = Theirs(ref, self._use)
        return thing if ref.plain is None else proxy.valued(ref.plain, thing)

    def _use(self, what: str, *arguments):
        answer = self._link.ask(what, *arguments)
        if answer[0] == "ok":
            return answer[1:]
        raise faults.rebuilt(answer, self._names) or RuntimeError("not an answer")

    def _handle(self, what: str, arguments):
        try:
            return ("ok", *self.serve(what, arguments))
        except (link.ClosedError, wire.WireError):
            raise
        except choose.NoProgramError as err:
            return ("error", ["SyntaxError"], "", str(err), None)
        except BaseException as err:
            return faults.message_of(err, self._names)

    def do_load(self, texts, prompt, entry_point, wanted):
        code = choose.choose(texts, prompt, entry_point, wanted)
        exec(code, self._names)
        return (None,)

    def do_name(self, name):
        """Found: 1 and the value; 2 and the name of a module; 3 and the lineage of an exception
        class; 0 if there is none."""
        if name not in self._names:
            return 0, None
        value = self._names[name]
        if type(value) is _MODULE:
            return 2, value.__name__
        if _is_exception(value) and value.__name__ == name:
            return 3, faults.lineage(value, self._names)
        return 1, value


class Theirs(proxy.Proxy):
    """Something of the tests', as the program sees it."""

    __slots__ = ()

    def __contains__(self, value):
        return proxy.do(self, "contains", value)[0]

    def __repr__(self):
        ours = proxy.Proxy.their_reference(self).base
        return proxy.do(self, "repr")[0] if ours else proxy.label(self)

    def __hash__(self):
        return proxy.Proxy.__hash__(self)


def _operator(name: str, swapped: bool):
    def compute(self, *others):
        operands = (*others, self) if swapped else (self, *others)
        return proxy.operate(self, name, *operands)

    return compute


for _name in (*proxy.COMPARISONS, *proxy.ARITHMETIC, *proxy.IN_PLACE, *proxy.CONVERSIONS):
    setattr(Theirs, f"__{_name}__", _operator(_name, False))
for _name in proxy.ARITHMETIC:
    setattr(Theirs, f"__r{_name}__", _operator(_name, True))


def _is_exception(value) -> bool:
    return isinstance(value, type) and issubclass(value, Exception)


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
    guest.run()
    os._exit(0)


def main(arguments: list[str]) -> None:
    """arguments: the limits. The conversation is on descriptor 0."""
    serve(os.dup(0), arguments[0])
