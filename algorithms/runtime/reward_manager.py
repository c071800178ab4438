"""verl's reward loop, answered by our registry of verifiers.

The reward loop asks for one sample at a time; calls that arrive together are verified as a batch.
"""

from __future__ import annotations

from typing import Any

from verl import DataProto
from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase

from algorithms.runtime.judging import VerdictQueue, reward_info, verifier_call


class VerifierRewardManager(RewardManagerBase):
    """Scores a response by the verifier that its row names (``judging.verifier_call``)."""

    def __init__(self, config: Any, tokenizer: Any, compute_score: Any = None, **_: Any) -> None:
        super().__init__(config, tokenizer, compute_score)
        self._verdicts = VerdictQueue()

    async def run_single(self, data: DataProto) -> dict[str, Any]:
        item = data[-1]
        responses = item.batch["responses"]
        length = int(item.batch["attention_mask"][-responses.shape[-1] :].sum())
        text = self.tokenizer.decode(responses[:length], skip_special_tokens=True)
        row = item.non_tensor_batch
        verdict = await self._verdicts.verify(verifier_call(row, text))
        return {"reward_score": verdict.score, "reward_extra_info": reward_info(verdict, row)}
