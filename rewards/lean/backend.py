"""What every way to Lean has in common, and the choice among them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from rewards.lean.errors import LeanUnavailableError

logger = logging.getLogger(__name__)

#: Axioms that a proof may rest on: those of Lean's mathematics.
ALLOWED_AXIOMS = frozenset({"propext", "Quot.sound", "Classical.choice"})
BACKENDS = ("local", "kimina", "wasm")


@dataclass(frozen=True)
class Check:
    """One theorem with its proof, ready for Lean.

    preamble: imports and `open` lines of the data set.
    heartbeats: Lean's own deterministic limit (`maxHeartbeats`).
    seconds: limit from outside; processor time where it can be measured.
    """

    preamble: str
    source: str
    name: str
    heartbeats: int = 200_000
    seconds: float = 30.0


@dataclass(frozen=True)
class Outcome:
    """What Lean said.

    status: checked, timeout, memory, crash (the proof brought Lean down) or failed (the backend
        could not check, whatever the proof).
    errors: Lean's messages, one text each, with line and column in `Check.source`.
    axioms: names of the axioms found beneath the proof that are known to matter.
    """

    status: str
    errors: tuple[str, ...] = ()
    axioms: tuple[str, ...] = ()
    parsed: bool = True
    refused: str = ""
    seconds: float = 0.0


class LeanBackend(Protocol):
    """A way to Lean. `check` keeps the order and is safe to call from several threads."""

    name: str

    def check(self, checks: Sequence[Check]) -> list[Outcome]: ...

    def describe(self) -> str: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class _Way:
    available: Callable[[], str]  # "" if it is there, else what is missing and how to get it
    make: Callable[[], LeanBackend]


def _ways() -> dict[str, _Way]:
    from rewards.lean import kimina, local, wasm

    return {
        "local": _Way(local.missing, local.LocalBackend),
        "kimina": _Way(kimina.missing, kimina.KiminaBackend),
        "wasm": _Way(wasm.missing, wasm.WasmBackend),
    }


def choose(name: str = "auto") -> LeanBackend:
    """The backend of that name; `auto`: a local toolchain, else a Kimina server, else the embedded.

    The choice is logged. Raises LeanUnavailableError with the commands that provide a backend,
    ValueError on an unknown name.
    """
    if name != "auto" and name not in BACKENDS:
        raise ValueError(f"unknown Lean backend {name!r}; known: auto, {', '.join(BACKENDS)}")
    lacks: list[str] = []
    ways = _ways()
    for candidate in BACKENDS if name == "auto" else (name,):
        lack = ways[candidate].available()
        if not lack:
            backend = ways[candidate].make()
            logger.info("Lean 4: %s", backend.describe())
            return backend
        lacks.append(f"  {candidate}: {lack}")
    raise LeanUnavailableError("Lean 4 cannot be reached:\n" + "\n".join(lacks))
