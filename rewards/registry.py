"""Verifiers by name.

A verifier is a callable `(response, ground_truth, **extra) -> Verdict`, or a class whose instances
are: a class is instantiated once per process, without arguments, when it is first used. It may
also have `verify_batch(items)` with items `(response, ground_truth, extra)`.

Register one with the decorator, with a lazy target, or from another package by an entry point::

    @register_verifier("exact")
    def exact(response, ground_truth, **extra): ...

    register_verifier("exact", "my_package.exact:exact")

    [project.entry-points."verl_pi.verifiers"]
    exact = "my_package.exact:exact"

Attributes of the callable or class, all optional, say how it is to be called: ISOLATION
("process": in the pool's worker processes, one call at a time; "own": in this process, from
several threads), SECONDS and MEMORY_MB (limits of a call in the pool), OPTIONS (names of the
options it knows), CACHEABLE (whether one answer's verdict is always the same).
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from rewards.errors import UnknownVerifierError, VerifierClashError
from rewards.verdict import Verdict

ENTRY_POINT_GROUP = "verl_pi.verifiers"
DEFAULT_SECONDS = 10.0
DEFAULT_MEMORY_MB = 1024.0
_T = TypeVar("_T", bound=Callable[..., Any])
_log = logging.getLogger(__name__)

_BUILT_IN = {
    "lean": "rewards.lean.verifier:LeanVerifier",
    "heuristic_lean": "rewards.heuristic_lean:HeuristicLean",
    "math": "rewards.math:MathVerifier",
    "verl_math": "rewards.verl_scorers:VerlMath",
    "verl_gsm8k": "rewards.verl_scorers:VerlGsm8k",
    "verl_math_dapo": "rewards.verl_scorers:VerlMathDapo",
    "verl_prime_math": "rewards.verl_scorers:VerlPrimeMath",
    "verl_math_verify": "rewards.verl_scorers:VerlMathVerify",
    "exact": "rewards.text:ExactVerifier",
    "regex": "rewards.text:RegexVerifier",
    "graded": "rewards.graded:GradedVerifier",
    "code": "rewards.code.verifier:CodeVerifier",
    "tool_use": "rewards.tau_bench.verifier:ToolUseVerifier",
    "travel_planner": "rewards.travel_planner.verifier:TravelPlannerVerifier",
    "gem": "rewards.gem:GemVerifier",
    "reasoning_gym": "rewards.reasoning_gym:ReasoningGymVerifier",
    "judge": "rewards.judge:JudgeVerifier",
}
_targets: dict[str, str | Callable[..., Any]] = dict(_BUILT_IN)
_loaded: dict[str, Callable[..., Verdict]] = {}
_described: dict[str, Verifier] = {}
_lock = threading.RLock()
_entry_points_read = False


def _renew_lock() -> None:
    """In a forked process: the thread that may have held the lock is not there to give it back."""
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_renew_lock)


@dataclass(frozen=True)
class Verifier:
    """A verifier and how it wants to be called.

    source: the callable or the class. target: its "module:object" for a worker process, empty if
    a worker cannot import it. declared: whether it says itself how it is isolated.
    """

    name: str
    source: Callable[..., Any]
    target: str
    isolation: str
    declared: bool
    seconds: float
    memory_mb: float
    options: frozenset[str] | None
    cacheable: bool


@overload
def register_verifier(name: str) -> Callable[[_T], _T]: ...
@overload
def register_verifier(name: str, target: str) -> None: ...


def register_verifier(name: str, target: str | None = None) -> Any:
    """Register under `name`: a decorator, or with `target` ("module:object") at once and lazily.

    Raises VerifierClashError if another verifier has the name. The same one may be registered
    again, as happens when a module is imported twice.
    """
    if not name or name != name.strip():
        raise ValueError(f"a verifier's name must not be empty or padded: {name!r}")
    if target is not None:
        _check_target(name, target)
        _add(name, target)
        return None

    def decorate(verifier: _T) -> _T:
        _add(name, verifier)
        return verifier

    return decorate


def known_verifiers() -> list[str]:
    """All names, sorted, those of entry points included."""
    _read_entry_points()
    with _lock:
        return sorted(_targets)


def get_verifier(name: str) -> Callable[..., Verdict]:
    """The verifier of that name, imported and instantiated on first use.

    It is called in this process, unbounded; `rewards.verify` bounds it.
    Raises UnknownVerifierError with the known and nearest names.
    """
    with _lock:
        if name not in _loaded:
            _loaded[name] = instance_of(_source(name))
        return _loaded[name]


def describe_verifier(name: str) -> Verifier:
    """How the verifier of that name wants to be called; imported, not instantiated.

    Raises UnknownVerifierError with the known and nearest names.
    """
    source = _source(name)
    with _lock:
        known = _described.get(name)
        if known is None or known.source is not source:
            known = _described[name] = describe(name, source)
        return known


def describe(name: str, source: Callable[..., Any]) -> Verifier:
    """The same of a callable or a class that need not be registered. Warns if it is unbounded.

    Raises ValueError for an ISOLATION that is neither "process" nor "own".
    """
    declared = getattr(source, "ISOLATION", None)
    if declared not in (None, "process", "own"):
        raise ValueError(f'verifier {name!r}: ISOLATION={declared!r} is not "process" or "own"')
    target = importable(source)
    if not target and declared != "own":
        _log.warning(
            "verifier %r cannot be imported by a worker process (%s): it runs in this process, "
            "where neither its time nor its memory is bounded. Put it at the top level of a "
            "module, or declare ISOLATION = 'own' if it bounds itself",
            name,
            _identity(source),
        )
    isolation = (declared or "process") if target else "own"
    options = getattr(source, "OPTIONS", None)
    return Verifier(
        name=name,
        source=source,
        target=target,
        isolation=isolation,
        declared=declared is not None,
        seconds=float(getattr(source, "SECONDS", DEFAULT_SECONDS)),
        memory_mb=float(getattr(source, "MEMORY_MB", DEFAULT_MEMORY_MB)),
        options=None if options is None else frozenset(options),
        cacheable=bool(getattr(source, "CACHEABLE", bool(target))),
    )


def importable(source: Callable[..., Any]) -> str:
    """Its "module:object" if that names it in any process; otherwise empty."""
    module, name = getattr(source, "__module__", None), getattr(source, "__qualname__", None)
    if not module or not name or module == "__main__" or "<" in name:
        return ""
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return f"{module}:{name}" if found is source else ""


def resolve(target: str) -> Any:
    """The object named "module:object"; the object may be dotted."""
    module, _, attribute = target.partition(":")
    found: Any = importlib.import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part)
    return found


def instance_of(source: Any) -> Callable[..., Verdict]:
    """What is called: the callable, or an instance of the class."""
    made: Any = source() if inspect.isclass(source) else source
    return made


def nearest(name: str, known: list[str]) -> str:
    """A sentence with the most similar name, or nothing."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f" Did you mean {near[0]!r}?" if near else ""


