"""verl's own scorers of mathematics as verifiers: `verl_math`, `verl_gsm8k`, `verl_math_dapo`,
`verl_prime_math` (verl's choice for NuminaMath's sources) and `verl_math_verify`.

The scoring is verl's, unchanged. Three things around it are not:

- A scorer's file is loaded by its path in the installed verl, without `verl/__init__`, which
  imports torch and Ray: seconds and about a gigabyte in a process that compares short texts.
- verl bounds prime_math and math_verify by starting processes of its own. Here each call is
  already in a process that can be ended, and that process may not start others.
- prime_math evaluates the answer as Python, in a process that judges other answers later. Here
  only arithmetic is evaluated.
"""

from __future__ import annotations

import ast
import importlib.util
import operator
import re
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from rewards.errors import RewardsError
from rewards.verdict import Verdict

_PACKAGE = "verl.utils.reward_score"
_MAX_CHARS = 1_000_000


class ScorerUnavailableError(RewardsError, ImportError):
    """verl, or a package that its scorer needs, is not installed. The message has the command."""


class _Scorer:
    """A scorer of verl, in the file `module`. Option of every call: seconds (30)."""

    OPTIONS: frozenset[str] = frozenset({"seconds"})
    ISOLATION = "process"
    SECONDS = 30.0
    MEMORY_MB = 1024
    CACHEABLE = True
    module = ""

    def __init__(self) -> None:
        load_scorer(self.module)

    def __call__(self, response: str, ground_truth: str, **extra: Any) -> Verdict:
        begun = time.perf_counter()
        extra.pop("seconds", None)  # the pool's
        if len(response) > _MAX_CHARS:
            return Verdict.failed("malformed", "the response is too long")
        if not ground_truth.strip():
            return Verdict.failed("verifier_error", "the ground truth is empty")
        if not response.strip():
            return Verdict.failed("no_answer", "the response is empty")
        refused = self._refused(response)
        if refused is not None:
            return refused
        score = score_of(self._score(response, ground_truth, **extra))
        seconds = time.perf_counter() - begun
        if score >= 1.0:
            return Verdict.ok(seconds)
        said = f"verl's {self.module} scorer does not accept the answer"
        return Verdict.failed("wrong_answer", said, seconds, score=score)

    def _score(self, response: str, ground_truth: str, **extra: Any) -> Any:
        return load_scorer(self.module).compute_score(response, ground_truth, **extra)

    def _refused(self, response: str) -> Verdict | None:
        return None


class VerlMath(_Scorer):
    r"""verl's `math_reward`, its choice for MATH: the last ``\boxed{}`` as normalised text."""

    module = "math_reward"


class VerlGsm8k(_Scorer):
    """verl's `gsm8k`. Option method: "strict" (after ``####``) or "flexible" (last number)."""

    OPTIONS = frozenset({"method", "seconds"})
    module = "gsm8k"

    def __call__(self, response: str, ground_truth: str, **extra: Any) -> Verdict:
        if extra.get("method", "strict") not in ("strict", "flexible"):
            raise ValueError(f'method={extra["method"]!r} is neither "strict" nor "flexible"')
        return super().__call__(response, ground_truth, **extra)


class VerlMathDapo(_Scorer):
    """verl's `math_dapo`: what follows "Answer:" in the last 300 characters, its -1 being 0 here.

    Option strict_box_verify (False): the last box, as it is written.
    """

    OPTIONS = frozenset({"strict_box_verify", "seconds"})
    module = "math_dapo"


class VerlPrimeMath(_Scorer):
    """verl's `prime_math`: normalised text, then sympy.

    It hands the answer to Python's `eval`, by itself and by sympy's parser. An answer with Python
    in it is `forbidden` before that; `eval` is replaced by arithmetic, and the parser is kept
    from what the LaTeX may have been turned into.
    """

    module = "prime_math"

    def __init__(self) -> None:
        super().__init__()
        _disarm(load_scorer(self.module))

    def _refused(self, response: str) -> Verdict | None:
        found = _python_in(load_scorer(self.module).match_answer(response)[1])
        if not found:
            return None
        return Verdict.failed("forbidden", f"the answer has {found!r}, which is no formula")


class VerlMathVerify(_Scorer):
    """verl's `math_verify`: math-verify on the whole response."""

    module = "math_verify"

    def _score(self, response: str, ground_truth: str, **extra: Any) -> Any:
        # What verl's compute_score runs in a process of its own, frame included. Its limits are
        # math-verify's alarms, which work here: a worker judges in its main thread.
        boxed = f"\\boxed{{{ground_truth}}}"
        return load_scorer(self.module)._verify_in_subprocess(boxed, response)


