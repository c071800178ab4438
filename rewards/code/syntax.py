"""What the tests of a ground truth say of themselves, read from their syntax.

Which names they take from the answer and which not, whether they reach an assertion, and the same
tests with every `assert` as a call that can say what was compared.
"""

from __future__ import annotations

import ast
import builtins
import sys
from collections.abc import Iterator
from dataclasses import dataclass

_SHOWN = 300
#: What tests put around a result or use to write down the expected one.
_HELPERS = {
    **dict.fromkeys(
        ("Counter", "OrderedDict", "defaultdict", "deque", "namedtuple"), "collections"
    ),
    **dict.fromkeys(("isclose", "fabs", "sqrt", "floor", "ceil", "pi", "inf", "nan"), "math"),
    **dict.fromkeys(("isnan", "isinf", "prod"), "math"),
    **dict.fromkeys(("permutations", "combinations", "product", "chain"), "itertools"),
    **dict.fromkeys(("deepcopy",), "copy"),
    **dict.fromkeys(("reduce", "partial", "cmp_to_key"), "functools"),
    **dict.fromkeys(("datetime", "date", "timedelta", "timezone"), "datetime"),
    "Fraction": "fractions",
    "Decimal": "decimal",
}
#: Packages that tests use without an import, by the names that everyone gives them.
_PACKAGES = {"np": "numpy", "pd": "pandas", "plt": "matplotlib"} | {
    name: name for name in ("numpy", "pandas", "pytest", "scipy", "sympy", "torch")
}


def bound(tree: ast.AST) -> set[str]:
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


def reaches_assert(tests: ast.Module) -> bool:
    """Whether running them from top to bottom may come to an `assert`."""
    return any(isinstance(node, ast.Assert) for node in _run(tests.body))


def binds_outside(tests: ast.Module, name: str) -> bool:
    """Whether they bind `name` outside functions and classes."""
    return any(name in _binds(node) for node in _outside_functions(tests.body))


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


def free(tree: ast.AST) -> set[str]:
    """Names that the code uses and neither binds nor has from Python itself."""
    return _names(tree) - bound(tree) - set(dir(builtins))


def called_first(tree: ast.AST) -> str:
    """The function that an `assert` calls, for a task whose function is named like a built-in."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            calls = [n.func for n in ast.walk(node.test) if isinstance(n, ast.Call)]
            names = [f.id for f in calls if isinstance(f, ast.Name)]
            if names:
                return names[0]
    return ""


@dataclass(frozen=True)
class Taken:
    """Where the names come from that tests use without binding them.

    answer: names that it defines. modules: of the standard library. helpers: (name, module) of what
    that library defines. lacking: packages that are not there.
    """

    answer: tuple[str, ...]
    modules: tuple[str, ...]
    helpers: tuple[tuple[str, str], ...]
    lacking: tuple[str, ...]


def taken(tests: ast.Module, wanted: set[str], entry: str) -> Taken:
    """`math` in `math.isclose` is not the answer's to define, nor `isclose` around its result.

    wanted: free names of the tests. entry: the function asked for, empty if that is not said.
    """
    owners = {
        node.value.id
        for node in ast.walk(tests)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    } - {entry}
    modules = {name for name in wanted & owners if name in sys.stdlib_module_names}
    lacking = {_PACKAGES[name] for name in wanted & owners & set(_PACKAGES)}
    known = (wanted & set(_HELPERS)) - modules - {entry}
    own = wanted - known - modules
    helpers = {name for name in known if entry or _stands_beside(tests, name, own)}
    answer = wanted - modules - helpers
    return Taken(
        tuple(sorted(answer)),
        tuple(sorted(modules)),
        tuple((name, _HELPERS[name]) for name in sorted(helpers)),
        tuple(sorted(lacking)),
    )


def _stands_beside(tests: ast.Module, name: str, own: set[str]) -> bool:
    """Whether each statement with `name` also has one of the answer's names: `Counter(f(x))` does,
    `assert gcd(4, 6) == 2` and `c = Counter()` do not, and may be what is asked for."""
    found = [_names(statement) for statement in tests.body]
    return all(names & own for names in found if name in names)


def lacking_imports(source: ast.Module) -> list[str]:
    """Modules outside the standard library that it imports first thing, whatever happens."""
    found = []
    for node in source.body:
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.append(node.module)
    return [name for name in found if name.partition(".")[0] not in sys.stdlib_module_names]


def explained(tree: ast.Module) -> str:
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
