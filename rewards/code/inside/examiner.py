"""Runs the tests. The program under test is in another process, in another sandbox.

What the tests call by name are stand-ins (`objects.py`) that ask the guest; what comes back is
plain data, compared here. The verdict goes to this process's output, which the guest cannot reach.
"""

from __future__ import annotations

import builtins
import os
import sys

from . import confine, faults, link, objects, proxy, wire
from .faults import ForeignError

_SHOWN = 400


class FailedError(BaseException):
    """An assertion of the tests does not hold. Not an Exception: tests may not swallow it."""


class GuestError(BaseException):
    """The program ended, or said something that is not in the protocol."""


class Examiner:
    """Carries one answer through one set of tests. tell: takes a message on how far it is."""

    def __init__(self, fd: int, tell) -> None:
        self._fd = fd
        self._tell = tell
        self._link = link.Link(fd, wire.EXAMINER, self._handle, self._adopt)
        self._desk = objects.TestsDesk(self._link.has_sent)
        self._exceptions: dict[str, type] = {}
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
        raise faults.rebuilt(answer, self._exceptions) or GuestError(
            "the program broke the protocol"
        )

    def _adopt(self, ref: wire.Ref):
        thing = objects.Remote(ref, self.use)
        return thing if ref.plain is None else proxy.valued(ref.plain, thing)

    def _handle(self, what: str, arguments):
        """A request of the program."""
        try:
            return ("ok", *self._desk.serve(what, arguments))
        except Exception as err:
            return faults.message_of(err, self._exceptions)

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
        except ForeignError as err:
            return _load_failure(err)
        except GuestError as err:
            return "runtime_error", str(err)
        try:
            self._import(task)
        except ImportError as err:
            return "verifier_error", _not_importable(err)
        for source in task["trusted"]:
            exec(compile(source, "<prompt>", "exec"), self._names)
        try:
            self._fetch(task)
        except (ForeignError, GuestError) as err:
            return "runtime_error", str(err)
        return self._run_tests(task["tests"])

    def _import(self, task: dict) -> None:
        """What the tests have from the standard library; before the prompt, whose names win."""
        for name in task["modules"]:
            self._names[name] = __import__(name)
        for name, module in task["helpers"]:
            self._names[name] = getattr(__import__(module), name)

    def _fetch(self, task: dict) -> None:
        for name in task["names"]:
            if name in self._names and name != task["entry_point"]:
                continue
            found, value = self.use("name", name)
            if found == 2 and value in sys.stdlib_module_names:
                value = __import__(value)
            elif found == 3:
                faults.stand_ins(value, self._exceptions)
                value = self._exceptions[name]
            elif name[:1].isupper() and type(value) is objects.Remote:
                objects.mark(value, objects.CLASS)
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
            except ForeignError as err:
                reason = "memory" if "MemoryError" in err.names else "runtime_error"
                return reason, f"{err.told()}; the test was: {shown}"
            except ImportError as err:
                return "verifier_error", f"{_not_importable(err)}; the test was: {shown}"
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


def _load_failure(err: ForeignError) -> tuple[str, str]:
    if err.names and err.names[0] == "SyntaxError" and not err.where:
        return "compile_error", str(err)
    return ("memory" if "MemoryError" in err.names else "runtime_error"), err.told()


def _test_error(err: Exception, shown: str) -> tuple[str, str]:
    reason = "memory" if isinstance(err, MemoryError) else "runtime_error"
    return reason, f"{type(err).__name__}: {err}"[:1000] + f"; the test was: {shown}"


def _not_importable(err: ImportError) -> str:
    return (
        f"the tests need what is not there: {err}; the sandbox has Python's standard library and "
        "no other package"
    )


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
