"""How prompts become trajectories: one agent loop with three sources, and its manager.

The agent loop builds both views of the prompt, takes the response from the rollout server, from a
stored collection or from the row itself, and emits the student's prompt with the teacher's beside
it. What it does for a batch is decided by the stage and travels with the batch.
"""

from __future__ import annotations

import importlib
import json
from typing import Any
from uuid import uuid4

import ray
from tensordict import TensorDict
from verl.experimental.agent_loop.agent_loop import (
    AgentLoopBase,
    AgentLoopMetrics,
    AgentLoopOutput,
    register,
)
from verl.trainer.ppo.v1 import AgentLoopManagerTQ, AgentLoopWorkerTQ
from verl.utils import tensordict_utils as tu

from algorithms.hints import SELF_HINT, hint_of, hint_request
from algorithms.runtime.ladder_loop import RowLadder, answer_of, settle_ladder
from algorithms.runtime.prompts import privileged_content, row_views
from algorithms.runtime.seeds import request_seed
from algorithms.runtime.stages import Sampling
from algorithms.views import PromptViews, ViewOverflow, tokenise_chat

AGENT_LOOP = "privileged"


class MissingResponse(KeyError):
    """A row was to give its own response but has none of the kind asked for."""

    def __str__(self) -> str:
        return str(self.args[0])