def _add(name: str, target: str | Callable[..., Any]) -> None:
    with _lock:
        held = _targets.get(name)
        if held is not None and _identity(held) != _identity(target):
            raise VerifierClashError(
                f"verifier {name!r} is already {_identity(held)}; {_identity(target)} needs "
                "another name"
            )
        if held is None or not isinstance(target, str):
            _targets[name] = target


def _identity(target: str | Callable[..., Any]) -> str:
    if isinstance(target, str):
        return target
    return f"{target.__module__}:{getattr(target, '__qualname__', type(target).__qualname__)}"


def _check_target(name: str, target: str) -> None:
    module, _, attribute = target.partition(":")
    if not module or not attribute:
        raise ValueError(f"verifier {name!r}: {target!r} is not of the form module:object")


def _read_entry_points() -> None:
    global _entry_points_read
    with _lock:
        if _entry_points_read:
            return
        for point in entry_points(group=ENTRY_POINT_GROUP):
            register_verifier(point.name, point.value.replace(" ", ""))
        _entry_points_read = True


def entry_points(group: str) -> Any:
    # Slow to import, and needed once.
    from importlib import metadata

    return metadata.entry_points(group=group)


def _source(name: str) -> Callable[..., Any]:
    _read_entry_points()
    with _lock:
        if name not in _targets:
            known = sorted(_targets)
            raise UnknownVerifierError(
                f"no verifier is called {name!r}.{nearest(name, known)} Known: {', '.join(known)}"
            )
        target = _targets[name]
    return resolve(target) if isinstance(target, str) else target
