"""Verdicts on the answers to a data row, gathered into batches as they arrive.

A batch of Lean proofs costs little more than one. A batch does not wait for the one before it:
while slow answers are judged, those of samples that are generated meanwhile are judged too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from weakref import WeakKeyDictionary

import rewards
from rewards.verl_score import options_of

BATCH_WINDOW_SECONDS = 0.05
# (verifier, response, ground truth, options): an item of ``rewards.verify_batch``.
Call = tuple[str, str, str, dict[str, Any]]


def verifier_call(row: Mapping[str, Any], text: str) -> Call:
    """What is to be verified for the answer ``text`` to a data row.

    The verifier is ``reward_model.style`` of the row. Where that is absent, "rule" or "model", as
    in verl's own data sets, it is that of the row's ``data_source``.
    """
    spec = row["reward_model"]
    verifier = rewards.row_verifier(spec.get("style"), str(row.get("data_source", "")))
    return (verifier, text, spec["ground_truth"], options_of(verifier, row.get("extra_info") or {}))


def reward_info(verdict: rewards.Verdict, row: Mapping[str, Any]) -> dict[str, Any]:
    """What verl carries beside the score, as the run's records read it."""
    return {
        "acc": float(verdict.passed),
        "score": verdict.score,
        "reason": verdict.reason,
        "feedback": verdict.feedback,
        "verify_seconds": verdict.seconds,
        "row_uid": str(row.get("row_uid", "")),
    }


class VerdictQueue:
    """Calls that arrive within a moment are verified together. Of one event loop."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Call, asyncio.Future]] = []
        self._batches: set[asyncio.Task] = set()

    @classmethod
    def shared(cls) -> VerdictQueue:
        """The running event loop's own."""
        return _of_loop.setdefault(asyncio.get_running_loop(), cls())

    async def verify(self, call: Call) -> rewards.Verdict:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((call, future))
        if len(self._waiting) == 1:
            batch = asyncio.create_task(self._answer_waiting())
            self._batches.add(batch)  # the loop itself holds tasks weakly
            batch.add_done_callback(self._batches.discard)
        return await future

    async def _answer_waiting(self) -> None:
        await asyncio.sleep(BATCH_WINDOW_SECONDS)
        batch, self._waiting = self._waiting, []
        try:
            verdicts = await rewards.averify_batch([call for call, _ in batch])
        except Exception as error:  # every waiting caller must hear of it
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), verdict in zip(batch, verdicts, strict=True):
            if not future.done():
                future.set_result(verdict)


_of_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, VerdictQueue] = WeakKeyDictionary()
