"""A Kimina Lean Server, reached with `kimina-client`. Set `LEAN_SERVER_API_URL` to its address."""

from __future__ import annotations

import importlib
import importlib.util
import math
import os
import time
import typing
from collections.abc import Sequence
from typing import Any

from rewards.lean.backend import Check, Outcome
from rewards.lean.errors import LeanUnavailableError
from rewards.lean.transcript import outcome_of, text_of

URL_VARIABLE = "LEAN_SERVER_API_URL"
KEY_VARIABLE = "LEAN_SERVER_API_KEY"


def missing() -> str:
    """What is lacking to reach a server, with the command; empty if nothing is."""
    if importlib.util.find_spec("kimina_client") is None:
        return f'pip install "kimina-client==0.2.1" and set {URL_VARIABLE}'
    if not os.environ.get(URL_VARIABLE):
        return f"set {URL_VARIABLE} to the address of a Kimina Lean Server"
    return ""


class KiminaBackend:
    """Sends batches to a server, which keeps Lean with the imports loaded.

    url: the server's address, by default from the environment. batch: theorems a request.
    """

    name = "kimina"

    def __init__(self, url: str | None = None, batch: int = 8, workers: int = 8) -> None:
        self.url = url or os.environ.get(URL_VARIABLE)
        if not self.url:
            raise LeanUnavailableError(f"a Kimina Lean Server: {missing()}")
        self._library = _library()
        self._client = self._library.KiminaClient(
            api_url=self.url, api_key=os.environ.get(KEY_VARIABLE), n_retries=3
        )
        self._batch, self._workers = batch, workers

    def check(self, checks: Sequence[Check]) -> list[Outcome]:
        if not checks:
            return []
        started = time.monotonic()
        snippets = [
            self._library.Snippet(id=str(i), code=text_of(check)) for i, check in enumerate(checks)
        ]
        response = self._client.check(
            snippets,
            timeout=math.ceil(max(check.seconds for check in checks)),
            batch_size=self._batch,
            max_workers=self._workers,
            show_progress=False,
        )
        share = (time.monotonic() - started) / len(checks)
        answers = {result.id: result for result in response.results}
        return [_read(check, answers.get(str(i)), share) for i, check in enumerate(checks)]

    def describe(self) -> str:
        return f"kimina: the Kimina Lean Server at {self.url}"

    def close(self) -> None:
        """Nothing is kept open."""


def _library() -> Any:
    """kimina-client, imported. It takes `TypedDict` from `typing`, which pydantic refuses before
    Python 3.12, so it is shown the one of typing_extensions while it is imported.
    """
    try:
        import typing_extensions

        kept = typing.TypedDict
        typing.TypedDict = typing_extensions.TypedDict  # pyright: ignore
        try:
            return importlib.import_module("kimina_client")
        finally:
            typing.TypedDict = kept
    except ImportError as err:
        raise LeanUnavailableError('install it: pip install "kimina-client==0.2.1"') from err


def _read(check: Check, result: Any, share: float) -> Outcome:
    if result is None:
        return Outcome("failed", refused="the server left this theorem out of its answer")
    if result.error is not None:
        if "timed out" in result.error.lower():
            return Outcome("timeout", seconds=result.time or share)
        return Outcome("failed", refused=f"the server: {result.error}", seconds=share)
    answer: dict[str, Any] = dict(result.response or {})
    if "message" in answer:
        return Outcome("failed", refused=f"the server's Lean: {answer['message']}", seconds=share)
    return outcome_of(
        check, answer.get("messages") or [], len(answer.get("sorries") or []), result.time or share
    )