# `\\in` is LaTeX, and `in` at the end stands for inches.
_PYTHON = re.compile(
    r"__|:=|[\"'`]|\.\s*[^\W\d]|(?<!\\)\bin\b(?![\s.}]*$)|\b(?:for|import|lambda|eval|exec|compile"
    r"|open|getattr|setattr|delattr|globals|locals|vars|breakpoint|input|exit|quit|help|type|super"
    r"|classmethod|sympify|parse_expr)\b"
)
_OPERATIONS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}


def _python_in(text: str) -> str:
    """What in `text` is Python and no formula; empty if nothing is."""
    # Python reads names in NFKC too.
    found = _PYTHON.search(unicodedata.normalize("NFKC", text))
    return found.group() if found else ""


def _disarm(scorer: ModuleType) -> None:
    """Take `eval` from prime_math's modules, and Python from the parser that they call."""
    grader = sys.modules[f"{scorer.__name__}.grader"]
    if "eval" in vars(grader):
        return
    vars(grader)["eval"] = _arithmetic
    vars(grader)["parse_expr"] = _formulas_only(vars(grader)["parse_expr"])
    parser = vars(scorer)["sympy_parser"]
    vars(scorer)["sympy_parser"] = SimpleNamespace(
        **{**vars(parser), "parse_expr": _formulas_only(parser.parse_expr)}
    )


def _formulas_only(parse: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(text: str, **options: Any) -> Any:
        found = _python_in(text)
        if found:
            raise ValueError(f"{found!r} is no part of a formula")
        return parse(text, **options)

    return guarded


def _arithmetic(text: str) -> Any:
    """The value of numbers, operators and lists. Raises ValueError or SyntaxError at all else."""
    return _value(ast.parse(text.strip(), mode="eval").body)


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        return _OPERATIONS[type(node.op)](_number(node.left), _number(node.right))
    if isinstance(node, ast.UnaryOp) and type(node.op) in _OPERATIONS:
        return _OPERATIONS[type(node.op)](_number(node.operand))
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(part) for part in node.elts]
    raise ValueError(f"{type(node).__name__} is no arithmetic")


def _number(node: ast.expr) -> int | float:
    value = _value(node)
    if isinstance(value, list):
        raise ValueError("a list is no number")
    return value


def score_of(result: Any) -> float:
    """A scorer's answer (number, bool, dict with "score", tuple) as a score in [0, 1]."""
    if isinstance(result, dict):
        result = result["score"]
    if isinstance(result, tuple | list):
        result = result[0]
    return min(max(float(result), 0.0), 1.0)


@cache
def load_scorer(name: str) -> ModuleType:
    """The module `verl.utils.reward_score.<name>`, without importing verl's packages around it.

    Raises ScorerUnavailableError with a pip command where verl or a dependency is missing.
    """
    if f"{_PACKAGE}.{name}" in sys.modules and name != "prime_math":
        return sys.modules[f"{_PACKAGE}.{name}"]
    folder = _folder()
    path = folder / name / "__init__.py"
    packages = [str(folder / name)] if path.exists() else None
    if packages is None:
        path = folder / f"{name}.py"
    alias = f"_verl_pi_{name}"
    spec = importlib.util.spec_from_file_location(alias, path, submodule_search_locations=packages)
    if spec is None or spec.loader is None or not path.exists():
        raise ScorerUnavailableError(f"verl has no scorer {name}: pip install 'verl==0.9.1'")
    module = importlib.util.module_from_spec(spec)
    sys.modules[alias] = module
    try:
        with _without_verl():
            spec.loader.exec_module(module)
    except ImportError as err:
        sys.modules.pop(alias, None)
        raise ScorerUnavailableError(
            f"verl's {name} scorer needs {err.name}: pip install 'verl[verl-core]==0.9.1' "
            f"'math-verify[antlr4_9_3]==0.9.0'"
        ) from err
    return module


def _folder() -> Path:
    spec = importlib.util.find_spec("verl")
    if spec is None or not spec.submodule_search_locations:
        raise ScorerUnavailableError("verl is not installed: pip install 'verl[verl-core]==0.9.1'")
    return Path(spec.submodule_search_locations[0]) / "utils" / "reward_score"


@contextmanager
def _without_verl() -> Iterator[None]:
    """While a scorer is loaded, its one import from verl leads here: the limit of time.

    It stands for `verl.utils.py_functional`, which pulls in torch and Ray, and whose
    `timeout_limit` starts a process for each comparison. What was imported before is put back.
    """
    names = ("verl", "verl.utils", "verl.utils.py_functional")
    before = {name: sys.modules.get(name) for name in names}
    for name in names:
        stand_in = ModuleType(name)
        stand_in.__path__ = []
        sys.modules[name] = stand_in
    vars(sys.modules[names[-1]])["timeout_limit"] = _unlimited
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module


def _unlimited(seconds: float, use_signals: bool = False) -> Callable[[Any], Any]:
    """In place of verl's decorator of the same form: the call as a whole is bounded already."""
    return lambda function: function
