"""What a ground truth of the verifier `code` asks for.

A JSON object of one of three kinds: `humaneval` (prompt, test, entry_point), `asserts` (tests,
setup, entry_point), `stdio` (cases of input and output). Tests are trusted, so they are parsed
here, once for each ground truth: every `assert` becomes a call that can say what was compared, and
the names that the tests take from the answer are found (`syntax.py`).
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rewards.code import syntax
from rewards.code.syntax import Taken

_SHOWN = 300
#: Characters of ground truths that are kept parsed.
_KEPT_CHARS = 16_000_000


class GroundTruthError(ValueError):
    """The ground truth is not of a form that this verifier knows."""


@dataclass(frozen=True)
class Asserts:
    """Tests that call the answer's functions.

    prompt: text that the answer may continue, empty if none. trusted: sources run before the
    tests, from the ground truth alone. taken: where the tests' names come from. tests: (source, how
    to show it) in order.
    """

    prompt: str
    entry_point: str
    trusted: tuple[str, ...]
    taken: Taken
    tests: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Stdio:
    """Cases of (standard input, expected standard output)."""

    cases: tuple[tuple[str, str], ...]


class _Kept:
    """The truths read last, while their texts together have fewer than _KEPT_CHARS characters."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: OrderedDict[bytes, tuple[int, Asserts | Stdio]] = OrderedDict()
        self._chars = 0

    def get(self, key: bytes) -> Asserts | Stdio | None:
        with self._lock:
            if key not in self._found:
                return None
            self._found.move_to_end(key)
            return self._found[key][1]

    def put(self, key: bytes, chars: int, truth: Asserts | Stdio) -> None:
        with self._lock:
            if key in self._found:
                return
            self._found[key] = chars, truth
            self._chars += chars
            while self._chars > _KEPT_CHARS:
                self._chars -= self._found.popitem(last=False)[1][0]

    def chars(self) -> int:
        return self._chars


_kept = _Kept()


def _forget() -> None:
    """A thread that held the lock is not in a forked process, and would never give it back."""
    global _kept
    _kept = _Kept()


os.register_at_fork(after_in_child=_forget)


def read(ground_truth: str) -> Asserts | Stdio:
    """The ground truth of this text. Raises GroundTruthError."""
    key = hashlib.blake2b(ground_truth.encode("utf-8", "surrogatepass"), digest_size=32).digest()
    truth = _kept.get(key)
    if truth is None:
        truth = _read(ground_truth)
        _kept.put(key, len(ground_truth), truth)
    return truth


def _read(ground_truth: str) -> Asserts | Stdio:
    try:
        data = json.loads(ground_truth)
    except (ValueError, RecursionError) as err:
        raise GroundTruthError(f"it is not JSON: {err}") from None
    if not isinstance(data, dict):
        raise GroundTruthError(f"a JSON object is expected, not a {type(data).__name__}")
    readers = {"humaneval": _humaneval, "asserts": _asserts, "stdio": _stdio}
    kind = data.get("kind")
    if kind not in readers:
        raise GroundTruthError(f"kind {kind!r} is none of {', '.join(readers)}")
    return readers[kind](data)


def _text(data: Mapping[str, Any], key: str, default: str | None = None) -> str:
    value = data.get(key, default)
    if value is None:
        value = default
    if not isinstance(value, str):
        raise GroundTruthError(f"{key!r} must be text, not {type(value).__name__}")
    return value


def _humaneval(data: Mapping[str, Any]) -> Asserts:
    prompt, entry = _text(data, "prompt"), _text(data, "entry_point")
    test = _parse(_text(data, "test"), "test")
    if "check" not in syntax.bound(test):
        raise GroundTruthError("'test' defines no function check(candidate)")
    if not entry.isidentifier():
        raise GroundTruthError(f"entry_point {entry!r} is not a name")
    call = ast.parse(f"check({entry})")
    whole = ast.Module([*test.body, *call.body], [])
    _require_sound(whole, entry)
    wanted = syntax.free(test)
    helpers = _helpers(prompt, entry, wanted)
    source = f"{syntax.explained(test)}\n{ast.unparse(call)}\n"
    taken = _taken(whole, wanted | {entry}, entry)
    return Asserts(prompt, entry, helpers, taken, ((source, f"check({entry})"),))


