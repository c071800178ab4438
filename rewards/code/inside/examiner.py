"""Runs the tests. The program under test is in another process, in another sandbox.

What the tests call by name are stand-ins (`Remote`) that ask the guest; what comes back is plain
data, compared here. The verdict goes to this process's output, which the guest cannot reach.
"""

from __future__ import annotations

import builtins
import os
import sys

from . import confine, link, wire

_SHOWN = 400


class FailedError(BaseException):
    """An assertion of the tests does not hold. Not an Exception: tests may not swallow it."""


class GuestError(BaseException):
    """The program ended, or said something that is not in the protocol."""


class RemoteError(Exception):
    """An exception of the program; `names` are its built-in classes, the nearest first."""

    names: tuple = ()
    where = ""

    def told(self) -> str:
        return ": ".join(filter(None, (self.where, str(self))))


class Remote:
    """Something of the program's that is not plain data. It can be used but never compared."""

    __slots__ = ("_examiner", "_ref")

    def __init__(self, ref: wire.Ref, examiner) -> None:
        object.__setattr__(self, "_ref", ref)
        object.__setattr__(self, "_examiner", examiner)

    def their_reference(self) -> wire.Ref:
        return object.__getattribute__(self, "_ref")

    def _do(self, what: str, *arguments):
        return object.__getattribute__(self, "_examiner").use(what, self, *arguments)

    def __call__(self, *args, **kwargs):
        result, changed = self._do("call", args, kwargs)
        _write_back(args, changed)
        return result

    def __getattr__(self, name):
        return self._do("attr", name)[0]

    def __setattr__(self, name, value):
        self._do("setattr", name, value)

    def __getitem__(self, key):
        return self._do("item", key)[0]

    def __iter__(self):
        steps = self._do("iter")[0]
        while True:
            more, value = Remote._do(steps, "next")
            if not more:
                return
            yield value

    def __next__(self):
        more, value = self._do("next")
        if not more:
            raise StopIteration
        return value

    def __len__(self):
        return self._do("len")[0]

    def __bool__(self):
        return self._do("bool")[0] is True

    def __str__(self):
        return str(self._do("str")[0])

    def __repr__(self):
        return f"<{object.__getattribute__(self, '_ref').kind} object of the program>"

    def __hash__(self):
        return id(self)

    def __eq__(self, other):
        if other is None:
            return False
        raise TypeError(f"{self!r} is not plain data and cannot be compared")

    def __ne__(self, other):
        return not self == other


def _write_back(args, changed) -> None:
    """Lists, dicts and sets that the program changed in place change here too."""
    if type(changed) is not dict:
        raise GuestError("the program broke the protocol")
    for at, value in changed.items():
        mine = args[at] if type(at) is int and 0 <= at < len(args) else None
        if type(mine) is list and type(value) is list:
            mine[:] = value
        elif type(mine) is type(value) and (type(mine) is dict or type(mine) is set):
            mine.clear()
            mine.update(value)
        else:
            raise GuestError("the program broke the protocol")


