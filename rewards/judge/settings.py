"""Where the judge is and what it may cost: from the environment, or given in code.

A data row cannot set these: its author would choose to whom the key is sent.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rewards.judge.errors import JudgeError

URL_VARIABLE = "VERL_PI_JUDGE_URL"
MODEL_VARIABLE = "VERL_PI_JUDGE_MODEL"
KEY_VARIABLE = "VERL_PI_JUDGE_KEY"
CALLS_VARIABLE = "VERL_PI_JUDGE_MAX_CALLS"
TOKENS_VARIABLE = "VERL_PI_JUDGE_MAX_TOKENS"
WORKERS_VARIABLE = "VERL_PI_JUDGE_CONCURRENCY"


@dataclass(frozen=True)
class Settings:
    """One judge.

    url: the address up to and with `/v1`. model: its name there. key: sent as the bearer token.
    max_calls, max_tokens: what this process may spend; a call that is answered from the cache
        costs nothing. workers: calls at once. retries: after 408, 409, 429, 5xx, a time-out or a
        lost connection, with growing pauses or as `Retry-After` says. folder: of the cache.
    """

    url: str
    model: str
    key: str = "none"
    max_calls: int = 10_000
    max_tokens: int = 20_000_000
    workers: int = 8
    retries: int = 4
    folder: Path | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Raises JudgeError where the address or the model is not set, or a number is none."""
        lacking = [name for name in (URL_VARIABLE, MODEL_VARIABLE) if not environment.get(name)]
        if lacking:
            raise JudgeError(
                f"the judge: set {' and '.join(lacking)}, such as "
                f"{URL_VARIABLE}=http://localhost:8000/v1 {MODEL_VARIABLE}=Qwen/Qwen3-8B "
                f"(and {KEY_VARIABLE}, where the server wants a key)"
            )
        return cls(
            url=environment[URL_VARIABLE],
            model=environment[MODEL_VARIABLE],
            key=environment.get(KEY_VARIABLE) or environment.get("OPENAI_API_KEY") or "none",
            max_calls=_number(environment, CALLS_VARIABLE, cls.max_calls),
            max_tokens=_number(environment, TOKENS_VARIABLE, cls.max_tokens),
            workers=max(1, _number(environment, WORKERS_VARIABLE, cls.workers)),
        )

    def cache_file(self) -> Path:
        """`verdicts.sqlite` in `folder`, by default in `$VERL_PI_HOME/judge`."""
        home = Path(os.environ.get("VERL_PI_HOME") or Path.home() / ".cache" / "verl-pi")
        return (self.folder or home / "judge") / "verdicts.sqlite"


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name) or str(default)
    if not text.isascii() or not text.isdigit():
        raise JudgeError(f"{name}={text!r} is not a whole number of zero or more")
    return int(text)
