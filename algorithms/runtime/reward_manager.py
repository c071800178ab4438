"""verl's reward loop, answered by our registry of verifiers.

The reward loop asks for one sample at a time; calls that arrive together are verified as a batch,
since a batch of Lean proofs costs little more than one. A batch does not wait for the one before
it: while slow answers are judged, those of samples that are generated meanwhile are judged too.
"""

from __future__ import annotations

import asyncio
from typing import Any

from verl import DataProto
from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase

import rewards
from rewards.verl_score import options_of

BATCH_WINDOW_SECONDS = 0.05


class VerifierRewardManager(RewardManagerBase):
    """Scores a response by the verifier that its row names.

    The verifier is ``reward_model.style`` of the row. Where that is absent, "rule" or "model", as
    in verl's own data sets, it is that of the row's ``data_source``.
    """

    def __init__(self, config: Any, tokenizer: Any, compute_score: Any = None, **_: Any) -> None:
        super().__init__(config, tokenizer, compute_score)
        self._waiting: list[tuple[tuple, asyncio.Future]] = []
        self._batches: set[asyncio.Task] = set()

    async def run_single(self, data: DataProto) -> dict[str, Any]:
        item = data[-1]
        responses = item.batch["responses"]
        length = int(item.batch["attention_mask"][-responses.shape[-1] :].sum())
        text = self.tokenizer.decode(responses[:length], skip_special_tokens=True)
        row = item.non_tensor_batch
        spec = row["reward_model"]
        verifier = rewards.row_verifier(spec.get("style"), str(row.get("data_source", "")))
        options = options_of(verifier, row.get("extra_info") or {})
        verdict = await self._verify((verifier, text, spec["ground_truth"], options))
        info = {
            "acc": float(verdict.passed),
            "score": verdict.score,
            "reason": verdict.reason,
            "feedback": verdict.feedback,
            "verify_seconds": verdict.seconds,
            "row_uid": str(row.get("row_uid", "")),
        }
        return {"reward_score": verdict.score, "reward_extra_info": info}

    async def _verify(self, call: tuple) -> rewards.Verdict:
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