class Examiner:
    """Carries one answer through one set of tests. tell: takes a message on how far it is."""

    def __init__(self, fd: int, tell) -> None:
        self._fd = fd
        self._tell = tell
        self._link = link.Link(fd, b"e", self._handle, lambda ref: Remote(ref, self))
        self._names = {
            "__name__": "tests",
            "__builtins__": builtins,
            "__verl_pi_equal__": self._equal,
            "__verl_pi_holds__": self._holds,
        }
        self._checks = 0

    def use(self, what: str, *arguments):
        """Ask the guest; the values of its answer. Its exceptions are raised as far as known."""
        try:
            answer = self._link.ask(what, *arguments)
        except link.ClosedError:
            raise GuestError("the program ended before the tests were over") from None
        except wire.WireError as err:
            raise GuestError(f"the program's answer cannot be read: {err}") from None
        if answer[0] == "ok":
            return answer[1:]
        raise _remote_error(answer)

    def _handle(self, what: str, arguments):
        """A request of the program: it may call functions that the tests gave it, no more."""
        # Not just anything callable: with `type` it could build a class equal to everything.
        if what != "call" or len(arguments) != 3 or not self._link.has_sent(arguments[0]):
            return ("error", ["TypeError"], "", "not served")
        try:
            return ("ok", arguments[0](*arguments[1], **arguments[2]))
        except Exception as err:
            return ("error", ["RuntimeError"], "", f"{type(err).__name__}: {err}"[:500])

    def judge(self, task: dict) -> tuple[str, str]:
        """(reason, feedback) for the task, whatever happens."""
        try:
            reason, feedback = self._judge(task)
        except BaseException as err:
            reason, feedback = "runtime_error", f"{type(err).__name__}: {err}"
        return reason, feedback[:4000]

    def _judge(self, task: dict) -> tuple[str, str]:
        if os.read(self._fd, 1) != wire.BEGUN:
            return "verifier_error", "the sandbox of the program did not start"
        try:
            self.use("load", task["texts"], task["prompt"], task["entry_point"], task["wanted"])
        except RemoteError as err:
            return _load_failure(err)
        except GuestError as err:
            return "runtime_error", str(err)
        for source in task["trusted"]:
            exec(compile(source, "<prompt>", "exec"), self._names)
        try:
            self._fetch(task)
        except (RemoteError, GuestError) as err:
            return "runtime_error", str(err)
        return self._run_tests(task["tests"])

    def _fetch(self, task: dict) -> None:
        for name in task["modules"]:
            self._names[name] = __import__(name)
        for name in task["names"]:
            if name in self._names and name != task["entry_point"]:
                continue
            found, value = self.use("name", name)
            if found == 2 and value in sys.stdlib_module_names:
                value = __import__(value)
            if found:
                self._names[name] = value

    def _run_tests(self, tests: list) -> tuple[str, str]:
        for number, (source, shown) in enumerate(tests):
            self._tell(("at", number, ""))
            try:
                exec(compile(source, "<tests>", "exec"), self._names)
            except FailedError as err:
                return "wrong_answer", str(err)
            except GuestError as err:
                return "runtime_error", f"{err}; the test was: {shown}"
            except RemoteError as err:
                reason = "memory" if "MemoryError" in err.names else "runtime_error"
                return reason, f"{err.told()}; the test was: {shown}"
            except Exception as err:
                return _test_error(err, shown)
        if not self._checks:
            # An answer that gives a loop of the tests nothing to check must not be dropped for it.
            return "wrong_answer", "the tests ended without having reached an assert"
        return "ok", ""

    def _equal(self, left, right, shown: str) -> None:
        """`assert left == right`."""
        self._checks += 1
        if not left == right:
            raise FailedError(f"{shown}\nexpected: {_repr(right)}\ngot:      {_repr(left)}")

    def _holds(self, value, shown: str) -> None:
        """`assert value`."""
        self._checks += 1
        if not value:
            raise FailedError(f"{shown}\ndoes not hold")


def _remote_error(answer) -> BaseException:
    if answer[0] != "error" or len(answer) != 4 or type(answer[1]) is not list:
        return GuestError("the program broke the protocol")
    names = tuple(n for n in answer[1] if type(n) is str)
    err = _as_built_in(names, str(answer[3])[:1000])
    err.names, err.where = names, str(answer[2])[:200]
    return err


def _as_built_in(names: tuple, text: str) -> RemoteError:
    """A RemoteError that tests can also catch as the built-in exception it was."""
    kind = getattr(builtins, names[0], None) if names else None
    if not isinstance(kind, type) or not issubclass(kind, Exception):
        return RemoteError(text)  # SystemExit and the like are never the tests' own
    if kind in (AssertionError, MemoryError, Exception):
        return RemoteError(text)
    try:
        return type(kind.__name__, (RemoteError, kind), {})(text)
    except TypeError:  # its layout or its arguments do not fit
        return RemoteError(text)


def _load_failure(err: RemoteError) -> tuple[str, str]:
    if err.names and err.names[0] == "SyntaxError" and not err.where:
        return "compile_error", str(err)
    return ("memory" if "MemoryError" in err.names else "runtime_error"), err.told()


def _test_error(err: Exception, shown: str) -> tuple[str, str]:
    reason = "memory" if isinstance(err, MemoryError) else "runtime_error"
    return reason, f"{type(err).__name__}: {err}"[:1000] + f"; the test was: {shown}"


def _repr(value) -> str:
    try:
        text = repr(value)
    except Exception as err:
        return f"<{type(value).__name__}, not shown: {type(err).__name__}>"
    return text if len(text) <= _SHOWN else text[:_SHOWN] + " …"


def main(arguments: list[str]) -> None:
    """arguments: the limits, the conversation's descriptor. The task is on standard input."""
    out = os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 1)  # what the tests print

    def tell(message: tuple) -> None:
        data = wire.encode(message, None)
        os.write(out, len(data).to_bytes(4, "little") + data)

    with open(0, "rb", closefd=False) as stream:
        task = wire.decode(stream.read(), None)
    examiner = Examiner(int(arguments[1]), tell)
    confine.confine(arguments[0])
    os.write(out, wire.BEGUN)
    tell(("verdict", *examiner.judge(task)))
    os._exit(0)
