"""A Kimina Lean Server, reached over HTTP. Set `LEAN_SERVER_API_URL` to its address."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from rewards.lean.backend import Check, Outcome
from rewards.lean.errors import LeanUnavailableError
from rewards.lean.transcript import outcome_of, text_of

URL_VARIABLE = "LEAN_SERVER_API_URL"
KEY_VARIABLE = "LEAN_SERVER_API_KEY"
_TRIES = 3
_SECONDS_BETWEEN_TRIES = 1.0
# The server queues a request behind others; the limit on a proof itself is the server's to keep.
_QUEUE_SECONDS = 600.0


def missing() -> str:
    """What is lacking to reach a server, with the command; empty if nothing is."""
    if not os.environ.get(URL_VARIABLE):
        return f"set {URL_VARIABLE} to the address of a Kimina Lean Server"
    return ""


class KiminaBackend:
    """Sends batches to a server, which keeps Lean with the imports loaded.

    url: the server's address, by default from the environment. batch: theorems a request.
    workers: requests at once.
    """

    name = "kimina"

    def __init__(self, url: str | None = None, batch: int = 8, workers: int = 8) -> None:
        found = url or os.environ.get(URL_VARIABLE)
        if not found:
            raise LeanUnavailableError(f"a Kimina Lean Server: {missing()}")
        self.url = found.rstrip("/")
        key = os.environ.get(KEY_VARIABLE)
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._batch, self._workers = batch, workers

    def check(self, checks: Sequence[Check]) -> list[Outcome]:
        batches = [checks[i : i + self._batch] for i in range(0, len(checks), self._batch)]
        with (
            httpx.Client(headers=self._headers, timeout=_QUEUE_SECONDS) as client,
            ThreadPoolExecutor(self._workers) as threads,
        ):
            answers = threads.map(lambda batch: self._check_batch(client, batch), batches)
            return [outcome for batch in answers for outcome in batch]

    def describe(self) -> str:
        return f"kimina: the Kimina Lean Server at {self.url}"

    def close(self) -> None:
        """Nothing is kept open."""

    def _check_batch(self, client: httpx.Client, checks: Sequence[Check]) -> list[Outcome]:
        started = time.monotonic()
        body = {
            "snippets": [{"id": str(i), "code": text_of(check)} for i, check in enumerate(checks)],
            "timeout": math.ceil(max(check.seconds for check in checks)),
            "reuse": True,
        }
        try:
            answers = _results(self._post(client, body))
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as err:
            refusal = f"the server at {self.url} cannot be used: {type(err).__name__}: {err}"
            return [Outcome("failed", refused=refusal) for _ in checks]
        share = (time.monotonic() - started) / len(checks)
        return [_read(check, answers.get(str(i)), share) for i, check in enumerate(checks)]

    def _post(self, client: httpx.Client, body: dict[str, Any]) -> Any:
        for tried in range(1, _TRIES + 1):
            try:
                response = client.post(f"{self.url}/api/check", json=body)
                response.raise_for_status()
                return response.json()
            except (httpx.HTTPError, ValueError) as err:
                if tried == _TRIES or _is_our_fault(err):
                    raise
                time.sleep(_SECONDS_BETWEEN_TRIES * 2 ** (tried - 1))
        raise AssertionError("unreachable")


def _is_our_fault(err: Exception) -> bool:
    """A wrong key or address will not become right by asking again."""
    return isinstance(err, httpx.HTTPStatusError) and 400 <= err.response.status_code < 500


def _results(answer: Any) -> dict[str, dict[str, Any]]:
    return {str(result["id"]): result for result in answer["results"]}


def _read(check: Check, result: dict[str, Any] | None, share: float) -> Outcome:
    if result is None:
        return Outcome("failed", refused="the server left this theorem out of its answer")
    seconds = float(result.get("time") or share)
    error = result.get("error")
    if error is not None:
        if "timed out" in str(error).lower():
            return Outcome("timeout", seconds=seconds)
        return Outcome("failed", refused=f"the server: {error}", seconds=share)
    answer = result.get("response") or {}
    if "message" in answer:
        return Outcome("failed", refused=f"the server's Lean: {answer['message']}", seconds=share)
    return outcome_of(
        check, answer.get("messages") or [], len(answer.get("sorries") or []), seconds
    )
