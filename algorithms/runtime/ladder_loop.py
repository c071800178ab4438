"""A row's ladder on verl's rollout server: the source ``ladder`` of the agent loop.

Sampler and judge of ``algorithms.retry.ladder``: what the server generated and the verifier said is
written to the stage's journal before it is used, and taken from there if it is asked for again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from typing import Any
from uuid import uuid4

from omegaconf import OmegaConf
from verl.experimental.agent_loop.agent_loop import AgentLoopOutput

from algorithms.retry.attempts import Attempt, Generation, Judgement, Ladder, Request, Task
from algorithms.retry.conversation import Continuation
from algorithms.retry.ladder import climb
from algorithms.retry.settings import LadderSettings
from algorithms.runtime import endpoint
from algorithms.runtime.journal import Journal, key_of, opened
from algorithms.runtime.judging import VerdictQueue, verifier_call
from algorithms.runtime.prompts import privileged_content
from algorithms.runtime.seeds import request_seed
from algorithms.runtime.stages import Sampling

NOT_ATTEMPTED = {
    "passed": False, "score": 0.0, "reason": "no_answer", "feedback": "", "verify_seconds": 0.0,
}  # fmt: skip


ABORTED = "aborted"


class GenerationAborted(RuntimeError):
    """The rollout server gave up an answer that nobody had called off."""


@lru_cache(maxsize=4)
def model_ends(path: str) -> frozenset[int]:
    """The tokens at which the model's own generation configuration ends."""
    from transformers import GenerationConfig

    try:
        ends = GenerationConfig.from_pretrained(path).eos_token_id
    except OSError:  # a model without one
        return frozenset()
    return frozenset([ends] if isinstance(ends, int) else ends or ())


@lru_cache(maxsize=4)
def continuation(tokenizer: Any, chat: str) -> Continuation:
    """One a process: it remembers what the chat template writes."""
    return Continuation(tokenizer, json.loads(chat))


class RowLadder:
    """The ladder of one data row, for one agent loop.

    Args:
        loop: verl's agent loop; its server manager, tokenizer and chat settings are used.
        defaults: sampling parameters that verl gives.
        seed: of the row; every attempt draws its own from it.
    """

    def __init__(
        self, loop: Any, row: Mapping[str, Any], sampling: Sampling, defaults: dict, seed: int
    ) -> None:
        assert sampling.ladder is not None
        self.loop, self.row, self.sampling = loop, row, sampling
        self.defaults, self.seed = defaults, seed
        self.settings = LadderSettings.of(sampling.ladder)
        chat = OmegaConf.to_container(OmegaConf.create(dict(loop.apply_chat_template_kwargs)))
        self.turn = continuation(loop.tokenizer, json.dumps(chat, sort_keys=True))
        self.model_path = str(loop.config.actor_rollout_ref.model.path)
        self.request_id = uuid4().hex  # one for all attempts: they go to the server that has them
        self.journal: Journal | None = None
        if sampling.journal:
            self.journal = opened(sampling.journal["folder"], sampling.journal["stage"])

    async def climb(self, prompt_ids: list[int]) -> Ladder:
        """All attempts at the row's task."""
        budget = self.row.get("token_budget")
        told = privileged_content(dict(self.row), self.settings.pi)
        task = Task(
            prompt_ids=tuple(prompt_ids),
            messages=tuple(dict(m) for m in self.row["raw_prompt"]),
            privileged=told,
            budget=None if budget is None else int(budget),
        )
        return await climb(task, self.settings, self._sample, self._judge, self.turn)

    # ------------------------------------------------------------------ answers

    async def _sample(self, request: Request) -> Generation:
        params = self._params(request)
        asked = self.sampling.endpoint or list(request.prompt_ids)
        said = list(request.messages) if self.sampling.endpoint else []
        key = key_of("answer", asked, said, {k: v for k, v in params.items() if k != "logprobs"})
        known = self.journal.get(key) if self.journal is not None else None
        if known is not None:
            return _generation(known)
        generation = await self._generate(request, params)
        if self.journal is not None:
            self.journal.put(key, asdict(generation))
        return generation

    def _params(self, request: Request) -> dict[str, Any]:
        temperature = request.temperature
        return {
            **self.defaults,
            "temperature": self.sampling.temperature if temperature is None else temperature,
            "top_p": self.sampling.top_p,
            "top_k": self.sampling.top_k,
            "max_tokens": request.max_tokens,
            # Learning by likelihood alone reads none: a collection does without.
            "logprobs": self.journal is None,
            "seed": request_seed(self.seed, self.settings.round, request.number),
        }

    async def _generate(self, request: Request, params: dict[str, Any]) -> Generation:
        if self.sampling.endpoint:
            told = Request(
                request.number, request.prompt_ids, request.messages, request.max_tokens,
                params["temperature"],
            )  # fmt: skip
            return await endpoint.answer(
                **self.sampling.endpoint, request=told, tokenizer=self.loop.tokenizer,
                top_p=params["top_p"], seed=params["seed"],
            )  # fmt: skip
        output = await self.loop.server_manager.generate(
            request_id=self.request_id, prompt_ids=list(request.prompt_ids), sampling_params=params
        )
        if output.stop_reason == ABORTED:
            raise GenerationAborted("the rollout server aborted a generation; start the run again")
        ids = tuple(int(i) for i in output.token_ids[: request.max_tokens])
        text = self.loop.tokenizer.decode(ids, skip_special_tokens=True)
        complete = bool(ids) and ids[-1] in self._ends()
        log_probs = tuple(float(p) for p in (output.log_probs or ())[: len(ids)])
        return Generation(ids, text, complete, log_probs)

    def _ends(self) -> set[int | None]:
        """Tokens that end an answer. A short one without any was cut by the server's own limit."""
        ends = {self.loop.tokenizer.eos_token_id, *model_ends(self.model_path)}
        return ends | {self.turn.closing_id} if self.settings.scheme == "retry" else ends

    # ------------------------------------------------------------------ verdicts

    async def _judge(self, text: str) -> Judgement:
        call = verifier_call(self.row, text)
        key = key_of("verdict", *call)
        known = self.journal.get(key) if self.journal is not None else None
        if known is not None:
            return Judgement(**known)
        verdict = await VerdictQueue.shared().verify(call)
        judgement = Judgement(
            verdict.passed, verdict.score, verdict.reason, verdict.feedback, verdict.seconds
        )
        # A verifier that failed may have failed for reasons of its own: ask again next time.
        if self.journal is not None and judgement.told:
            self.journal.put(key, asdict(judgement))
        return judgement


