"""What a ground truth of the verifier `code` asks for.

A JSON object of one of three kinds: `humaneval` (prompt, test, entry_point), `asserts` (tests,
setup, entry_point), `stdio` (cases of input and output). Tests are trusted, so they are parsed
here, once for each ground truth: every `assert` becomes a call that can say what was compared, and
the names that the tests take from the answer are found.
"""

from __future__ import annotations

import ast
import builtins
import functools
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_SHOWN = 300


class GroundTruthError(ValueError):
    """The ground truth is not of a form that this verifier knows."""


@dataclass(frozen=True)
class Asserts:
    """Tests that call the answer's functions.

    prompt: text that the answer may continue, empty if none. trusted: sources run before the
    tests, from the ground truth alone. names: what the tests take from the answer. modules: those
    of the standard library that the tests use without importing them. tests: (source, how to show
    it) in order.
    """

    prompt: str
    entry_point: str
    trusted: tuple[str, ...]
    names: tuple[str, ...]
    modules: tuple[str, ...]
    tests: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Stdio:
    """Cases of (standard input, expected standard output)."""

    cases: tuple[tuple[str, str], ...]


@functools.lru_cache(maxsize=2048)
def read(ground_truth: str) -> Asserts | Stdio:
    """The ground truth of this text. Raises GroundTruthError."""
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
    if "check" not in _bound(test):
        raise GroundTruthError("'test' defines no function check(candidate)")
    if not entry.isidentifier():
        raise GroundTruthError(f"entry_point {entry!r} is not a name")
    call = ast.parse(f"check({entry})")
    _require_sound(ast.Module([*test.body, *call.body], []), entry)
    wanted = _free(test)
    helpers = _helpers(prompt, entry, wanted)
    source = f"{_explained(test)}\n{ast.unparse(call)}\n"
    names, modules = _split(test, wanted | {entry})
    return Asserts(prompt, entry, helpers, names, modules, ((source, f"check({entry})"),))


def _asserts(data: Mapping[str, Any]) -> Asserts:
    tests, setup = data.get("tests"), _text(data, "setup", "")
    if not isinstance(tests, list) or not tests or not all(isinstance(t, str) for t in tests):
        raise GroundTruthError("'tests' must be a list of at least one statement")
    trees = [_parse(text, f"tests[{place}]") for place, text in enumerate(tests)]
    whole = ast.Module([*_parse(setup, "setup").body, *(n for t in trees for n in t.body)], [])
    names, modules = _split(whole, _free(whole))
    entry = _text(data, "entry_point", "") or ("" if names else _called_first(whole))
    if entry and entry not in names:
        if entry not in {n.id for n in ast.walk(whole) if isinstance(n, ast.Name)}:
            raise GroundTruthError(f"no test uses entry_point {entry!r}")
        names = (*names, entry)
    if not names:
        raise GroundTruthError("the tests use nothing of the answer's")
    _require_sound(whole, entry)
    shown = [(_explained(t), text.strip()[:_SHOWN]) for t, text in zip(trees, tests, strict=True)]
    before = [(_explained(_parse(setup, "setup")), "the setup of the tests")] if setup else []
    return Asserts("", entry, (), names, modules, (*before, *shown))


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


def _helpers(prompt: str, entry: str, wanted: set[str]) -> tuple[str, ...]:
    """The prompt itself, if the tests use what it defines beside the function asked for.

    From the answer these helpers could be anything, such as a distance that is always 0.
    """
    for source in (prompt, prompt.rstrip() + "\n    pass\n"):
        try:
            tree = ast.parse(source)
        except SyntaxError:
            continue
        return (source,) if (_bound(tree) - {entry}) & wanted else ()
    return ()


def _bound(tree: ast.AST) -> set[str]:
    """Every name that the code binds anywhere: assigned, defined, imported, or a parameter."""
    return {name for node in ast.walk(tree) for name in _binds(node)}


def _binds(node: ast.AST) -> set[str]:
    """The names that this node itself binds."""
    if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        return {node.id}
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.arg):
        return {node.arg}
    if isinstance(node, ast.ExceptHandler) and node.name:
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {(a.asname or a.name).partition(".")[0] for a in node.names}
    return set()


def _require_sound(tests: ast.Module, entry: str) -> None:
    """Raise GroundTruthError for tests that check nothing, or something else than the answer."""
    run = _run(tests.body)
    if not any(isinstance(node, ast.Assert) for node in run):
        raise GroundTruthError(
            "running the tests reaches no assert: a function of theirs has to be called, and "
            "neither a test runner nor `if __name__ == '__main__'` is there to do it"
        )
    outermost = list(_outside_functions(tests.body))
    if entry and any(entry in _binds(node) for node in outermost):
        raise GroundTruthError(f"the setup or the tests define entry_point {entry!r} themselves")


def _run(body: list[ast.stmt]) -> list[ast.AST]:
    """What may run: outside functions, and in functions and methods that are mentioned there."""
    functions: dict[str, list[ast.stmt]] = {}
    for node in (n for statement in body for n in ast.walk(statement)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            functions.setdefault(node.name, []).extend(node.body)
    found = list(_outside_functions(body))
    for node in found:  # grows while it is read
        name = getattr(node, "id", getattr(node, "attr", ""))
        if isinstance(node, ast.Name | ast.Attribute) and name in functions:
            found.extend(_outside_functions(functions.pop(name)))
    return found


def _outside_functions(body: list[ast.stmt]) -> Iterator[ast.AST]:
    """All nodes but those in functions, in classes and behind a look at `__name__`."""
    for statement in body:
        open_: list[ast.AST] = [statement]
        while open_:
            node = open_.pop()
            yield node
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                open_.extend(node.decorator_list)
            elif isinstance(node, ast.If) and "__name__" in _names(node.test):
                open_.extend(node.orelse)
            else:
                open_.extend(ast.iter_child_nodes(node))


def _names(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def _free(tree: ast.AST) -> set[str]:
    """Names that the code uses and neither binds nor has from Python itself."""
    return _names(tree) - _bound(tree) - set(dir(builtins))


def _called_first(tree: ast.AST) -> str:
    """The function that an `assert` calls, for a task whose function is named like a built-in."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            calls = [n.func for n in ast.walk(node.test) if isinstance(n, ast.Call)]
            names = [f.id for f in calls if isinstance(f, ast.Name)]
            if names:
                return names[0]
    return ""


def _split(tree: ast.AST, free: set[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(names from the answer, modules): `math` in `math.isclose` is not the answer's to define."""
    owners = {
        node.value.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
    modules = {name for name in free & owners if name in sys.stdlib_module_names}
    return tuple(sorted(free - modules)), tuple(sorted(modules))


def _explained(tree: ast.Module) -> str:
    return ast.unparse(ast.fix_missing_locations(_Explain().visit(tree)))


class _Explain(ast.NodeTransformer):
    """`assert a == b` → `__verl_pi_equal__(a, b, text)`, `assert a` → `__verl_pi_holds__(…)`."""

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        shown = ast.Constant(ast.unparse(ast.Assert(node.test))[:_SHOWN])
        test = node.test
        if isinstance(test, ast.Compare) and [type(op) for op in test.ops] == [ast.Eq]:
            name, arguments = "__verl_pi_equal__", [test.left, test.comparators[0], shown]
        else:
            name, arguments = "__verl_pi_holds__", [test, shown]
        return ast.Expr(ast.Call(ast.Name(name, ast.Load()), arguments, []))