@register(AGENT_LOOP)
class PrivilegedAgentLoop(AgentLoopBase):
    """Single turn; the response's token ids are shared by both views and never re-tokenised."""

    async def run(self, sampling_params: dict[str, Any], **row: Any) -> AgentLoopOutput:
        stage = dict(row["sampling"])
        seed = request_seed(
            stage.pop("seed"),
            row.get("row_uid"),
            row["session_id"],
            row["global_steps"] if stage.pop("seed_by_step") else "",
        )
        sampling = Sampling(**stage)
        hint = await self._hint(row, sampling_params, sampling, seed)
        views, shown = self._views(row, sampling, hint)
        view, climbed = sampling.view, None
        if sampling.source == "given":
            view = (row.get("extra_info") or {}).get("view") or view
            response, log_probs = self._given(row, sampling.given_kind), None
        elif sampling.source == "stored":
            stored = row["stored"]
            response, log_probs = list(stored["response_ids"]), list(stored["log_probs"]) or None
            view = stored["view"]
        elif sampling.source == "ladder":
            climbed = await RowLadder(self, row, sampling, sampling_params, seed).climb(
                views.student_ids
            )
            response, log_probs = answer_of(climbed)
        else:
            prompt_ids = views.teacher_ids if view == "teacher" else views.student_ids
            response, log_probs = await self._generate(prompt_ids, sampling_params, sampling, seed)
        output = AgentLoopOutput(
            prompt_ids=views.student_ids,
            # verl's queue holds no empty response; a masked token is none to any loss.
            response_ids=response or [self.tokenizer.eos_token_id],
            response_mask=[1] * len(response) or [0],
            response_logprobs=log_probs,
            num_turns=2,
            metrics=AgentLoopMetrics(),
            extra_fields={
                "teacher_prompt_ids": views.teacher_ids,
                # Kind "none" is a control: the teacher sees the student's prompt, on purpose.
                "has_privileged": sampling.pi_kind == "none" or shown,
                "hint": hint or "",
                "view": view,
                "group": row["stored"]["group"] if sampling.source == "stored" else "",
                # verl's staleness metrics: the weights' version that a response was sampled from.
                "min_global_steps": row["global_steps"] - 1,
                "max_global_steps": row["global_steps"] - 1,
            },
        )
        if climbed is not None:
            settle_ladder(output, climbed, row, sampling)
        self._settle_score(output, row, sampling)
        return output

    def _views(
        self, row: dict[str, Any], sampling: Sampling, hint: str | None
    ) -> tuple[PromptViews, bool]:
        """Both prompts, and whether the teacher's holds privileged information.

        The data was checked, but not a hint: one that does not fit is left out.
        """
        messages, chat = list(row["raw_prompt"]), self.apply_chat_template_kwargs
        if hint is None:
            shown = privileged_content(row, sampling.pi_kind) is not None
            return row_views(self.tokenizer, row, messages, sampling, **chat), shown
        told = {**row, "privileged": [{"kind": SELF_HINT, "content": hint}]}
        try:
            return row_views(self.tokenizer, told, messages, sampling, **chat), True
        except ViewOverflow:
            return row_views(self.tokenizer, row, messages, sampling, **chat), False

    async def _hint(
        self, row: dict[str, Any], defaults: dict[str, Any], sampling: Sampling, seed: int
    ) -> str | None:
        """What the model wrote of a successful answer: now, or when the response was stored.

        None for other kinds, for rows that bring their hint, and where there is no answer.
        """
        if sampling.pi_kind != SELF_HINT or privileged_content(row, SELF_HINT) is not None:
            return None
        if sampling.source == "stored":
            return row["stored"].get("hint") or None
        if sampling.source == "given":  # the rollout sleeps
            return None
        solution = privileged_content(row, sampling.hint_from)
        if solution is None:
            return None
        request = hint_request(row["raw_prompt"], solution)
        tokenizer: Any = self.tokenizer
        ids = tokenise_chat(tokenizer, request, self.apply_chat_template_kwargs)
        if len(ids) + 1 > self.rollout_config.prompt_length + self.rollout_config.response_length:
            return None
        limit = {**defaults, "max_tokens": sampling.hint_tokens}
        written, _ = await self._generate(ids, limit, sampling, request_seed(seed, SELF_HINT))
        return hint_of(self.tokenizer.decode(written, skip_special_tokens=True))

    async def _generate(
        self, prompt_ids: list[int], defaults: dict[str, Any], sampling: Sampling, seed: int
    ) -> tuple[list[int], list[float] | None]:
        params = {
            **defaults,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "logprobs": True,
            "seed": seed,
        }
        output = await self.server_manager.generate(
            request_id=uuid4().hex, prompt_ids=prompt_ids, sampling_params=params
        )
        limit = self.rollout_config.response_length
        log_probs = output.log_probs[:limit] if output.log_probs else None
        return list(output.token_ids[:limit]), log_probs

    def _given(self, row: dict[str, Any], kind: str) -> list[int]:
        text = privileged_content(row, kind)
        if text is None:
            raise MissingResponse(
                f"row {row.get('row_uid')} has no {kind!r} entry in its privileged column to train "
                "on: prepare the data with it"
            )
        ids = self.tokenizer.encode(text, add_special_tokens=False)
        return [*ids[: self.rollout_config.response_length - 1], self.tokenizer.eos_token_id]

    @staticmethod
    def _settle_score(output: AgentLoopOutput, row: dict[str, Any], sampling: Sampling) -> None:
        """Scores that are known or not wanted; otherwise verl's reward loop verifies."""
        if sampling.source == "stored":
            output.reward_score = row["stored"]["score"]
            output.extra_fields["reward_extra_info"] = json.loads(row["stored"]["verdict"])
        elif sampling.source == "given" or not sampling.verify:
            output.reward_score = 0.0
            output.extra_fields["reward_extra_info"] = {}


@ray.remote
class PrivilegedAgentLoopWorker(AgentLoopWorkerTQ.__ray_actor_class__):  # type: ignore[misc]
    """verl's worker, with our agent loop registered in its process."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Ray sends actor classes by value: this module is not imported there by itself.
        importlib.import_module("algorithms.runtime.sampling")
        super().__init__(*args, **kwargs)


class PrivilegedAgentLoopManager(AgentLoopManagerTQ):
    """Attaches the stage's sampling settings to every batch that it dispatches."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.agent_loop_workers_class = PrivilegedAgentLoopWorker
        self.sampling: dict[str, Any] = {}
        self.validation_sampling: dict[str, Any] = {}

    def generate_sequences(self, prompts: TensorDict) -> None:
        sampling = self.validation_sampling if "validate" in prompts else self.sampling
        tu.assign_non_tensor_data(prompts, "sampling", sampling)
        tu.assign_non_tensor_data(prompts, "__rollout_n__", sampling["n"])
        super().generate_sequences(prompts)