def _generation(known: dict[str, Any]) -> Generation:
    return Generation(
        tuple(known["token_ids"]), known["text"], known["complete"], tuple(known["log_probs"])
    )


def answer_of(ladder: Ladder) -> tuple[list[int], list[float] | None]:
    """Token ids and log-probs of what it came to; none where no attempt was affordable."""
    if ladder.answer is None:
        return [], None
    generation = ladder.answer.generation
    return list(generation.token_ids), list(generation.log_probs) or None


def settle_ladder(
    output: AgentLoopOutput, ladder: Ladder, row: Mapping[str, Any], sampling: Sampling
) -> None:
    """Put what the ladder left into verl's output: its answer's verdict is the reward."""
    attempts = [recorded(attempt) for attempt in ladder.attempts]
    last = NOT_ATTEMPTED if ladder.answer is None else recorded(ladder.answer)
    output.reward_score = last["score"]
    output.extra_fields |= {
        "attempts": attempts,
        "answer": last,
        "session": int(row.get("session_id", 0)),
        "stopped": ladder.stopped,
        "round": (sampling.ladder or {}).get("round", 1),
        "reward_extra_info": {
            "acc": float(last["passed"]),
            **{k: last[k] for k in ("score", "reason", "feedback", "verify_seconds")},
            "row_uid": str(row.get("row_uid", "")),
        },
    }


def recorded(attempt: Attempt) -> dict[str, Any]:
    """An attempt as plain data, for the run's records and its collections."""
    generation, judgement = attempt.generation, attempt.judgement
    return {
        "number": attempt.number,
        "response": generation.text,
        "response_ids": list(generation.token_ids),
        "log_probs": list(generation.log_probs),
        "tokens": attempt.tokens,
        "prompt_tokens": attempt.prompt_tokens,
        "temperature": attempt.temperature,
        "cut": not generation.complete,
        "cut_by_budget": attempt.cut_by_budget,
        "passed": judgement.passed,
        "score": judgement.score,
        "reason": judgement.reason,
        "feedback": judgement.feedback,
        "verify_seconds": judgement.seconds,
    }
