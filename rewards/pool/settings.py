"""The pool's settings, read from the environment when a pool is made."""

from __future__ import annotations

import os
from dataclasses import dataclass

_PREFIX = "VERL_PI_"


@dataclass(frozen=True)
class Settings:
    """workers: processes. calls: judged by one before it is replaced. growth_mb: resident memory
    it may gain before that."""

    workers: int
    calls: int = 1000
    growth_mb: int = 256

    @property
    def growth_bytes(self) -> int:
        return self.growth_mb * 2**20

    @classmethod
    def from_environment(cls) -> Settings:
        """Raises ValueError for a setting that is no positive number."""
        processors = len(os.sched_getaffinity(0))
        return cls(
            workers=_number("VERL_PI_VERIFIER_WORKERS", min(processors, 8)),
            calls=_number("VERL_PI_VERIFIER_CALLS", cls.calls),
            growth_mb=_number("VERL_PI_VERIFIER_GROWTH_MB", cls.growth_mb),
        )


def signature() -> tuple[tuple[str, str], ...]:
    """All that is set for this package; verifiers may read it, so workers have to have the same."""
    return tuple(sorted(item for item in os.environ.items() if item[0].startswith(_PREFIX)))


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    if not text:
        return default
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{name}={text!r}: a whole number of at least 1 is needed")
    return int(text)
