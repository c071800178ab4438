"""Verifiers by name.

A verifier is a callable `(response, ground_truth, **extra) -> Verdict`, or a class whose instances
are: a class is instantiated once per process, without arguments, when it is first used. It may
also have `verify_batch(items)` with items `(response, ground_truth, extra)`, and then gets all its
answers of a batch at once.

Register one with the decorator, with a lazy target, or from another package by an entry point::

    @register_verifier("exact")
    def exact(response, ground_truth, **extra): ...

    register_verifier("exact", "my_package.exact:exact")

    [project.entry-points."verl_pi.verifiers"]
    exact = "my_package.exact:exact"
"""

from __future__ import annotations

import asyncio
import difflib
import importlib
import inspect
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, TypeVar, overload

from rewards.errors import UnknownVerifierError, VerifierClashError, VerifierContractError
from rewards.verdict import Verdict

ENTRY_POINT_GROUP = "verl_pi.verifiers"
Item = tuple[str, str, str, Mapping[str, Any]]
AnswerItem = tuple[str, str, Mapping[str, Any]]
_T = TypeVar("_T", bound=Callable[..., Any])

_BUILT_IN = {"lean": "rewards.lean.verifier:LeanVerifier"}
_targets: dict[str, str | Callable[..., Any]] = dict(_BUILT_IN)
_loaded: dict[str, Callable[..., Verdict]] = {}
_lock = threading.RLock()
_entry_points_read = False


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

    Raises UnknownVerifierError with the known and nearest names.
    """
    with _lock:
        if name not in _loaded:
            _loaded[name] = _load(name)
        return _loaded[name]


def verify(verifier: str, response: str, ground_truth: str, **extra: Any) -> Verdict:
    """Judge one answer. `extra` are the verifier's own options."""
    return verify_batch([(verifier, response, ground_truth, extra)])[0]


def verify_batch(items: Sequence[Item]) -> list[Verdict]:
    """Judge many `(verifier, response, ground_truth, extra)`; verdicts in their order."""
    verdicts: list[Verdict | None] = [None] * len(items)
    for name, places in _by_verifier(items).items():
        answers = [(items[i][1], items[i][2], items[i][3]) for i in places]
        for place, verdict in zip(places, _judge(name, answers), strict=True):
            verdicts[place] = verdict
    return [v for v in verdicts if v is not None]


async def averify_batch(items: Sequence[Item]) -> list[Verdict]:
    """The same without blocking the event loop: each verifier's share runs in a thread."""
    groups = _by_verifier(items)
    shares = await asyncio.gather(
        *(
            asyncio.to_thread(
                _judge, name, [(items[i][1], items[i][2], items[i][3]) for i in places]
            )
            for name, places in groups.items()
        )
    )
    verdicts: list[Verdict | None] = [None] * len(items)
    for places, share in zip(groups.values(), shares, strict=True):
        for place, verdict in zip(places, share, strict=True):
            verdicts[place] = verdict
    return [v for v in verdicts if v is not None]


def _by_verifier(items: Sequence[Item]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        groups.setdefault(item[0], []).append(place)
    return groups


def _judge(name: str, answers: list[AnswerItem]) -> list[Verdict]:
    verifier = get_verifier(name)
    batch = getattr(verifier, "verify_batch", None)
    if batch is not None:
        verdicts = list(batch(answers))
    else:
        verdicts = [verifier(response, truth, **extra) for response, truth, extra in answers]
    if len(verdicts) != len(answers) or not all(isinstance(v, Verdict) for v in verdicts):
        kinds = sorted({type(v).__name__ for v in verdicts})
        raise VerifierContractError(
            f"verifier {name!r} returned {len(verdicts)} × {kinds} for {len(answers)} answers; "
            "one rewards.Verdict per answer is expected"
        )
    return verdicts


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


def _load(name: str) -> Callable[..., Verdict]:
    _read_entry_points()
    if name not in _targets:
        near = difflib.get_close_matches(name, _targets, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UnknownVerifierError(
            f"no verifier is called {name!r}.{hint} Known: {', '.join(sorted(_targets))}"
        )
    target = _targets[name]
    found: Any = target
    if isinstance(target, str):
        module, _, attribute = target.partition(":")
        found = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    verifier: Any = found() if inspect.isclass(found) else found
    return verifier
