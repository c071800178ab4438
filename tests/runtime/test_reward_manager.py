"""Both ways into verl's reward loop, through verl's own loader and without Ray."""

from __future__ import annotations

import asyncio
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from tensordict import TensorDict
from verl import DataProto
from verl.trainer.ppo.reward import get_custom_reward_fn, load_reward_manager

import rewards
from rewards import Verdict

OURS = {
    "source": "importlib",
    "name": "VerifierRewardManager",
    "module": {"path": "pkg://algorithms.runtime.reward_manager"},
}
NAIVE = {"source": "register", "name": "naive", "module": None}
KEYS = {"acc", "score", "reason", "feedback", "verify_seconds"}


class Scripted:
    """Waits as long as the response says."""

    ISOLATION = "own"
    CACHEABLE = False
    OPTIONS = frozenset({"note"})
    sizes: list[int]

    def __init__(self) -> None:
        self.sizes = []
        self._lock = threading.Lock()

    def __call__(self, response, ground_truth, **extra):
        return self.verify_batch([(response, ground_truth, extra)])[0]

    def verify_batch(self, items):
        with self._lock:
            self.sizes.append(len(items))
        time.sleep(max(float(response) for response, _, _ in items))
        if any(truth == "breaks" for _, truth, _ in items):
            raise RuntimeError("no Lean here")
        return [
            Verdict.ok(feedback=str(extra)) if truth else Verdict.failed("timeout", "slow")
            for _, truth, extra in items
        ]


class Letters:
    """A tokenizer of one character a token."""

    def decode(self, ids, skip_special_tokens=True):
        return "".join(chr(int(i)) for i in ids)


@pytest.fixture(autouse=True)
def scripted(request):
    name = f"scripted {request.node.name}"
    verifier = Scripted()
    rewards.register_verifier(name)(verifier)
    rewards.register_data_source(f"source of {name}", name)
    return SimpleNamespace(name=name, source=f"source of {name}", sizes=verifier.sizes)


def manager(spec: dict, function: str | None = None, **reward_kwargs):
    custom = {
        "path": "pkg://rewards.verl_score" if function else None,
        "name": function,
        "reward_kwargs": reward_kwargs,
    }
    # As verl has it: a structured config would hold the same keys.
    config = OmegaConf.create(
        {"reward": {"custom_reward_function": custom, "sandbox_fusion": None}}
    )
    config.reward.reward_manager = spec
    return config, lambda: load_reward_manager(config, Letters())


def sample(response: str, source: str, style: str | None, truth: str = "t", **extra) -> DataProto:
    """One sample as the agent loop sends it: the response padded to the right."""
    width = len(response) + 3
    ids = torch.tensor([[ord(letter) for letter in response] + [0] * 3])
    mask = torch.tensor([[1] * (2 + len(response)) + [0] * 3])
    model = {"ground_truth": truth} if style is None else {"style": style, "ground_truth": truth}
    return DataProto(
        batch=TensorDict(
            {"prompts": torch.zeros(1, 2), "responses": ids, "attention_mask": mask}, batch_size=1
        ),
        non_tensor_batch={
            "data_source": np.array([source], dtype=object),
            "reward_model": np.array([model], dtype=object),
            "extra_info": np.array([extra], dtype=object),
        },
        meta_info={"width": width},
    )


def test_the_row_names_its_verifier_or_its_source_does(scripted):
    _, load = manager(OURS)

    async def run():
        ours = load()
        rows = [
            sample("0", "elsewhere", scripted.name, note=1, unknown=2, empty=None),
            sample("0", scripted.source, "rule", truth=""),
            sample("0", scripted.source, "model"),
            sample("0", scripted.source, None),
        ]
        return await asyncio.gather(*map(ours.run_single, rows))

    results = asyncio.run(run())
    assert [result["reward_score"] for result in results] == [1.0, 0.0, 1.0, 1.0]
    infos = [result["reward_extra_info"] for result in results]
    assert all(set(info) == KEYS | {"row_uid"} for info in infos)
    assert infos[0]["feedback"] == "{'note': 1}"
    assert (infos[1]["reason"], infos[1]["acc"]) == ("timeout", 0.0)
    assert scripted.sizes == [4]


def test_a_slow_batch_holds_the_next_one_not_back(scripted):
    _, load = manager(OURS)
    done: list[str] = []

    async def run():
        ours = load()

        async def one(seconds: str) -> None:
            await ours.run_single(sample(seconds, "", scripted.name))
            done.append(seconds)

        slow = [asyncio.create_task(one("2.0")) for _ in range(2)]
        await asyncio.sleep(0.3)
        await asyncio.gather(one("0.0"), one("0.1"))
        assert not any(task.done() for task in slow)
        await asyncio.gather(*slow)

    asyncio.run(run())
    assert done[2:] == ["2.0", "2.0"]
    assert scripted.sizes == [2, 2]


def test_everyone_who_waits_hears_of_an_error_and_the_next_batch_is_judged(scripted):
    _, load = manager(OURS)

    async def run():
        ours = load()
        rows = [sample("0", "", scripted.name, truth="breaks"), sample("0", "", scripted.name)]
        failed = await asyncio.gather(*map(ours.run_single, rows), return_exceptions=True)
        after = await ours.run_single(sample("0", "", scripted.name))
        with pytest.raises(rewards.UnknownDataSourceError, match="Did you mean 'openai/gsm8k'"):
            await ours.run_single(sample("0", "openai/gsm8", "rule"))
        return failed, after

    failed, after = asyncio.run(run())
    assert [str(error) for error in failed] == ["no Lean here"] * 2
    assert after["reward_score"] == 1.0


@pytest.mark.parametrize("function", ["acompute_score", "compute_score"])
def test_the_custom_reward_function_in_verls_own_manager(scripted, function):
    _, load = manager(NAIVE, function)

    async def run():
        naive = load()
        is_async = getattr(naive, "is_async_reward_score")  # noqa: B009
        assert is_async == (function == "acompute_score")
        rows = [sample("0.2", scripted.source, "rule", truth="t" * i) for i in range(3)]
        return await asyncio.gather(*map(naive.run_single, rows))

    results = asyncio.run(run())
    assert [result["reward_score"] for result in results] == [0.0, 1.0, 1.0]
    assert all(set(result["reward_extra_info"]) >= KEYS for result in results)


def test_the_awaited_function_judges_many_answers_at_once(scripted):
    _, load = manager(NAIVE, "acompute_score")

    async def run():
        naive = load()
        rows = [sample("0.5", scripted.source, "rule") for _ in range(16)]
        started = time.monotonic()
        await asyncio.gather(*map(naive.run_single, rows))
        return time.monotonic() - started

    assert asyncio.run(run()) < 4  # one after the other they take 8 s


def test_a_verifier_and_its_options_may_be_set_for_the_whole_run(scripted):
    config, _ = manager(NAIVE, "compute_score", verifier=scripted.name, note="all", unknown=1)
    score = get_custom_reward_fn(config)
    assert score is not None
    # As verl.trainer.main_eval calls it.
    result = score("no such source", "0", "t")
    assert result["score"] == 1.0 and result["feedback"] == "{'note': 'all'}"
    result = score("no such source", "0", "t", {"note": "row", "index": 3})
    assert result["feedback"] == "{'note': 'all'}"
    assert result["acc"] == 1.0 and result["reason"] == "ok"
