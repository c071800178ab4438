"""The decoding thread: concurrent callers, aborts, failures."""

from __future__ import annotations

import asyncio

import pytest

from algorithms.runtime.cpu.decode_loop import DecodeLoop, DecodeLoopDied
from algorithms.runtime.cpu.decoder import ABORTED, Decoder, PromptError, Request
from algorithms.runtime.cpu.sampling import SamplingParams


@pytest.fixture
def loop(new_model):
    loop = DecodeLoop(Decoder(new_model()), threads=1, window_s=0.01)
    yield loop
    loop.stop()


def request(name: str, max_tokens: int = 6, prompt: tuple[int, ...] = (1, 2, 3)) -> Request:
    return Request(name, prompt, SamplingParams(max_tokens=max_tokens), seed=1)


def test_a_burst_is_answered_and_prefilled_together(loop):
    async def main():
        burst = [loop.generate(request(str(i))) for i in range(8)]
        return await asyncio.gather(*burst), await loop.call(lambda d: d.prefilled_tokens)

    done, prefilled = asyncio.run(main())
    assert [len(r.tokens) for r in done] == [6] * 8
    assert prefilled == 3


def test_a_bad_request_fails_alone(loop):
    async def main():
        bad, good = loop.generate(request("bad", prompt=())), loop.generate(request("good"))
        return await asyncio.gather(bad, good, return_exceptions=True)

    bad, good = asyncio.run(main())
    assert isinstance(bad, PromptError)
    assert len(good.tokens) == 6


def test_abort_all_answers_every_caller(loop):
    async def main():
        tasks = [asyncio.create_task(loop.generate(request(str(i), 200))) for i in range(3)]
        await asyncio.sleep(0.1)
        aborted = await loop.abort()
        return aborted, await asyncio.gather(*tasks)

    aborted, done = asyncio.run(main())
    assert sorted(aborted) == ["0", "1", "2"]
    assert {r.stop_reason for r in done} == {ABORTED}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_failure_while_decoding_reaches_the_caller(new_model):
    decoder = Decoder(new_model())

    def explode():
        raise FloatingPointError("no numbers left")

    decoder.step = explode
    loop = DecodeLoop(decoder, threads=1, window_s=0.01)

    async def main():
        with pytest.raises(DecodeLoopDied, match="no numbers left"):
            await loop.generate(request("a"))
        with pytest.raises(DecodeLoopDied):
            await loop.generate(request("b"))

    asyncio.run(main())
    loop.stop()
