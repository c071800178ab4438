"""A row's ladder as verl's agent loop runs it: a scripted rollout server, a real verifier and chat
template."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf
from transformers import AutoTokenizer

from algorithms.retry.settings import LadderSettings
from algorithms.runtime.ladder_loop import GenerationAborted, RowLadder, recorded
from algorithms.runtime.stages import Sampling
from algorithms.views import tokenise_chat
from recipes.demo_model import ensure_demo_model


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(ensure_demo_model())


class Server:
    """Answers the n-th request with the n-th text, cut to the tokens asked for."""

    stop_reason = "completed"

    def __init__(self, tokenizer: Any, *texts: str) -> None:
        self.tokenizer, self.texts, self.asked = tokenizer, list(texts), []

    async def generate(self, request_id, *, prompt_ids, sampling_params):
        self.asked.append((request_id, tuple(prompt_ids), sampling_params))
        text = self.texts[len(self.asked) - 1] + "<|im_end|>"
        ids = self.tokenizer.encode(text, add_special_tokens=False)
        ids = ids[: sampling_params["max_tokens"]]
        return SimpleNamespace(token_ids=ids, log_probs=None, stop_reason=self.stop_reason)


def row(**other: Any) -> dict[str, Any]:
    return {
        "row_uid": "r1",
        "raw_prompt": [{"role": "user", "content": "3*4?"}],
        "reward_model": {"style": "exact", "ground_truth": "12"},
        "data_source": "arithmetic",
        "extra_info": {},
        "privileged": [{"kind": "gold_answer", "content": "12"}],
        **other,
    }


def climb(tokenizer, server, *, data=None, journal_folder=None, stage="s", seed=1, **settings):
    data = data or row()
    made = vars(LadderSettings(**{"attempt_tokens": 16, "context_tokens": 400, **settings}))
    sampling = Sampling(
        source="ladder", temperature=0.7, ladder=dict(made),
        journal=journal_folder and {"folder": str(journal_folder), "stage": stage},
    )  # fmt: skip
    loop = SimpleNamespace(
        tokenizer=tokenizer,
        server_manager=server,
        apply_chat_template_kwargs=OmegaConf.create({}),
        config=OmegaConf.create({"actor_rollout_ref": {"model": {"path": tokenizer.name_or_path}}}),
    )
    ladder = RowLadder(loop, data, sampling, {"repetition_penalty": 1.0}, seed)
    prompt = tokenise_chat(tokenizer, data["raw_prompt"], {})
    return asyncio.run(ladder.climb(prompt))


def test_the_server_is_asked_as_verl_asks_it_and_finds_the_conversation_in_its_cache(tokenizer):
    server = Server(tokenizer, "11", "12")
    ladder = climb(tokenizer, server, pi="gold_answer", prompt="No.", pi_prompt="No: {pi}")
    (first_id, first, params), (second_id, second, other) = server.asked
    assert first_id == second_id  # verl keeps a request id on one server
    assert second[: len(first)] == first and "No: 12" in tokenizer.decode(second)
    assert params == {
        "repetition_penalty": 1.0, "temperature": 0.7, "top_p": 1.0, "top_k": -1,
        "max_tokens": 16, "logprobs": True, "seed": params["seed"],
    }  # fmt: skip
    assert other["seed"] != params["seed"]
    assert [a.judgement.reason for a in ladder.attempts] == ["wrong_answer", "ok"]
    assert ladder.stopped == "passed"


def test_an_answer_that_the_limit_cut_is_marked(tokenizer):
    ladder = climb(tokenizer, Server(tokenizer, "1 2 3 4 5 6", "12"), attempt_tokens=4, retries=1)
    assert [recorded(a)["cut"] for a in ladder.attempts] == [True, False]


def test_a_short_answer_without_an_end_was_cut_by_the_server(tokenizer):
    class Clamping(Server):
        async def generate(self, request_id, *, prompt_ids, sampling_params):
            return await super().generate(
                request_id, prompt_ids=prompt_ids, sampling_params={"max_tokens": 3}
            )

    ladder = climb(tokenizer, Clamping(tokenizer, "1 2 3 4"), retries=0)
    assert recorded(ladder.attempts[0])["cut"]


def test_an_aborted_generation_is_no_answer(tokenizer):
    server = Server(tokenizer, "1")
    server.stop_reason = "aborted"
    with pytest.raises(GenerationAborted):
        climb(tokenizer, server)


def test_a_rows_budget_bounds_its_tokens(tokenizer):
    server = Server(tokenizer, *["1 2 3"] * 9)
    data = row(token_budget=11)
    ladder = climb(tokenizer, server, data=data, scheme="independent", early_stop=False, samples=99)
    assert ladder.tokens == 11 and ladder.stopped == "budget"


def test_what_the_journal_holds_is_not_asked_again(tokenizer, tmp_path):
    first = climb(tokenizer, Server(tokenizer, "11", "13", "12"), journal_folder=tmp_path)
    server = Server(tokenizer)  # would fail on the first request
    again = climb(tokenizer, server, journal_folder=tmp_path, stage="resumed")
    assert server.asked == []
    assert [recorded(a) for a in again.attempts] == [recorded(a) for a in first.attempts]


def test_arms_share_the_first_attempt_and_part_where_they_tell_other_things(tokenizer, tmp_path):
    climb(tokenizer, Server(tokenizer, "11", "12"), journal_folder=tmp_path)
    server = Server(tokenizer, "12")
    told = climb(tokenizer, server, journal_folder=tmp_path, stage="t", pi="gold_answer")
    assert len(server.asked) == 1 and [a.tokens for a in told.attempts] == [3, 3]


@pytest.mark.parametrize("other", [{"seed": 2}, {"round": 2}, {"attempt_tokens": 15}])
def test_another_question_to_the_weights_is_asked(tokenizer, tmp_path, other):
    climb(tokenizer, Server(tokenizer, "12"), journal_folder=tmp_path)
    server = Server(tokenizer, "12")
    climb(tokenizer, server, journal_folder=tmp_path, stage="t", **other)
    assert len(server.asked) == 1