def _asserts(data: Mapping[str, Any]) -> Asserts:
    tests, setup = data.get("tests"), _text(data, "setup", "")
    if not isinstance(tests, list) or not tests or not all(isinstance(t, str) for t in tests):
        raise GroundTruthError("'tests' must be a list of at least one statement")
    before = _parse(setup, "setup")
    trees = [_parse(text, f"tests[{place}]") for place, text in enumerate(tests)]
    whole = ast.Module([*before.body, *(n for t in trees for n in t.body)], [])
    wanted = syntax.free(whole)
    entry = _text(data, "entry_point", "")
    if not _taken(whole, wanted, entry).answer:
        entry = entry or syntax.called_first(whole)
    if entry and entry not in wanted:
        if entry not in {n.id for n in ast.walk(whole) if isinstance(n, ast.Name)}:
            raise GroundTruthError(f"no test uses entry_point {entry!r}")
        wanted = wanted | {entry}
    taken = _taken(whole, wanted, entry)
    if not taken.answer:
        raise GroundTruthError("the tests use nothing of the answer's")
    _require_sound(whole, entry)
    sources = [syntax.explained(tree) for tree in trees]
    shown = zip(sources, (text.strip()[:_SHOWN] for text in tests), strict=True)
    first = [(syntax.explained(before), "the setup of the tests")] if setup else []
    return Asserts("", entry, (), taken, (*first, *shown))


def _taken(tests: ast.Module, wanted: set[str], entry: str) -> Taken:
    """Raises GroundTruthError for packages that are not there."""
    found = syntax.taken(tests, wanted, entry)
    if found.lacking:
        raise GroundTruthError(_no_package("the tests use", found.lacking[0]))
    return found


def _no_package(what: str, name: str) -> str:
    return f"{what} {name!r}: the sandbox has Python's standard library and no other package"


def _stdio(data: Mapping[str, Any]) -> Stdio:
    cases = data.get("cases")
    if not isinstance(cases, list) or not cases or not all(isinstance(c, dict) for c in cases):
        raise GroundTruthError("'cases' must be a list of at least one {input, output}")
    return Stdio(tuple((_text(c, "input", ""), _text(c, "output")) for c in cases))


def _parse(source: str, what: str) -> ast.Module:
    try:
        return ast.parse(source.replace("\r\n", "\n"))
    except (SyntaxError, ValueError, RecursionError) as err:
        raise GroundTruthError(f"{what} is not Python: {err}") from None


def _require_sound(tests: ast.Module, entry: str) -> None:
    """Raise GroundTruthError for tests that check nothing, or something else than the answer."""
    if not syntax.reaches_assert(tests):
        raise GroundTruthError(
            "running the tests reaches no assert: a function of theirs has to be called, and "
            "neither a test runner nor `if __name__ == '__main__'` is there to do it"
        )
    if entry and syntax.binds_outside(tests, entry):
        raise GroundTruthError(f"the setup or the tests define entry_point {entry!r} themselves")


def _helpers(prompt: str, entry: str, wanted: set[str]) -> tuple[str, ...]:
    """The prompt itself, if the tests use what it defines beside the function asked for.

    From the answer these helpers could be anything, such as a distance that is always 0.
    """
    for source in (prompt, prompt.rstrip() + "\n    pass\n"):
        try:
            tree = ast.parse(source)
        except SyntaxError:
            continue
        if lacking := syntax.lacking_imports(tree):
            raise GroundTruthError(_no_package("the prompt imports", lacking[0]))
        return (source,) if (syntax.bound(tree) - {entry}) & wanted else ()
    return ()
