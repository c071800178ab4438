"""The ladder overlapped against taking turns, side by side: `python scripts/bench/retry.py`.

Taking turns: all first attempts are sampled, then all of them judged, then all first retries
sampled, and so on. Overlapped: as the package does it, no task waits for another. Both ask the same
decoding loop for the same answers (same prompts, seeds and limits; equal tokens are asserted) and
the same judge, which is the verifier `exact` with a delay of its own for every text: few are slow,
as with proofs or test suites. The model is the demonstration's, untrained, on worked arithmetic.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

import torch
from transformers import AutoTokenizer

import rewards
from algorithms.retry.attempts import Generation, Judgement, Ladder, Request, Task
from algorithms.retry.conversation import Continuation
from algorithms.retry.ladder import climb
from algorithms.retry.settings import LadderSettings
from algorithms.runtime.cpu import decoder as decoding
from algorithms.runtime.cpu.decode_loop import DecodeLoop
from algorithms.runtime.cpu.model import RolloutModel
from algorithms.runtime.cpu.sampling import SamplingParams
from algorithms.runtime.judging import verifier_call
from algorithms.runtime.seeds import request_seed
from algorithms.views import tokenise_chat
from data_prep import worked_arithmetic
from recipes.demo_model import ensure_demo_model

PROMPT_ROOM = 512


class Turnstile:
    """Calls wait until every running ladder has made one; all are answered before any goes on."""

    def __init__(self, answer: Callable[[Any, int], Awaitable[Any]], running: int) -> None:
        self.answer, self.running = answer, running
        self.waiting: list[tuple[Any, int, asyncio.Future]] = []

    async def __call__(self, asked: Any, task: int) -> Any:
        future = asyncio.get_running_loop().create_future()
        self.waiting.append((asked, task, future))
        self._turn()
        return await future

    def leave(self) -> None:
        self.running -= 1
        self._turn()

    def _turn(self) -> None:
        if self.waiting and len(self.waiting) == self.running:
            waiting, self.waiting = self.waiting, []
            self.current = asyncio.ensure_future(self._answer_all(waiting))

    async def _answer_all(self, waiting: list[tuple[Any, int, asyncio.Future]]) -> None:
        answers = await asyncio.gather(*(self.answer(asked, task) for asked, task, _ in waiting))
        for (_, _, future), answer in zip(waiting, answers, strict=True):
            future.set_result(answer)


class Bench:
    """A model, a judge and tasks."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        path = str(ensure_demo_model())
        self.tokenizer = AutoTokenizer.from_pretrained(path)
        self.turn = Continuation(self.tokenizer)
        self.settings = LadderSettings(
            retries=arguments.retries, attempt_tokens=arguments.tokens, context_tokens=8192
        )
        self.delay = arguments.delay
        ends = {i for i in (self.turn.closing_id, self.tokenizer.eos_token_id) if i is not None}
        model = RolloutModel.load(
            path, dtype=torch.float32, eos_ids=ends,
            vocab_size=len(self.tokenizer), trust_remote_code=False, pack=False,
        )  # fmt: skip
        positions = PROMPT_ROOM + (arguments.retries + 1) * (arguments.tokens + 64)
        limits = decoding.DecoderLimits(rows=arguments.tasks, positions=positions)
        self.loop = DecodeLoop(decoding.Decoder(model, limits), threads=arguments.threads)
        self.rows = worked_arithmetic.load("train")[: arguments.tasks]

    async def sample(self, request: Request, task: int) -> Generation:
        params = SamplingParams(max_tokens=request.max_tokens, temperature=0.7)
        seed = request_seed(self.rows[task]["uid"], request.number)
        done = await self.loop.generate(
            decoding.Request(f"{task}-{request.number}", request.prompt_ids, params, seed)
        )
        ids = tuple(done.tokens)
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        return Generation(ids, text, len(ids) < request.max_tokens)

    async def judge(self, text: str, task: int) -> Judgement:
        verdict = (await rewards.averify_batch([verifier_call(self.rows[task], text)]))[0]
        seconds = random.Random(f"{task}/{text}").expovariate(1 / self.delay)
        await asyncio.sleep(min(seconds, 5 * self.delay))
        return Judgement(verdict.passed, verdict.score, verdict.reason)

    def task(self, index: int) -> Task:
        return Task(tuple(tokenise_chat(self.tokenizer, self.rows[index]["prompt"], {})))

    async def overlapped(self) -> list[Ladder]:
        async def one(index: int) -> Ladder:
            return await climb(
                self.task(index), self.settings, lambda r: self.sample(r, index),
                lambda t: self.judge(t, index), self.turn,
            )  # fmt: skip

        return await asyncio.gather(*(one(i) for i in range(len(self.rows))))

    async def in_turns(self) -> list[Ladder]:
        sample = Turnstile(self.sample, len(self.rows))
        judge = Turnstile(self.judge, len(self.rows))

        async def one(index: int) -> Ladder:
            ladder = await climb(
                self.task(index), self.settings, lambda r: sample(r, index),
                lambda t: judge(t, index), self.turn,
            )  # fmt: skip
            sample.leave()
            judge.leave()
            return ladder

        return await asyncio.gather(*(one(i) for i in range(len(self.rows))))


def tokens_of(ladders: list[Ladder]) -> list[list[tuple[int, ...]]]:
    return [[attempt.generation.token_ids for attempt in ladder.attempts] for ladder in ladders]


def timed(run: Callable[[], Awaitable[list[Ladder]]]) -> tuple[float, list[Ladder]]:
    started = time.perf_counter()
    ladders = asyncio.run(run())  # type: ignore[arg-type]
    return time.perf_counter() - started, ladders


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tasks", type=int, default=48)
    parser.add_argument("--retries", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=96, help="of an attempt, at most")
    parser.add_argument("--delay", type=float, default=1.0, help="mean seconds of a verdict")
    parser.add_argument("--rounds", type=int, default=2, help="each way, taking turns")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    bench = Bench(arguments)
    seconds: dict[str, list[float]] = {"overlapped": [], "in_turns": []}
    samples = []
    for _ in range(arguments.rounds):
        for name, run in (("overlapped", bench.overlapped), ("in_turns", bench.in_turns)):
            taken, ladders = timed(run)
            seconds[name].append(round(taken, 2))
            samples.append(tokens_of(ladders))
    assert all(sample == samples[0] for sample in samples), "the samples differ"
    lengths = sorted(len(ids) for ladder in samples[0] for ids in ladder)
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    found = {
        "tasks": arguments.tasks,
        "attempts": len(lengths),
        "tokens": sum(lengths),
        "attempt_tokens": {"least": lengths[0], "median": lengths[len(lengths) // 2],
                           "most": lengths[-1]},
        "verdict_seconds": {"mean": arguments.delay, "most": 5 * arguments.delay},
        "seconds": seconds,
        "ratio": round(middle["in_turns"] / middle["overlapped"], 2),
        "load": [round(x, 1) for x in os.getloadavg()],
    }  # fmt: skip
    print(json.dumps(found, indent=2))
    bench.loop.stop()


if __name__ == "__main__":
    main()
