"""verl's reward loop, answered by our registry of verifiers.

The reward loop asks for one sample at a time; calls that arrive together are verified as a batch,
since a batch of Lean proofs costs little more than one.
"""

from __future__ import annotations

import asyncio
from typing import Any

from verl import DataProto
from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase

import rewards

BATCH_WINDOW_SECONDS = 0.05


def verifier_options(name: str, extra_info: dict[str, Any]) -> dict[str, Any]:
    """What of a row's ``extra_info`` goes to the verifier: its ``OPTIONS``, or everything if it
    names none."""
    known = getattr(rewards.get_verifier(name), "OPTIONS", None)
    return {
        key: value
        for key, value in extra_info.items()
        if value is not None and (known is None or key in known)
    }


class VerifierRewardManager(RewardManagerBase):
    """Scores a response by the verifier that its row names.

    The verifier is ``reward_model.style`` of the row.
    """

    def __init__(self, config: Any, tokenizer: Any, compute_score: Any = None, **_: Any) -> None:
        super().__init__(config, tokenizer, compute_score)
        self._waiting: list[tuple[tuple, asyncio.Future]] = []
        self._flush: asyncio.Task | None = None

    async def run_single(self, data: DataProto) -> dict[str, Any]:
        item = data[-1]
        responses = item.batch["responses"]
        length = int(item.batch["attention_mask"][-responses.shape[-1] :].sum())
        text = self.tokenizer.decode(responses[:length], skip_special_tokens=True)
        spec = item.non_tensor_batch["reward_model"]
        options = verifier_options(spec["style"], item.non_tensor_batch.get("extra_info") or {})
        verdict = await self._verify((spec["style"], text, spec["ground_truth"], options))
        info = {
            "acc": float(verdict.passed),
            "score": verdict.score,
            "reason": verdict.reason,
            "feedback": verdict.feedback,
            "verify_seconds": verdict.seconds,
            "row_uid": str(item.non_tensor_batch.get("row_uid", "")),
        }
        return {"reward_score": verdict.score, "reward_extra_info": info}

    async def _verify(self, call: tuple) -> rewards.Verdict:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((call, future))
        if self._flush is None or self._flush.done():
            self._flush = asyncio.create_task(self._answer_waiting())
        return await future

    async def _answer_waiting(self) -> None:
        while self._waiting:
            await asyncio.sleep(BATCH_WINDOW_SECONDS)
            batch, self._waiting = self._waiting, []
            try:
                verdicts = await rewards.averify_batch([call for call, _ in batch])
            except Exception as error:  # every waiting caller must hear of it
                for _, future in batch:
                    future.set_exception(error)
                continue
            for (_, future), verdict in zip(batch, verdicts, strict=True):
                future.set_result(verdict)
