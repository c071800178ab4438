"""The verifier `lean`: is this response a proof of that theorem?

A proof is valid when the statement is the one asked for, no forbidden word is in it, Lean reports
no error, the theorem is then in Lean's environment, and it rests on none but Lean's own axioms.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from rewards.lean.backend import ALLOWED_AXIOMS, Check, LeanBackend, Outcome, choose
from rewards.lean.errors import LeanError
from rewards.lean.lexer import UnfinishedError
from rewards.lean.statement import ResponseError, parse_statement, proof_of
from rewards.lean.words import forbidden_word
from rewards.verdict import Verdict

_FEEDBACK_CHARS = 2000
_CACHE_SIZE = 8192


class LeanVerifier:
    """Judges proofs. One instance serves a process; it is safe to use from several threads.

    Options of a call: forbid (names, such as tactics, that the proof may not use), allow_sorry
    (for skeletons), heartbeats (200,000), seconds (30 of processor time), max_chars (100,000),
    backend ("auto", "local", "kimina", "wasm").
    """

    # The keys of a data row's extra_info that are options of a call.
    OPTIONS = frozenset({"forbid", "allow_sorry", "heartbeats", "seconds", "backend", "max_chars"})
    # Lean is a process of its own, and its outcomes are remembered here.
    ISOLATION = "own"
    CACHEABLE = False

    def __init__(self) -> None:
        self._backends: dict[str, LeanBackend] = {}
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, Check], Outcome] = OrderedDict()

    def __call__(self, response: str, ground_truth: str, **extra: Any) -> Verdict:
        return self.verify_batch([(response, ground_truth, extra)])[0]

    def backend(self, name: str = "auto") -> LeanBackend:
        """The backend in use, chosen once. Raises LeanUnavailableError with install commands."""
        with self._lock:
            if name not in self._backends:
                self._backends[name] = choose(name)
            return self._backends[name]

    def describe(self, name: str = "auto") -> str:
        """Which backend checks, in words."""
        return self.backend(name).describe()

    def verify_batch(self, items: Sequence[tuple[str, str, Mapping[str, Any]]]) -> list[Verdict]:
        """Judge many (response, ground_truth, options); a theorem met twice is checked once."""
        verdicts: dict[int, Verdict] = {}
        checks: dict[int, tuple[str, Check]] = {}
        for place, (response, ground_truth, options) in enumerate(items):
            prepared = _prepare(response, ground_truth, options)
            if isinstance(prepared, Verdict):
                verdicts[place] = prepared
            else:
                checks[place] = (str(options.get("backend", "auto")), prepared)
        outcomes = self._check_all(list(checks.values()))
        for place, key in checks.items():
            allow_sorry = bool(items[place][2].get("allow_sorry", False))
            verdicts[place] = _verdict(outcomes[key], allow_sorry)
        return [verdicts[place] for place in range(len(items))]

    def _check_all(self, keys: Iterable[tuple[str, Check]]) -> dict[tuple[str, Check], Outcome]:
        known: dict[tuple[str, Check], Outcome] = {}
        by_backend: dict[str, list[Check]] = {}
        for key in dict.fromkeys(keys):
            with self._lock:
                outcome = self._known.get(key)
            if outcome is None:
                by_backend.setdefault(key[0], []).append(key[1])
            else:
                known[key] = replace(outcome, seconds=0.0)
        for name, checks in by_backend.items():
            for check, outcome in zip(checks, self._run(name, checks), strict=True):
                known[(name, check)] = outcome
                self._remember((name, check), outcome)
        return known

    def _run(self, name: str, checks: list[Check]) -> list[Outcome]:
        backend = self.backend(name)
        try:
            return backend.check(checks)
        except LeanError as err:
            return [Outcome("failed", refused=f"{backend.name}: {err}") for _ in checks]

    def _remember(self, key: tuple[str, Check], outcome: Outcome) -> None:
        if outcome.status != "checked":
            return
        with self._lock:
            self._known[key] = outcome
            while len(self._known) > _CACHE_SIZE:
                self._known.popitem(last=False)


def _prepare(response: str, ground_truth: str, options: Mapping[str, Any]) -> Check | Verdict:
    try:
        statement = parse_statement(ground_truth)
    except ValueError as err:
        return Verdict.failed("verifier_error", f"the ground truth cannot be read: {err}")
    try:
        proof = proof_of(response, statement, int(options.get("max_chars", 100_000)))
        word = forbidden_word(proof, _names(options), bool(options.get("allow_sorry", False)))
    except ResponseError as err:
        return Verdict.failed(err.reason, err.message)
    except UnfinishedError as err:
        return Verdict.failed("malformed", str(err))
    if word is not None:
        return Verdict.failed("forbidden", f"the proof uses {word}")
    return Check(
        preamble=statement.preamble,
        source=statement.with_proof(proof),
        name=statement.name,
        heartbeats=int(options.get("heartbeats", 200_000)),
        seconds=float(options.get("seconds", 30.0)),
    )


def _names(options: Mapping[str, Any]) -> list[str]:
    forbid = options.get("forbid", ())
    return [forbid] if isinstance(forbid, str) else [str(name) for name in forbid]


def _verdict(outcome: Outcome, allow_sorry: bool) -> Verdict:
    reason, feedback = _reason(outcome, allow_sorry)
    feedback = feedback[:_FEEDBACK_CHARS]
    if reason == "ok":
        return Verdict.ok(outcome.seconds, feedback)
    return Verdict.failed(reason, feedback, outcome.seconds)


def _reason(outcome: Outcome, allow_sorry: bool) -> tuple[str, str]:
    if outcome.status == "failed":
        return "verifier_error", outcome.refused
    if outcome.status == "timeout":
        return "timeout", "checking the proof took too long"
    if outcome.status == "memory":
        return "memory", "checking the proof took too much memory"
    if outcome.status == "crash":
        return "runtime_error", "Lean ended while it checked the proof"
    if outcome.errors:
        text = "\n".join(outcome.errors)
        beats = "(deterministic) timeout" in text
        return ("timeout" if beats else "compile_error"), text
    if outcome.refused:
        return "forbidden", outcome.refused
    allowed = ALLOWED_AXIOMS | ({"sorryAx"} if allow_sorry else frozenset())
    beyond = [name for name in outcome.axioms if name not in allowed]
    if beyond:
        return "forbidden", f"the proof rests on {', '.join(beyond)}"
    return "ok", ""
